// Reads which protocols a client may switch to: names as Upgrade has them (RFC 9110 7.8), without a version.

extension Reader {
  /// Names under which HTTP itself would go through a tunnel: requests that no route and no record sees.
  private static var namesOfHTTP: [String] { ["h2c", "h2", "h3", "http"] }

  /// The names in lower case, each at most once; nil if the value is no list.
  mutating func upgrades(_ value: Located) -> [String]? {
    let shape = Shapes.upstream.key("upgrades").value
    guard case .list(let item, _) = shape, let items = items(value, shape) else { return nil }
    var names: [String] = []
    for place in items {
      guard let text = text(place, item, key: "upgrades") else { continue }
      let name = lowercased(text)
      if Self.namesOfHTTP.contains(name) {
        report(
          place,
          "is \(quoted(text)), which is never forwarded: its requests would bypass the routes",
          "remove it; http_versions on the listener enables HTTP/2 for clients")
      } else if !name.utf8.allSatisfy(Self.isTokenByte) {
        report(
          place, "is \(quoted(text)), which is not a valid protocol name",
          "write the name from the Upgrade field without a version, for example websocket")
      } else if names.contains(name) {
        report(place, "is \(name), which is already in the list", "keep one of the two")
      } else {
        names.append(name)
      }
    }
    return names
  }

  /// RFC 9110 5.6.2.
  private static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }
}
