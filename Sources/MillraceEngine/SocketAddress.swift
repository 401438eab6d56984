// A socket address as the kernel wants it, and as a person reads it. Resolving a host name is a
// set-up step, done before any worker runs.

import CLinux
import Glibc

/// An IPv4, IPv6 or UNIX socket address.
public struct SocketAddress: Sendable {
  var storage: sockaddr_storage
  var length: socklen_t
  /// The mode of the file that listening on a UNIX address makes; nil: what the umask leaves of 0777.
  public var unixMode: UInt32?

  /// Room for an address that the kernel is to fill in.
  static var unknown: SocketAddress { SocketAddress(storage: sockaddr_storage(), length: 0) }

  init(storage: sockaddr_storage, length: socklen_t) {
    unixMode = nil
    self.storage = storage
    self.length = length
  }

  /// AF_INET, AF_INET6 or AF_UNIX.
  public var family: Int32 { Int32(storage.ss_family) }
  /// True for a UNIX address.
  public var isUnix: Bool { family == AF_UNIX }
  /// The path of a UNIX address, or nil.
  public var unixPath: String? {
    guard isUnix else { return nil }
    return withUnsafeBytes(of: storage) { bytes in
      // The length is the kernel's: 2 or less for a socket without a name, unix(7).
      let end = min(max(2, Int(length)), bytes.count)
      return String(decoding: bytes[2..<end].prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// The port of an IP address in host order; 0 for a UNIX address.
  public var port: UInt16 {
    withUnsafeBytes(of: storage) { bytes in
      switch family {
      case AF_INET: UInt16(bigEndian: bytes.load(as: sockaddr_in.self).sin_port)
      case AF_INET6: UInt16(bigEndian: bytes.load(as: sockaddr_in6.self).sin6_port)
      default: 0
      }
    }
  }

  /// The address of a UNIX socket. - Returns: nil if the path has more than 107 bytes, unix(7).
  public init?(unixPath path: String) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      return nil
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    unixMode = nil
    storage = sockaddr_storage()
    withUnsafeMutableBytes(of: &storage) { target in
      withUnsafeBytes(of: address) { target.copyMemory(from: $0) }
    }
    length = socklen_t(MemoryLayout<sockaddr_un>.size)
  }

  /// The addresses of a host and port, each once and in the order to try them in (RFC 6724); a
  /// literal resolves to itself.
  ///
  /// Blocks (getaddrinfo(3)): for set-up only.
  /// - Throws: `ResolutionFailure` with the resolver's words.
  public static func resolve(
    host: String, port: UInt16, passive: Bool = false
  ) throws(ResolutionFailure) -> [SocketAddress] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list)
    guard code == 0 else {
      throw ResolutionFailure(host: host, reason: String(cString: gai_strerror(code)))
    }
    defer { freeaddrinfo(list) }
    var found: [SocketAddress] = []
    var next = list
    while let entry = next {
      var storage = sockaddr_storage()
      memcpy(&storage, entry.pointee.ai_addr, Int(entry.pointee.ai_addrlen))
      let address = SocketAddress(storage: storage, length: entry.pointee.ai_addrlen)
      // A name that /etc/hosts has on two lines comes with its address twice.
      if !found.contains(where: { $0.hasSameBytes(as: address) }) { found.append(address) }
      next = entry.pointee.ai_next
    }
    return found
  }

  private func hasSameBytes(as other: SocketAddress) -> Bool {
    length == other.length
      && withUnsafeBytes(of: storage) { mine in
        withUnsafeBytes(of: other.storage) {
          // TRAP: the bytes of a stored value have an address.
          memcmp(mine.baseAddress!, $0.baseAddress!, Int(length)) == 0
        }
      }
  }

  /// Writes the address without its port ("192.0.2.1", "2001:db8::1", "unix:").
  /// - Parameter room: at least 46 bytes (INET6_ADDRSTRLEN).
  /// - Returns: bytes written.
  public func writeHost(to room: UnsafeMutableRawBufferPointer) -> Int {
    withUnsafeBytes(of: storage) { bytes in
      // TRAP: a stored property has an address.
      let base = bytes.baseAddress!
      switch family {
      case AF_INET:
        return IPText.writeV4(base + 4, to: room)
      case AF_INET6:
        // ::ffff:a.b.c.d, an IPv4 peer of a dual-stack listener, reads better as a.b.c.d.
        let mapped =
          base.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == 0
          && base.loadUnaligned(fromByteOffset: 16, as: UInt32.self) == UInt32(bigEndian: 0xFFFF)
        if mapped { return IPText.writeV4(base + 20, to: room) }
        let text = room.assumingMemoryBound(to: CChar.self)
        // TRAP: the caller's room has at least 46 bytes.
        guard
          inet_ntop(AF_INET6, base + 8, text.baseAddress!, socklen_t(room.count)) != nil
        else { return 0 }
        return strlen(text.baseAddress!)
      default:
        room.copyBytes(from: "unix:".utf8)
        return 5
      }
    }
  }
}

extension SocketAddress: CustomStringConvertible {
  public var description: String {
    if let unixPath { return "unix:" + unixPath }
    let host = withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { room in
      String(
        decoding: UnsafeRawBufferPointer(rebasing: room[..<writeHost(to: room)]),
        as: UTF8.self)
    }
    return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// A host name that could not be resolved.
public struct ResolutionFailure: Error, CustomStringConvertible {
  /// The name that was to be resolved.
  public let host: String
  /// The resolver's words, gai_strerror(3).
  public let reason: String
  public var description: String { "cannot resolve \(host): \(reason)" }
}

private enum IPText {
  static func writeV4(
    _ octets: UnsafeRawPointer, to room: UnsafeMutableRawBufferPointer
  ) -> Int {
    var at = 0
    for i in 0..<4 {
      let octet = octets.load(fromByteOffset: i, as: UInt8.self)
      if octet >= 100 { room[at] = 48 + octet / 100; at += 1 }
      if octet >= 10 { room[at] = 48 + octet / 10 % 10; at += 1 }
      room[at] = 48 + octet % 10
      at += 1
      if i < 3 { room[at] = 46; at += 1 }
    }
    return at
  }
}
