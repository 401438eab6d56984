// Reads the routes and resolves the names in them. Without routes one upstream takes everything;
// with several, nobody guesses. Indices refer to the lists of the file, which are the lists of the
// configuration once there is no error left.

extension Reader {
  mutating func routes(
    _ root: Fields, listeners: [ReadListener], upstreams: [ReadUpstream]
  ) -> [RouteConfiguration] {
    guard let value = root["routes"] else {
      guard let first = upstreams.first else { return [] }
      // No route is needed where no listener speaks HTTP.
      if !listeners.isEmpty && listeners.allSatisfy({ $0.relay != nil }) { return [] }
      if upstreams.count > 1 {
        report(
          location(Mark(line: 1, column: 1), "routes"),
          "is missing, but is required with more than one upstream (there are \(upstreams.count))",
          "add routes: [{match: {path: /}, upstream: \(first.name)}]")
        return []
      }
      return [
        RouteConfiguration(
          upstream: 0, location: first.configuration?.location ?? SourceLocation(file: file))
      ]
    }
    return (items(value, root.shape.key("routes").value) ?? []).compactMap {
      route($0, listeners: listeners, upstreams: upstreams)
    }
  }

  private mutating func route(
    _ value: Located, listeners: [ReadListener], upstreams: [ReadUpstream]
  ) -> RouteConfiguration? {
    guard let fields = fields(value, Shapes.route, example: "{match: {path: /}, upstream: web}")
    else { return nil }
    var route = RouteConfiguration(upstream: 0, location: location(value))
    if let name = text(fields, "upstream"), !upstreams.isEmpty {
      if let index = upstreams.firstIndex(where: { $0.name == name.text }) {
        route.upstream = index
      } else {
        report(
          name.value, "is \(quoted(name.text)), but there is no upstream with this name",
          hintForUnknown(name.text, among: upstreams.map(\.name), none: "add it to upstreams"))
      }
    }
    if let logs = accessLogSwitch(fields) { route.logsAccess = logs }
    guard let match = fields["match"],
      let parts = self.fields(match, Shapes.match, example: "match: {path: /api}")
    else { return route }
    if let name = text(parts, "listener"), !listeners.isEmpty {
      route.listener = listener(name.text, name.value, among: listeners)
    }
    if let host = text(parts, "host") { route.host = self.host(host.text, host.value) }
    route.path = pathMatch(parts)
    return route
  }

  private mutating func listener(
    _ name: String, _ value: Located, among listeners: [ReadListener]
  ) -> Int? {
    if let index = listeners.firstIndex(where: { $0.name == name }) { return index }
    // A listener that could not be read has no name to compare with; it has its own problem.
    if listeners.contains(where: { $0.name == nil }) { return nil }
    report(
      value, "is \(quoted(name)), but there is no listener with this name",
      hintForUnknown(name, among: listeners.compactMap(\.name), none: "add it to listeners"))
    return nil
  }

  /// A host to match. A name may be written as an absolute one, with a dot at its end: a request
  /// and a certificate are found by both forms.
  mutating func host(_ written: String, _ value: Located) -> String? {
    let text = written.hasSuffix(".") && written != "*." ? String(written.dropLast()) : written
    let isWildcard = text.hasPrefix("*.")
    let name = isWildcard ? String(text.dropFirst(2)) : text
    if text == "*" {
      report(value, "is \"*\", which matches every host", "remove the key")
      return nil
    }
    if name.contains("*") {
      report(
        value, "is \(quoted(text)), but * is allowed only as the first label",
        "write *.example or an exact host")
      return nil
    }
    if let literal = literalHost(name), !isWildcard { return literal }
    if name.utf8.contains(UInt8(ascii: ":")) || name.utf8.contains(UInt8(ascii: "/")) {
      report(
        value, "is \(quoted(text)), but a host must not have a scheme, port or path",
        "write only the host name, for example shop.example")
      return nil
    }
    if let problem = EndpointAddress.hostNameProblem(name) {
      report(
        value, "is \(quoted(text)), and \(problem)", "write for example shop.example or *.example")
      return nil
    }
    return lowercased(text)
  }

  /// An IP address as clients put it into the Host field: IPv6 in brackets (RFC 3986, 3.2.2).
  private func literalHost(_ text: String) -> String? {
    if EndpointAddress.isIPv4(text) { return text }
    guard text.hasPrefix("["), text.hasSuffix("]") else { return nil }
    let inner = String(text.dropFirst().dropLast())
    return EndpointAddress.canonicalIPv6(inner).map { "[\($0)]" }
  }

  private mutating func pathMatch(_ fields: Fields) -> PathMatch {
    if fields.has("path"), fields.has("path_exact"), let exact = fields["path_exact"] {
      report(exact, "conflicts with path", "remove one of the two")
      return .any
    }
    if let exact = text(fields, "path_exact") {
      return isPath(exact.text, exact.value) ? .exact(exact.text) : .any
    }
    guard let prefix = text(fields, "path"), isPath(prefix.text, prefix.value) else { return .any }
    // Segments are compared whole, so a slash at the end adds nothing.
    var text = prefix.text
    while text.hasSuffix("/") { text.removeLast() }
    return text.isEmpty ? .any : .prefix(text)
  }

  /// Whether a request target could have this path (RFC 3986, section 3.3).
  private mutating func isPath(_ text: String, _ value: Located) -> Bool {
    let bytes = Array(text.utf8)
    if bytes.first != UInt8(ascii: "/") {
      report(value, "is \(quoted(text)), but a path must start with /", "write /\(excerpt(text))")
      return false
    }
    if text == "/*" || text.hasSuffix("/*") {
      report(
        value, "is \(quoted(text)), but * is not a wildcard in a path",
        "write path: \(excerpt(text == "/*" ? "/" : String(text.dropLast(2)))),"
          + " which matches everything below it")
      return false
    }
    for (index, byte) in bytes.enumerated() {
      switch byte {
      case UInt8(ascii: "?"), UInt8(ascii: "#"):
        report(
          value,
          "is \(quoted(text)), but \(UnicodeScalar(byte)) and what follows are not part of a path",
          "remove it")
        return false
      case UInt8(ascii: "%") where !Self.isEscape(bytes, index):
        report(
          value, "is \(quoted(text)), but % must be followed by two hexadecimal digits",
          "write %25 for a literal %")
        return false
      case 0x21...0x7E where !"\"<>\\^`{|}".utf8.contains(byte): break
      default:
        report(
          value, "is \(quoted(text)), which has a character that is invalid in a request target",
          "percent-encode it")
        return false
      }
    }
    let segments = text.split(separator: "/")
    if segments.contains(".") || segments.contains("..") {
      report(
        value, "is \(quoted(text)), but clients resolve . and .. segments before sending a request",
        "write the resolved path")
      return false
    }
    return true
  }

  private static func isEscape(_ bytes: [UInt8], _ index: Int) -> Bool {
    guard index + 2 < bytes.count else { return false }
    return bytes[(index + 1)...(index + 2)].allSatisfy { byte in
      isDigit(byte) || (byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "f"))
    }
  }
}
