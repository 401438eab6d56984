// Trying what a start will need, without leaving a trace: can this address be bound, can this
// directory be written.

import Glibc

/// Binds an address and lets it go again.
public enum BindTrial {
  /// - Returns: what failed, or nil.
  public static func run(_ address: SocketAddress) -> SystemFailure? {
    if address.isUnix { return tryUnix(address) }
    do throws(SystemFailure) {
      // Without SO_REUSEPORT: a second proxy on the same port must not share it unnoticed.
      let socket = try Sockets.listen(
        address, backlog: 1, reusePort: false, nonblocking: true)
      Glibc.close(socket)
      return nil
    } catch {
      return error
    }
  }

  /// A socket file that nobody serves is removed: it is what a crash leaves behind.
  private static func tryUnix(_ address: SocketAddress) -> SystemFailure? {
    let path = String("\(address)".dropFirst(5))
    var facts = stat()
    guard lstat(path, &facts) == 0 else { return nil }
    guard facts.st_mode & S_IFMT == S_IFSOCK else {
      return SystemFailure(code: EADDRINUSE, operation: "bind \(address)")
    }
    guard let probe = try? Sockets.make(for: address, nonblocking: true) else { return nil }
    defer { Glibc.close(probe) }
    let connected = Sockets.withAddress(address) { Glibc.connect(probe, $0, $1) }
    if connected == 0 || errno == EAGAIN {
      return SystemFailure(code: EADDRINUSE, operation: "bind \(address)")
    }
    Glibc.unlink(path)
    return nil
  }
}

/// Connects to an address and lets the connection go again.
public enum ConnectTrial {
  /// Blocks for as long as `milliseconds`.
  /// - Returns: whether something accepts connections there.
  public static func run(_ address: SocketAddress, milliseconds: Int32) -> Bool {
    guard let probe = try? Sockets.make(for: address, nonblocking: true) else { return false }
    defer { Glibc.close(probe) }
    if Sockets.withAddress(address, { Glibc.connect(probe, $0, $1) }) == 0 { return true }
    guard errno == EINPROGRESS else { return false }
    var wanted = pollfd(fd: probe, events: Int16(POLLOUT), revents: 0)
    guard poll(&wanted, 1, milliseconds) == 1 else { return false }
    var code: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(probe, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == 0
  }
}

/// Creates and removes a file in a directory, which is made if it is missing.
public enum DirectoryTrial {
  /// - Returns: an errno, or nil.
  public static func run(_ path: String) -> Int32? {
    if mkdir(path, 0o750) != 0 && errno != EEXIST { return errno }
    var facts = stat()
    guard stat(path, &facts) == 0 else { return errno }
    guard facts.st_mode & S_IFMT == S_IFDIR else { return ENOTDIR }
    let name = path + "/.millrace-trial-\(getpid())"
    let file = Glibc.open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { return errno }
    Glibc.close(file)
    Glibc.unlink(name)
    return nil
  }
}
