// A socket over which one process gives descriptors to another, unix(7): messages keep their bounds
// (SOCK_SEQPACKET) and carry descriptors (SCM_RIGHTS). Calls block, for a bounded time. Only root and the
// process's own user are served: with the descriptors go rights.

import CLinux
import Glibc

/// A message as it came, with its descriptors, which the receiver owns.
package struct HandoverPacket: Sendable {
  package let bytes: [UInt8]
  package let descriptors: [Int32]

  /// Closes the descriptors.
  package func discard() { for number in descriptors { Glibc.close(number) } }
}

/// One end of a connection; closed with the last reference.
package final class HandoverConnection: Sendable {
  private let descriptor: Int32

  /// Descriptors in one message.
  package static let descriptorsMaximum = Int(CLINUX_DESCRIPTORS_MAXIMUM)

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { Glibc.close(descriptor) }

  /// Connects to the process that listens at a path.
  /// - Throws: ENOENT or ECONNREFUSED where no process does.
  package convenience init(path: String, milliseconds: Int) throws(SystemFailure) {
    guard let address = SocketAddress(unixPath: path) else {
      throw SystemFailure(code: ENAMETOOLONG, operation: "connect unix:\(path)")
    }
    let number = try HandoverListener.makeSocket(for: path)
    Self.limitWaiting(number, milliseconds)
    let connected = Sockets.withAddress(address) { Glibc.connect(number, $0, $1) }
    guard connected == 0 else {
      let code = errno
      Glibc.close(number)
      throw SystemFailure(code: code, operation: "connect unix:\(path)")
    }
    self.init(number)
  }

  /// How long each call may block from here on.
  package func limitWaiting(milliseconds: Int) { Self.limitWaiting(descriptor, milliseconds) }

  private static func limitWaiting(_ descriptor: Int32, _ milliseconds: Int) {
    var limit = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      _ = setsockopt(
        descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  /// The process at the other end; 0 where it cannot be told.
  package var peerProcess: Int64 { max(0, clinux_peer_pid(descriptor)) }

  /// The user of the other end; negative where it cannot be told.
  package var peerUser: Int64 { clinux_peer_uid(descriptor) }

  /// Whether the other end is root or this process's user.
  package var isPeerTrusted: Bool { peerUser == 0 || peerUser == Int64(geteuid()) }

  /// Sends one message. - Throws: EAGAIN after the time that a call may block, EPIPE.
  package func transmit(_ bytes: [UInt8], _ descriptors: [Int32] = []) throws(SystemFailure) {
    while true {
      let sent = clinux_send_descriptors(
        descriptor, bytes, bytes.count, descriptors, UInt32(descriptors.count))
      if sent >= 0 { return }
      if sent != -Int(EINTR) { throw SystemFailure(code: Int32(-sent), operation: "sendmsg") }
    }
  }

  /// Waits for the next message.
  /// - Parameter limit: bytes that it may have.
  /// - Returns: nil at the end of the connection.
  /// - Throws: EMSGSIZE for one that has more, or more descriptors than fit; EAGAIN after the time that a call
  ///   may block.
  package func receive(limit: Int) throws(SystemFailure) -> HandoverPacket? {
    var room = [UInt8](repeating: 0, count: max(1, limit))
    var numbers = [Int32](repeating: -1, count: Self.descriptorsMaximum)
    var count: UInt32 = 0
    while true {
      let received = clinux_receive_descriptors(descriptor, &room, room.count, &numbers, &count)
      let packet = HandoverPacket(
        bytes: received > 0 ? Array(room[..<received]) : [],
        descriptors: Array(numbers[..<Int(count)]))
      if received > 0 { return packet }
      packet.discard()
      if received == 0 { return nil }
      if received != -Int(EINTR) {
        throw SystemFailure(code: Int32(-received), operation: "recvmsg")
      }
    }
  }
}

/// Where a process waits for others that ask for its descriptors.
package final class HandoverListener: Sendable {
  private let descriptor: Int32
  /// Where it is bound now.
  private let path: String

  /// Binds and listens; the file is for its owner alone. A file that a crash left behind goes.
  package init(path: String) throws(SystemFailure) {
    guard let address = SocketAddress(unixPath: path) else {
      throw SystemFailure(code: ENAMETOOLONG, operation: "bind unix:\(path)")
    }
    if UnixSocketFile(path) != nil {
      // Of another process that is about to take the same place.
      if (try? HandoverConnection(path: path, milliseconds: 100)) != nil {
        throw SystemFailure(code: EADDRINUSE, operation: "bind unix:\(path)")
      }
      unlink(path)
    }
    let number = try Self.makeSocket(for: path)
    func fail(_ operation: String) -> SystemFailure {
      let code = errno
      Glibc.close(number)
      return SystemFailure(code: code, operation: "\(operation) unix:\(path)")
    }
    // The file takes the socket's mode, unix(7).
    fchmod(number, 0o600)
    guard Sockets.withAddress(address, { Glibc.bind(number, $0, $1) }) == 0 else {
      throw fail("bind")
    }
    guard Glibc.listen(number, 4) == 0 else { throw fail("listen") }
    descriptor = number
    self.path = path
  }

  deinit { Glibc.close(descriptor) }

  /// The socket's file, by its inode.
  package var file: UnixSocketFile? { UnixSocketFile(path) }

  /// Waits for a process that asks. - Returns: nil once `stop` was called.
  package func accept() -> HandoverConnection? {
    while true {
      let number = clinux_accept4(descriptor, Int32(SOCK_CLOEXEC.rawValue))
      if number >= 0 { return HandoverConnection(number) }
      switch errno {
      // shutdown(2) on the listener.
      case EINVAL, EBADF: return nil
      case EINTR, ECONNABORTED: break
      default: Pause.microseconds(100_000)
      }
    }
  }

  /// Ends the wait, for good.
  package func stop() { _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR)) }

  static func makeSocket(for path: String) throws(SystemFailure) -> Int32 {
    let number = socket(
      AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else {
      throw SystemFailure(code: errno, operation: "socket for unix:\(path)")
    }
    return number
  }
}
