// A URL as the load takes it from a command line: whom to connect to, and what to ask for. It resolves
// nothing; that is a step of its own, done once before the run.

import MillraceEngine

/// A URL of http or https, in its parts (RFC 3986, section 3; RFC 9110, section 4.2).
public struct LoadTarget: Sendable, Equatable {
  public var usesTLS: Bool
  /// A name, an IPv4 or an IPv6 address without brackets.
  public var host: String
  public var port: UInt16
  /// The path of a UNIX socket to connect to instead; `host` still names the server.
  public var socketPath: String?
  /// Path and query; at least "/".
  public var target: String

  /// What the Host field says: the port only where it is not the scheme's own.
  public var authority: String {
    let name = host.contains(":") ? "[\(host)]" : host
    return port == (usesTLS ? 443 : 80) ? name : "\(name):\(port)"
  }

  /// What is wrong with a URL, and what would be right.
  public struct ParseError: Error, Sendable, Equatable, CustomStringConvertible {
    public var message: String
    public var hint: String
    public var description: String { "\(message); \(hint)" }
  }

  /// Reads `http://127.0.0.1:8080/path?query`, `https://[::1]:8443/`, `example.test/` (http), and
  /// `unix:/run/app.sock:/path`. What is not allowed in a request line is refused, not encoded: a load
  /// must send what it was told to.
  public init(_ text: String) throws(ParseError) {
    let example = "write for example http://127.0.0.1:8080/"
    if text.hasPrefix("unix:") {
      self = try Self.unix(String(text.dropFirst(5)))
      return
    }
    var rest = Substring(text)
    usesTLS = false
    if let mark = rest.range(of: "://") {
      let scheme = rest[..<mark.lowerBound].lowercased()
      guard scheme == "http" || scheme == "https" else {
        throw ParseError(message: "has the scheme \"\(scheme)\"", hint: "write http:// or https://")
      }
      usesTLS = scheme == "https"
      rest = rest[mark.upperBound...]
    }
    let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
    let authority = rest[..<end]
    guard !authority.contains("@") else {
      throw ParseError(
        message: "contains user information",
        hint: "send credentials with --header 'Authorization: …' instead")
    }
    (host, port) = try Self.hostAndPort(authority, usesTLS ? 443 : 80, example)
    target = try Self.target(rest[end...])
  }

  private init(socketPath: String, target: String) {
    usesTLS = false
    host = "localhost"
    port = 80
    self.socketPath = socketPath
    self.target = target
  }

  private static func unix(_ text: String) throws(ParseError) -> LoadTarget {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let path = parts.first, path.hasPrefix("/") else {
      throw ParseError(
        message: "has no absolute path after unix:",
        hint: "write for example unix:/run/app.sock:/path")
    }
    return LoadTarget(
      socketPath: String(path), target: try target(parts.count > 1 ? parts[1] : "/"))
  }

  private static func hostAndPort(
    _ authority: Substring, _ usual: UInt16, _ example: String
  ) throws(ParseError) -> (String, UInt16) {
    var host = authority
    var port = usual
    var portText: Substring?
    if authority.hasPrefix("[") {
      guard let close = authority.firstIndex(of: "]") else {
        throw ParseError(message: "has an unclosed bracket", hint: "write http://[::1]:8080/")
      }
      host = authority[authority.index(after: authority.startIndex)..<close]
      let after = authority[authority.index(after: close)...]
      guard after.isEmpty || after.hasPrefix(":") else {
        throw ParseError(
          message: "has extra characters after the bracket", hint: "write http://[::1]:8080/")
      }
      if !after.isEmpty { portText = after.dropFirst() }
    } else if let colon = authority.firstIndex(of: ":") {
      host = authority[..<colon]
      portText = authority[authority.index(after: colon)...]
      guard portText?.contains(":") == false else {
        throw ParseError(
          message: "has more than one colon in its host",
          hint: "put an IPv6 address in brackets: http://[::1]:8080/")
      }
    }
    guard !host.isEmpty else { throw ParseError(message: "has no host", hint: example) }
    if let portText {
      guard let number = UInt16(portText), number > 0 else {
        throw ParseError(
          message: "has the port \"\(portText)\"", hint: "write a port from 1 to 65535")
      }
      port = number
    }
    return (host.lowercased(), port)
  }

  private static func target(_ text: Substring) throws(ParseError) -> String {
    let withoutFragment = text.prefix { $0 != "#" }
    let target = withoutFragment.hasPrefix("/") ? String(withoutFragment) : "/" + withoutFragment
    for byte in target.utf8 where byte <= 0x20 || byte >= 0x7F {
      throw ParseError(
        message: "has the byte 0x\(String(byte, radix: 16)) in its path or query",
        hint: "percent-encode it, as in %20")
    }
    return target
  }

  /// The server, with its address looked up: of several the first that accepts a connection, or the
  /// first where none does. Blocks.
  public func resolve() throws(ParseError) -> LoadServer {
    if let socketPath {
      guard let address = SocketAddress(unixPath: socketPath) else {
        throw ParseError(
          message: "has a socket path that is too long", hint: "use at most 107 bytes")
      }
      return LoadServer(host: host, authority: host, address: address, usesTLS: false)
    }
    let found: [SocketAddress]
    do throws(ResolutionFailure) {
      found = try SocketAddress.resolve(host: host, port: port)
    } catch {
      throw ParseError(message: "cannot be resolved: \(error)", hint: "check the name")
    }
    guard let first = found.first else {
      throw ParseError(
        message: "has the host \(host), which has no address", hint: "check the name")
    }
    // A name with several addresses is one server, and it may listen at one of them only
    // (`localhost`). Found out before the run, so that a load goes to one address and its
    // connects are counted as they are.
    let address =
      found.count == 1
      ? first : found.first { ConnectTrial.run($0, milliseconds: Self.trialMilliseconds) } ?? first
    return LoadServer(host: host, authority: authority, address: address, usesTLS: usesTLS)
  }

  /// How long one of several addresses may take to accept a connection; the proxy's own default.
  private static let trialMilliseconds: Int32 = 1000
}

extension Substring {
  /// The first place of a text.
  fileprivate func range(of text: String) -> Range<Index>? {
    var at = startIndex
    while at < endIndex {
      if self[at...].hasPrefix(text) { return at..<index(at, offsetBy: text.count) }
      at = index(after: at)
    }
    return nil
  }
}
