// The system calls on sockets that are the same for both engines: quick, never waiting.

import CLinux
import Glibc

enum Sockets {
  /// A bound, listening socket.
  static func listen(
    _ address: SocketAddress, backlog: Int32, reusePort: Bool, nonblocking: Bool
  ) throws(SystemFailure) -> Int32 {
    let name = "\(address)"
    let type =
      Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      | (nonblocking ? Int32(SOCK_NONBLOCK.rawValue) : 0)
    let descriptor = socket(address.family, type, 0)
    guard descriptor >= 0 else {
      throw SystemFailure(code: errno, operation: "socket for \(name)")
    }
    if !address.isUnix {
      set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
      if reusePort { set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
      // Inherited by accepted sockets, which saves a system call for each of them.
      set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
      if address.family == AF_INET6 {
        // [::] serves IPv4 as well, whatever net.ipv6.bindv6only says.
        set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0)
      }
    }
    // The file takes the socket's mode less the umask, unix(7): until the mode that is wanted is set,
    // only the owner can connect.
    if address.unixMode != nil { fchmod(descriptor, 0o600) }
    let bound = withAddress(address) { Glibc.bind(descriptor, $0, $1) }
    guard bound == 0 else {
      let code = errno
      Glibc.close(descriptor)
      throw SystemFailure(code: code, operation: "bind \(name)")
    }
    if let mode = address.unixMode, let path = address.unixPath, chmod(path, mode) != 0 {
      let code = errno
      Glibc.close(descriptor)
      throw SystemFailure(code: code, operation: "chmod \(path)")
    }
    guard Glibc.listen(descriptor, backlog) == 0 else {
      let code = errno
      Glibc.close(descriptor)
      throw SystemFailure(code: code, operation: "listen \(name)")
    }
    return descriptor
  }

  /// An unconnected socket for `address`.
  static func make(
    for address: SocketAddress, nonblocking: Bool
  ) throws(SystemFailure) -> Int32 {
    let type =
      Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      | (nonblocking ? Int32(SOCK_NONBLOCK.rawValue) : 0)
    let descriptor = socket(address.family, type, 0)
    guard descriptor >= 0 else {
      throw SystemFailure(code: errno, operation: "socket for \(address)")
    }
    if !address.isUnix { set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
    return descriptor
  }

  static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
    var value = value
    _ = setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  /// Bounds how long a blocking call on the socket waits.
  static func limitWaiting(_ descriptor: Int32, microseconds: Int) {
    var value = timeval(tv_sec: 0, tv_usec: microseconds)
    _ = setsockopt(
      descriptor, SOL_SOCKET, SO_RCVTIMEO, &value, socklen_t(MemoryLayout<timeval>.size))
  }

  /// Connects a UNIX socket without waiting; a full backlog (EAGAIN) is as good as a refusal.
  /// The socket keeps its blocking mode.
  /// - Returns: 0 or a negated errno.
  static func connectUnix(_ descriptor: Int32, _ address: SocketAddress) -> Int32 {
    let flags = fcntl(descriptor, F_GETFL)
    _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
    let code = withAddress(address) { connect(descriptor, $0, $1) } == 0 ? 0 : errno
    _ = fcntl(descriptor, F_SETFL, flags)
    return code == EAGAIN ? -ECONNREFUSED : -code
  }

  static func resetOnClose(_ descriptor: Int32) {
    var value = linger(l_onoff: 1, l_linger: 0)
    _ = setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
  }

  static func shutdown(_ descriptor: Int32, _ direction: ShutdownDirection) {
    _ = Glibc.shutdown(descriptor, how(direction))
  }

  /// The argument of shutdown(2).
  static func how(_ direction: ShutdownDirection) -> Int32 {
    switch direction {
    case .receive: Int32(SHUT_RD)
    case .send: Int32(SHUT_WR)
    case .both: Int32(SHUT_RDWR)
    }
  }

  /// Looks whether a descriptor of somebody else's is a connected stream socket, and sets its mode.
  /// - Returns: whether it is a UNIX socket.
  static func prepareForeign(
    _ number: Int32, limit: Int, nonblocking: Bool
  ) throws(SystemFailure) -> Bool {
    guard number >= 0 else { throw SystemFailure(code: EBADF, operation: "adopt") }
    guard Int(number) < limit else {
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    var kind: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(number, SOL_SOCKET, SO_TYPE, &kind, &length) == 0 else {
      throw SystemFailure(code: errno, operation: "adopt")
    }
    guard kind == Int32(SOCK_STREAM.rawValue) else {
      throw SystemFailure(code: ENOTSOCK, operation: "adopt of what is not a stream socket")
    }
    var address = sockaddr_storage()
    length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    // TRAP: a variable has an address.
    let named = withUnsafeMutableBytes(of: &address) {
      getpeername(number, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), &length)
    }
    guard named == 0 else { throw SystemFailure(code: errno, operation: "adopt") }
    let flags = fcntl(number, F_GETFL)
    let wanted = nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
    guard flags >= 0, flags == wanted || fcntl(number, F_SETFL, wanted) == 0 else {
      throw SystemFailure(code: errno, operation: "fcntl")
    }
    return Int32(address.ss_family) == AF_UNIX
  }

  /// Looks whether a descriptor of the caller's is a stream socket that listens, and sets its mode; closes it
  /// if not.
  /// - Returns: whether it is a UNIX socket.
  static func prepareListener(
    _ number: Int32, limit: Int, nonblocking: Bool
  ) throws(SystemFailure) -> Bool {
    guard number >= 0 else { throw SystemFailure(code: EBADF, operation: "adopt") }
    func refuse(_ code: Int32, _ operation: String) -> SystemFailure {
      Glibc.close(number)
      return SystemFailure(code: code, operation: operation)
    }
    guard Int(number) < limit else { throw refuse(EMFILE, "descriptor limit of the engine") }
    func option(_ name: Int32) -> Int32? {
      var value: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      return getsockopt(number, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }
    guard let kind = option(SO_TYPE) else { throw refuse(errno, "adopt") }
    guard kind == Int32(SOCK_STREAM.rawValue) else {
      throw refuse(ENOTSOCK, "adopt of what is not a stream socket")
    }
    guard option(SO_ACCEPTCONN) == 1 else { throw refuse(EINVAL, "adopt of what does not listen") }
    let flags = fcntl(number, F_GETFL)
    let wanted = nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
    guard flags >= 0, flags == wanted || fcntl(number, F_SETFL, wanted) == 0 else {
      throw refuse(errno, "fcntl")
    }
    // An earlier owner may have left a limit (`acceptNow`), which accepted sockets would have too.
    limitWaiting(number, microseconds: 0)
    return option(SO_DOMAIN) == AF_UNIX
  }

  /// Whether it is a stream socket that listens.
  static func isListener(_ number: Int32) -> Bool {
    func option(_ name: Int32) -> Int32? {
      var value: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      return getsockopt(number, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }
    return option(SO_TYPE) == Int32(SOCK_STREAM.rawValue) && option(SO_ACCEPTCONN) == 1
  }

  /// Whether it is a stream socket that does not listen.
  static func isConnection(_ number: Int32) -> Bool {
    func option(_ name: Int32) -> Int32? {
      var value: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      return getsockopt(number, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }
    return option(SO_TYPE) == Int32(SOCK_STREAM.rawValue) && option(SO_ACCEPTCONN) == 0
  }

  /// Whether an error waits to be told. Asking does not take it away (tcp_poll).
  static func isBroken(_ descriptor: Int32) -> Bool {
    var ask = pollfd(fd: descriptor, events: 0, revents: 0)
    return Glibc.poll(&ask, 1, 0) == 1 && ask.revents & Int16(POLLERR) != 0
  }

  static func peer(_ descriptor: Int32) -> SocketAddress? { name(descriptor, getpeername) }
  static func local(_ descriptor: Int32) -> SocketAddress? { name(descriptor, getsockname) }

  private static func name(
    _ descriptor: Int32,
    _ call: (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32
  ) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let code = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { call(descriptor, $0, &length) }
    }
    return code == 0 ? SocketAddress(storage: storage, length: length) : nil
  }

  static func withAddress<R>(
    _ address: SocketAddress, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R
  ) -> R {
    withUnsafePointer(to: address.storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, address.length) }
    }
  }

  /// Bytes that the peer has not acknowledged, SIOCOUTQ; 0 where the socket does not tell.
  static func unacknowledged(_ descriptor: Int32) -> Int {
    max(0, Int(clinux_unacknowledged(descriptor)))
  }

  /// Whether a send that failed has taken the socket's pending error, which a receive will then not
  /// see. EPIPE leaves none, and the others are not the socket's.
  static func tookError(_ failure: Int32) -> Bool {
    switch -failure {
    case EPIPE, ECANCELED, ENOMEM, ENOBUFS, EMSGSIZE, EINVAL, EBADF, EOPNOTSUPP: false
    default: true
    }
  }

  /// Errors that concern the connection that was being accepted, not the listener, accept(2).
  static func isTransientAcceptError(_ result: Int32) -> Bool {
    switch -result {
    case ECONNABORTED, EINTR, EAGAIN, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
      EHOSTUNREACH, ENETUNREACH:
      true
    default: false
    }
  }

  static func error(of descriptor: Int32) -> Int32 {
    var code: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 ? code : errno
  }
}
