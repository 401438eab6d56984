// Reads listeners whose connections are passed on as they are: their upstream, and the names that choose
// another one. The names of upstreams are resolved once these are read.

/// Where the connections of a listener go, as it is written.
struct ReadRelay {
  var upstream: (text: String, value: Located)?
  var names: [(name: String, upstream: (text: String, value: Located))] = []
}

extension Reader {
  /// What HTTP alone has a use for.
  private static var keysOfHTTP: [String] { ["http_versions", "tls", "underscores"] }
  private static var keysOfRelays: [String] { ["upstream", "sni"] }

  /// nil for a listener of HTTP.
  mutating func relay(_ fields: Fields, _ listener: Located) -> ReadRelay? {
    guard word(fields, "protocol") == "relay" else {
      for name in Self.keysOfRelays {
        guard let value = fields[name] else { continue }
        report(
          value, "applies to protocol: relay only",
          "write a route: routes: [{match: {listener: NAME}, upstream: NAME}]")
      }
      return nil
    }
    for name in Self.keysOfHTTP {
      guard let value = fields[name] else { continue }
      report(
        value, "does not apply to protocol: relay, which passes connections on as they are",
        "remove it, or write protocol: http")
    }
    var relay = ReadRelay()
    relay.upstream = text(fields, "upstream")
    if let list = fields["sni"] {
      for item in items(list, Shapes.listener.key("sni").value) ?? [] {
        readName(item, into: &relay)
      }
    } else if !fields.has("upstream") {
      report(
        listener, "has protocol: relay, but neither upstream nor sni", "write upstream: NAME")
    }
    return relay
  }

  private mutating func readName(_ value: Located, into relay: inout ReadRelay) {
    let example = "{name: shop.example, upstream: shop}"
    guard let fields = fields(value, Shapes.relayName, example: example),
      let name = text(fields, "name"), let upstream = text(fields, "upstream"),
      let host = host(name.text, name.value)
    else { return }
    if relay.names.contains(where: { $0.name == host }) {
      report(
        name.value, "is \(quoted(host)), which is already in the list", "remove one of the two")
    }
    relay.names.append((host, upstream))
  }

  /// Gives each listener that relays the indices of its upstreams.
  mutating func resolveRelays(
    _ listeners: inout [ReadListener], _ upstreams: [ReadUpstream]
  ) {
    for index in listeners.indices {
      guard let relay = listeners[index].relay else { continue }
      var resolved = RelayConfiguration(upstream: nil)
      if let upstream = relay.upstream { resolved.upstream = place(upstream, upstreams) }
      for (name, upstream) in relay.names {
        guard let place = place(upstream, upstreams) else { continue }
        resolved.names.append(RelayConfiguration.Name(name: name, upstream: place))
      }
      listeners[index].configuration?.relay = resolved
    }
  }

  private mutating func place(
    _ name: (text: String, value: Located), _ upstreams: [ReadUpstream]
  ) -> Int? {
    guard !upstreams.isEmpty else { return nil }
    if let index = upstreams.firstIndex(where: { $0.name == name.text }) { return index }
    report(
      name.value, "is \(quoted(name.text)), but there is no upstream with this name",
      hintForUnknown(name.text, among: upstreams.map(\.name), none: "add it to upstreams"))
    return nil
  }
}
