// The outside on plain system calls. It never blocks for long; every wait of it has a limit.

import CLinux
import Glibc
import MillraceEngine

final class KernelOutside: Outside {
  private var made: String?

  func peer(to address: SocketAddress) throws -> any Peer { try KernelPeer(to: address) }
  func listener(backlog: Int32) throws -> any OutsideListener {
    try KernelListener(backlog: backlog)
  }
  func datagrams() throws -> any OutsideDatagrams { try KernelDatagrams() }
  func pause(milliseconds: Int) { usleep(UInt32(milliseconds) * 1000) }

  func directory() throws -> String {
    if let made { return made }
    made = try temporaryDirectory()
    return made!
  }

  func content(of path: String) -> [UInt8]? {
    let file = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { Glibc.close(file) }
    var bytes = [UInt8](repeating: 0, count: Int(lseek(file, 0, SEEK_END)))
    let count = pread(file, &bytes, bytes.count, 0)
    return count == bytes.count ? bytes : nil
  }

  func withoutDescriptors(_ body: () throws -> Void) throws { try withDescriptorLimit(body) }

  func end() {
    if let made { removeDirectory(made) }
    made = nil
  }
}

/// A plain, non-blocking socket.
final class KernelPeer: Peer {
  private(set) var descriptor: Int32
  private(set) var lastError: Int32 = -1

  init(adopting descriptor: Int32) {
    self.descriptor = descriptor
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  /// Connects to a loopback listener; the kernel completes the handshake before anybody accepts.
  convenience init(to address: SocketAddress) throws {
    self.init(adopting: socket(address.family, Int32(SOCK_STREAM.rawValue), 0))
    let code = address.withRaw { Glibc.connect(descriptor, $0, $1) }
    if code != 0 && errno != EINPROGRESS {
      throw HarnessFailure("connect to \(address): errno \(errno)")
    }
    var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    guard poll(&ready, 1, 5000) == 1 else { throw HarnessFailure("connect took too long") }
  }

  deinit { close() }

  var localPort: UInt16 { portOf(descriptor) }

  func close() {
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
  }

  func reset() {
    var value = linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  func finishSending() { Glibc.shutdown(descriptor, Int32(SHUT_WR)) }

  func send(_ bytes: [UInt8]) -> Int {
    let count = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    return count >= 0 ? count : -Int(errno)
  }

  func receive(atMost limit: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = recv(descriptor, &bytes, limit, 0)
    if count > 0 { return Array(bytes[..<count]) }
    if count < 0 && (errno == EAGAIN || errno == EINTR) { return [] }
    lastError = count == 0 ? 0 : errno
    return nil
  }
}

final class KernelListener: OutsideListener {
  private var descriptor: Int32
  let address: SocketAddress

  init(backlog: Int32) throws {
    descriptor = try boundSocket(SOCK_STREAM)
    guard Glibc.listen(descriptor, backlog) == 0 else {
      throw HarnessFailure("plain listener: errno \(errno)")
    }
    address = try .loopback(portOf(descriptor))
  }

  deinit { close() }

  func close() {
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
  }

  func accepted() throws -> any Peer {
    var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&ready, 1, 5000) == 1 else { throw HarnessFailure("nobody connected") }
    return KernelPeer(adopting: accept(descriptor, nil, nil))
  }
}

final class KernelDatagrams: OutsideDatagrams {
  private let descriptor: Int32
  let address: SocketAddress

  init() throws {
    descriptor = try boundSocket(SOCK_DGRAM)
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    // Room for a burst of datagrams that nobody reads meanwhile.
    var value: Int32 = 4 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &value, 4)
    address = try .loopback(portOf(descriptor))
  }

  deinit { Glibc.close(descriptor) }

  func send(_ bytes: [UInt8], to address: SocketAddress) -> Int {
    let count = address.withRaw { sendto(descriptor, bytes, bytes.count, 0, $0, $1) }
    return count >= 0 ? count : -Int(errno)
  }

  func receive() -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = recv(descriptor, &bytes, bytes.count, 0)
    return count >= 0 ? Array(bytes[..<count]) : nil
  }
}

private func boundSocket(_ type: __socket_type) throws -> Int32 {
  let socket = Glibc.socket(AF_INET, Int32(type.rawValue), 0)
  let bound = try SocketAddress.loopback()
  guard bound.withRaw({ Glibc.bind(socket, $0, $1) }) == 0 else {
    throw HarnessFailure("bind: errno \(errno)")
  }
  return socket
}

private func portOf(_ socket: Int32) -> UInt16 {
  var name = sockaddr_in()
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  withUnsafeMutablePointer(to: &name) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(socket, $0, &length) }
  }
  return UInt16(bigEndian: name.sin_port)
}

func temporaryDirectory() throws -> String {
  var template = Array("/tmp/millrace-contract-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw HarnessFailure("mkdtemp: errno \(errno)") }
  return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Removes a directory that holds no other.
func removeDirectory(_ path: String) {
  if let stream = opendir(path) {
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { Glibc.unlink(path + "/" + name) }
    }
    closedir(stream)
  }
  rmdir(path)
}

extension SocketAddress {
  /// The raw address, through its own text form: the tests see nothing that is not public.
  func withRaw<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    func with<T>(_ value: T) -> R {
      withUnsafePointer(to: value) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          body($0, socklen_t(MemoryLayout<T>.size))
        }
      }
    }
    switch family {
    case AF_INET:
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      inet_pton(AF_INET, String(description.prefix { $0 != ":" }), &address.sin_addr)
      return with(address)
    case AF_INET6:
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      address.sin6_addr = in6addr_loopback
      return with(address)
    default:
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) {
        $0.copyBytes(from: description.dropFirst("unix:".count).utf8)
      }
      return with(address)
    }
  }
}
