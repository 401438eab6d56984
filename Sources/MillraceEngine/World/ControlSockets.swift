// Stream sockets of the control plane: few, slow and blocking calls avoided by poll(2). They belong to no
// engine and carry no traffic. A UNIX socket's peer is known by its credentials, which the kernel tells.

import CLinux
import Glibc

extension SocketAddress {
  /// Where a UNIX socket is bound until it takes the place of another; an IP address is the same.
  package var unpublished: SocketAddress {
    guard let path = unixPath,
      var other = SocketAddress(unixPath: path + UnixSocketFile.unpublished)
    else { return self }
    other.unixMode = unixMode
    return other
  }
}

package enum ControlSockets {
  /// A connect without blocking to a UNIX socket fails with EAGAIN where the queue is full (unix(7)): long
  /// enough for everybody who comes while the one thread behind it is busy.
  private static let backlog: Int32 = 512

  /// A listening socket, whose calls do not block. The mode of a UNIX socket's file is set before anybody can connect.
  package static func listen(_ address: SocketAddress) throws(SystemFailure) -> Int32 {
    try Sockets.listen(address, backlog: backlog, reusePort: false, nonblocking: true)
  }

  /// The port that the kernel chose for a socket; 0 for a UNIX socket.
  package static func port(_ descriptor: Int32) -> UInt16 {
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let named = withUnsafeMutableBytes(of: &address) { bytes -> Bool in
      guard let base = bytes.baseAddress else { return false }
      return getsockname(descriptor, base.assumingMemoryBound(to: sockaddr.self), &length) == 0
    }
    guard named, [AF_INET, AF_INET6].contains(Int32(address.ss_family)) else { return 0 }
    // Both families have it in network order behind the family (ip(7), ipv6(7)).
    return withUnsafeBytes(of: &address) {
      UInt16($0[2]) << 8 | UInt16($0[3])
    }
  }

  /// A connection that waits to be accepted, or a negated errno.
  package static func accept(_ descriptor: Int32) -> Int32 {
    clinux_accept4(
      descriptor, Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue))
  }

  /// Whether the peer of a UNIX socket is root, this process's user, or in a group.
  package static func isTrusted(_ descriptor: Int32, group: UInt32) -> Bool {
    clinux_peer_is_trusted(descriptor, geteuid(), group) != 0
  }

  /// The group of a file; nil where there is none.
  package static func group(of path: String) -> UInt32? {
    var facts = stat()
    return stat(path, &facts) == 0 ? facts.st_gid : nil
  }

  /// Connects, and limits how long each later call on the socket may block.
  package static func connect(
    _ address: SocketAddress, milliseconds: Int
  ) throws(SystemFailure) -> Int32 {
    let descriptor = try Sockets.make(for: address, nonblocking: false)
    var limit = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      _ = setsockopt(
        descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    let connected = Sockets.withAddress(address) { Glibc.connect(descriptor, $0, $1) }
    guard connected == 0 else {
      let code = errno
      Glibc.close(descriptor)
      throw SystemFailure(code: code, operation: "connect \(address)")
    }
    return descriptor
  }
}
