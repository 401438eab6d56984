// Listening sockets that are opened before an engine has them: who opens them can still refuse all of them
// when one fails.

import Glibc

/// Opens listening sockets for engines to adopt (`adoptListener`).
public enum ListeningSocket {
  /// A socket that listens, with SO_REUSEPORT where it is one of IP; the caller's to close or to have adopted.
  public static func open(_ address: SocketAddress) throws(SystemFailure) -> Int32 {
    try Sockets.listen(address, backlog: 4096, reusePort: true, nonblocking: false)
  }

  /// Gives the file of a UNIX socket that another process has made the mode of `address`, chmod(2).
  package static func setMode(of address: SocketAddress) throws(SystemFailure) {
    guard let mode = address.unixMode, let path = address.unixPath, chmod(path, mode) != 0 else {
      return
    }
    throw SystemFailure(code: errno, operation: "chmod \(path)")
  }

  /// Closes one that no engine has adopted. - Parameter path: of a UNIX socket, whose file is removed.
  public static func close(_ number: Int32, path: String? = nil) {
    Glibc.close(number)
    if let path { unlink(path) }
  }
}
