// Where lines of a log go that a thread of its own writes: standard output, a file or a datagram socket.
// No call waits for a reader longer than asked; what is wrong is a value.

import CLinux
import Glibc

/// A destination of log lines, used by one thread.
package struct LogSink: ~Copyable {
  package enum Target: Sendable, Equatable {
    case standardOutput
    /// Opened for appending, and made where it is missing; a FIFO too.
    case file(String)
    /// One datagram for each line: a UNIX or an IP address.
    case datagram(SocketAddress, name: String)

    package static func == (a: Target, b: Target) -> Bool { a.name == b.name }

    /// For messages.
    package var name: String {
      switch self {
      case .standardOutput: "stdout"
      case .file(let path): path
      case .datagram(_, let name): name
      }
    }
  }

  package let target: Target
  private var descriptor: Int32
  /// Writes to it may be of any size: they do not wait for a reader.
  private let isRegular: Bool
  private let isSocket: Bool

  /// PIPE_BUF, pipe(7): a pipe that poll(2) calls writable takes as much.
  private static let pipeBytes = 4096
  /// Of a new file: the proxy's group may read it.
  private static let fileMode: mode_t = 0o640

  package init(_ target: Target) throws(SystemFailure) {
    self.target = target
    switch target {
    case .standardOutput: descriptor = STDOUT_FILENO
    case .file(let path):
      // A FIFO without a reader is refused (ENXIO), and one with a slow reader does not hold the thread.
      descriptor = open(
        path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, Self.fileMode)
      guard descriptor >= 0 else { throw SystemFailure(code: errno, operation: "open \(path)") }
    case .datagram(let address, let name):
      descriptor = socket(
        Int32(address.family),
        Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue),
        0)
      guard descriptor >= 0 else { throw SystemFailure(code: errno, operation: "socket \(name)") }
      let number = descriptor
      let code = Sockets.withAddress(address) { connect(number, $0, $1) == 0 ? 0 : errno }
      guard code == 0 else {
        close(number)
        throw SystemFailure(code: code, operation: "connect \(name)")
      }
    }
    var facts = stat()
    let isKnown = fstat(descriptor, &facts) == 0
    isRegular = isKnown && facts.st_mode & S_IFMT == S_IFREG
    isSocket = isKnown && facts.st_mode & S_IFMT == S_IFSOCK
  }

  deinit { if descriptor > STDERR_FILENO { close(descriptor) } }

  /// Whether each line is a write of its own.
  package var isDatagram: Bool {
    if case .datagram = target { true } else { false }
  }

  /// Writes as much as goes without waiting.
  /// - Returns: the bytes written, or a negated errno; -EAGAIN: wait for room.
  package mutating func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    let written =
      if isSocket {
        send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
      } else if isRegular {
        Glibc.write(descriptor, bytes.baseAddress, bytes.count)
      } else if hasRoom(milliseconds: 0) {
        Glibc.write(descriptor, bytes.baseAddress, Self.wholeLines(bytes))
      } else {
        -1 - Int(EAGAIN)
      }
    if written < -1 { return written + 1 }
    guard written >= 0 else { return -Int(errno == EINTR ? EAGAIN : errno) }
    return written
  }

  /// Bytes that a pipe takes in one piece, cut behind a line: whoever else writes to it does so between lines.
  private static func wholeLines(_ bytes: UnsafeRawBufferPointer) -> Int {
    let most = min(bytes.count, pipeBytes)
    return bytes[..<most].lastIndex(of: 10).map { $0 + 1 } ?? most
  }

  /// Waits until there is room. - Returns: false if there is none.
  package mutating func hasRoom(milliseconds: Int32) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    return poll(&wanted, 1, milliseconds) > 0
  }

  /// Whether the path still leads to what is open. True for what has no path.
  package mutating func isStillThere() -> Bool {
    guard case .file(let path) = target else { return true }
    var (ours, there) = (stat(), stat())
    guard fstat(descriptor, &ours) == 0, stat(path, &there) == 0 else { return false }
    return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino
  }
}
