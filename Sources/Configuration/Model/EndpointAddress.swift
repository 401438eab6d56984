// A place to listen on or to connect to, and the one grammar for it in files and flags. IP
// addresses are kept in their canonical text (RFC 5952), so two spellings of one address compare
// equal. Nothing is resolved here: a host name stays text.

import Glibc

/// An IP address or host name with a port, or the path of a Unix socket.
public enum EndpointAddress: Sendable, Equatable, CustomStringConvertible {
  /// `host` is an IPv4 or IPv6 address in canonical text, without brackets, or for upstreams a
  /// lower-case host name. `::` is every address of both families.
  case ip(host: String, port: UInt16)
  /// An absolute path of 1…107 bytes.
  case unix(path: String)

  /// What an address is for; a listener takes no host name, an upstream no port 0.
  public enum Role: Sendable, Equatable {
    case listener
    case upstream
  }

  /// Why a text is no address, in the two parts of a `Problem`.
  public struct ParseError: Error, Sendable, Equatable {
    public var message: String
    public var hint: String

    public init(message: String, hint: String) {
      self.message = message
      self.hint = hint
    }
  }

  /// The text that `parse` reads back to the same address.
  public var description: String {
    switch self {
    case .ip(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }

  /// True when the host is an IPv4 or IPv6 address, so that nothing has to be resolved.
  public var isNumeric: Bool {
    switch self {
    case .ip(let host, _): Self.isIPv4(host) || host.contains(":")
    case .unix: true
    }
  }

  /// sockaddr_un.sun_path is 108 bytes with its terminating zero (unix(7)).
  public static let unixPathBytesMaximum = 107

  /// Reads `0.0.0.0:8443`, `:8443` (every address, both families), `[::1]:8080`,
  /// `localhost:3000` (upstreams only) and `unix:/run/x.sock`.
  ///
  /// - Parameter role: what the address is for; nil checks the grammar only.
  public static func parse(
    _ text: String, as role: Role? = nil
  ) throws(ParseError) -> EndpointAddress {
    if text.hasPrefix("unix:") { return try parseUnix(String(text.dropFirst(5))) }
    if let (scheme, rest) = schemeAndRest(text) { throw urlError(scheme, rest, role) }
    let (host, port) = try split(text, role)
    let address = EndpointAddress.ip(
      host: try canonicalHost(host, in: text), port: try parsePort(port, in: text))
    switch role {
    case .listener?: try address.checkListener()
    case .upstream?: try address.checkUpstream(text)
    case nil: break
    }
    return address
  }
}

extension EndpointAddress {
  /// The forms as they are named in messages.
  static let forms = "an address such as 0.0.0.0:8443, :8443, [::1]:8080 or unix:/run/x.sock"

  private static func parseUnix(_ path: String) throws(ParseError) -> EndpointAddress {
    guard path.hasPrefix("/"), path != "/" else {
      throw ParseError(
        message: "has no absolute path after unix:",
        hint: "write the full path, for example unix:/run/app.sock")
    }
    let bytes = path.utf8.count
    guard bytes <= unixPathBytesMaximum else {
      throw ParseError(
        message: "has a socket path of \(bytes) bytes, but the kernel accepts"
          + " \(unixPathBytesMaximum)",
        hint: "use a shorter path")
    }
    guard !hasControl(path) else {
      throw ParseError(message: "contains a control character", hint: "remove it")
    }
    return .unix(path: path)
  }

  private static func urlError(
    _ scheme: String, _ rest: String, _ role: Role?
  ) -> ParseError {
    let authority = String(rest.prefix { $0 != "/" })
    if scheme == "https", role != .listener {
      return ParseError(
        message: "is an https URL, expected an address",
        hint: "write \(excerpt(authority.contains(":") ? authority : "\(authority):443")), and"
          + " tls: {} in the upstream for TLS to its servers")
    }
    let example = authority.contains(":") ? authority : "\(authority):80"
    return ParseError(
      message: "is a URL (\(quoted(scheme)) is its scheme), expected an address",
      hint: "write \(excerpt(example))")
  }

  private static func schemeAndRest(_ text: String) -> (scheme: String, rest: String)? {
    let bytes = Array(text.utf8)
    guard bytes.count > 3 else { return nil }
    for index in 0..<(bytes.count - 2)
    where bytes[index] == UInt8(ascii: ":") && bytes[index + 1] == UInt8(ascii: "/")
      && bytes[index + 2] == UInt8(ascii: "/")
    {
      return (
        String(decoding: bytes[..<index], as: UTF8.self),
        String(decoding: bytes[(index + 3)...], as: UTF8.self)
      )
    }
    return nil
  }

  /// Parts host and port. The host comes without brackets; an empty one is `::`.
  private static func split(
    _ text: String, _ role: Role?
  ) throws(ParseError) -> (host: String, port: String) {
    let bytes = Array(text.utf8)
    if bytes.first == UInt8(ascii: "[") {
      guard let close = bytes.firstIndex(of: UInt8(ascii: "]")),
        close + 1 < bytes.count, bytes[close + 1] == UInt8(ascii: ":")
      else {
        throw ParseError(
          message: "is \(quoted(text)), an IPv6 address without a port",
          hint: "write [ADDRESS]:PORT, for example [::1]:8080")
      }
      let host = String(decoding: bytes[1..<close], as: UTF8.self)
      guard canonicalIPv6(host) != nil else {
        throw ParseError(
          message: "is \(quoted(text)), and \(quoted(host)) is not a valid IPv6 address",
          hint: "write an IPv6 address without a zone in the brackets, for example [::1]:8080")
      }
      return (host, String(decoding: bytes[(close + 2)...], as: UTF8.self))
    }
    if canonicalIPv6(text) != nil {
      throw ParseError(
        message: "is \(quoted(text)), an IPv6 address without brackets",
        hint: "write brackets around the address, then the port, for example [::1]:8080")
    }
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")) else {
      let digits = !bytes.isEmpty && bytes.allSatisfy { isDigit($0) }
      throw ParseError(
        message: digits
          ? "is \(excerpt(text)), a port without a colon" : "is \(quoted(text)), without a port",
        hint: digits
          ? (role == .upstream
            ? "add the host, for example 127.0.0.1:\(excerpt(text))"
            : "write :\(excerpt(text)) for all addresses, or 127.0.0.1:\(excerpt(text))")
          : "write \(forms)")
    }
    guard bytes[(colon + 1)...].firstIndex(of: UInt8(ascii: ":")) == nil else {
      throw ParseError(
        message: "is \(quoted(text)), which has more than one colon",
        hint: "write \(forms); an IPv6 address needs brackets")
    }
    return (
      colon == 0 ? "::" : String(decoding: bytes[..<colon], as: UTF8.self),
      String(decoding: bytes[(colon + 1)...], as: UTF8.self)
    )
  }

  private static func parsePort(_ port: String, in text: String) throws(ParseError) -> UInt16 {
    let digits = !port.isEmpty && port.utf8.allSatisfy { isDigit($0) }
    guard digits, let number = UInt16(port) else {
      throw ParseError(
        message: "is \(quoted(text)), and \(quoted(port)) is not a valid port",
        hint: "write a port from 0 to 65535 after the colon, for example :8443")
    }
    guard port == String(number) else {
      throw ParseError(
        message: "is \(quoted(text)), but some parsers read a leading 0 as octal",
        hint: "write the port without it: \(number)")
    }
    return number
  }

  private func checkListener() throws(ParseError) {
    guard case .ip(let host, let port) = self, !isNumeric else { return }
    let same = host == "localhost" ? "127.0.0.1" : "0.0.0.0"
    throw ParseError(
      message: "has the host name \(quoted(host)), but a listener needs an IP address",
      hint: "write \(same):\(port), or :\(port) for all addresses")
  }

  private func checkUpstream(_ text: String) throws(ParseError) {
    guard case .ip(let host, let port) = self else { return }
    guard host != "::" && host != "0.0.0.0" else {
      throw ParseError(
        message: "is \(quoted(text)), but the unspecified address cannot be connected to",
        hint: "write the address of the server, for example 127.0.0.1:\(port == 0 ? 3000 : port)")
    }
    guard port != 0 else {
      throw ParseError(
        message: "is \(quoted(text)), but port 0 cannot be connected to",
        hint: "write the server's port, for example \(EndpointAddress.ip(host: host, port: 3000))")
    }
  }
}
