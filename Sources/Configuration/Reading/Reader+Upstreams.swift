// Reads the upstreams: a mapping of names, each with its servers, balance, retries and timeouts.

/// An upstream of the file, right or wrong: routes that name it are not to be blamed.
struct ReadUpstream {
  var name: String
  var configuration: UpstreamConfiguration?
}

extension Reader {
  mutating func upstreams(_ root: Fields) -> [ReadUpstream] {
    guard let value = root["upstreams"] else { return [] }
    let shape = root.shape.key("upstreams").value
    let example = "upstreams: {web: {servers: [10.0.0.1:8080]}}"
    guard case .named(_, let count) = shape, case .mapping(let entries) = value.node.content else {
      reportType(value, shape, example: example)
      return []
    }
    guard checkCount(entries.count, count, value, "upstreams", example: example) else { return [] }
    return entries.map { entry in
      let place = path(value.path, key: entry.key)
      let located = Located(node: entry.value, path: place)
      checkKeyName(entry, place)
      return ReadUpstream(
        name: entry.key,
        configuration: upstream(located, name: entry.key, location(entry.keyMark, place)))
    }
  }

  private mutating func checkKeyName(_ entry: Entry, _ place: String) {
    let maximum = 128
    let at = location(entry.keyMark, place)
    if entry.key.isEmpty {
      report(at, "has an empty name", "write a name before the colon, for example web")
    } else if entry.key.utf8.count > maximum {
      report(
        at, "has a name of \(entry.key.utf8.count) bytes, more than \(maximum)",
        "write a shorter one")
    } else if entry.key.unicodeScalars.contains(where: {
      isControl($0) || $0.properties.isWhitespace
    }) {
      report(at, "has a name that contains spaces", "write a name without spaces")
    }
  }

  private mutating func upstream(
    _ value: Located, name: String, _ place: SourceLocation
  ) -> UpstreamConfiguration? {
    let example = "{servers: [10.0.0.1:8080]}"
    guard let fields = fields(value, Shapes.upstream, example: example) else { return nil }
    var upstream = UpstreamConfiguration(name: name, servers: [], location: place)
    if let name = word(fields, "protocol").flatMap(UpstreamProtocol.init) { upstream.speaks = name }
    if let list = fields["servers"] {
      for item in items(list, Shapes.upstream.key("servers").value) ?? [] {
        guard let server = server(item) else { continue }
        checkDuplicate(server, among: upstream.servers)
        upstream.servers.append(server)
      }
    }
    upstream.tls = fields["tls"].flatMap { upstreamTLS($0, upstream.servers, upstream.speaks) }
    checkProtocol(upstream, fields)
    if let balance = balance(fields) { upstream.balance = balance }
    if let value = fields["retries"] { readRetries(value, into: &upstream.retries) }
    if let value = fields["timeouts"] { readTimeouts(value, into: &upstream.timeouts) }
    if let value = fields["upgrades"], let names = upgrades(value) { upstream.upgrades = names }
    if let count = integer(fields, "idle_connections") { upstream.idleConnections = count }
    if let (text, value) = text(fields, "default_host") {
      upstream.defaultHost = authority(text, value)
    }
    readSource(fields, into: &upstream)
    return upstream
  }

  /// HTTP/2 with TLS and without have names of their own, so that neither is spoken by mistake.
  private mutating func checkProtocol(_ upstream: UpstreamConfiguration, _ fields: Fields) {
    guard let value = fields["protocol"] else { return }
    switch upstream.speaks {
    case .http2 where !fields.has("tls"):
      report(
        value, "is h2, which needs TLS, and the upstream has no tls", "add tls: {}, or write h2c")
    case .negotiated where !fields.has("tls"):
      report(
        value, "is auto, which is decided within TLS, and the upstream has no tls",
        "add tls: {}, or write http/1.1 or h2c")
    case .http2Cleartext where fields.has("tls"):
      report(value, "is h2c, which has no TLS, and the upstream has tls", "write h2, or remove tls")
    default: break
    }
  }

  /// A host as a Host field has it, with or without a port.
  private mutating func authority(_ text: String, _ value: Located) -> String? {
    // The grammar of addresses requires a port; any does.
    let isWhole = (try? EndpointAddress.parse(text)) != nil && !text.hasPrefix(":")
    let isHost = (try? EndpointAddress.parse("\(text):80")) != nil
    if !text.isEmpty, !text.hasPrefix("unix:"), isWhole || isHost { return text }
    report(
      value, "is \(quoted(text)), which is not a valid host",
      "write a host name or an IP address (IPv6 in brackets), for example shop.example")
    return nil
  }

  private mutating func readSource(_ fields: Fields, into upstream: inout UpstreamConfiguration) {
    if let (text, value) = text(fields, "source_address") {
      upstream.source.location = location(value)
      if let address = EndpointAddress.canonicalIPv6(text) {
        upstream.source.address = address
      } else if EndpointAddress.isIPv4(text) {
        upstream.source.address = text
      } else {
        report(
          value, "is \(quoted(text)), which is not a valid IP address",
          "write an IP address of this host without a port, for example 10.0.0.9")
      }
      checkFamilies(value, upstream)
    }
    guard let (text, value) = text(fields, "source_ports") else { return }
    let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { part in
      UInt16(part).flatMap { String($0) == part ? $0 : nil }
    }
    guard ends.count == 2, let first = ends[0], let last = ends[1], first > 0 else {
      report(
        value, "is \(quoted(text)), which is not a valid port range",
        "write the first and last port, for example 20000-29999")
      return
    }
    guard first <= last else {
      report(
        value, "is \(quoted(text)), a range whose end is below its start", "write \(last)-\(first)")
      return
    }
    upstream.source.ports = first...last
  }

  /// A connection has both ends in one family.
  private mutating func checkFamilies(_ value: Located, _ upstream: UpstreamConfiguration) {
    guard let source = upstream.source.address else { return }
    for server in upstream.servers {
      guard case .ip(let host, _) = server.address, server.address.isNumeric,
        host.contains(":") != source.contains(":")
      else { continue }
      report(
        value, "is \(source), but the server \(server.address) is of the other address family",
        "use either IPv4 or IPv6 for source_address and all servers of the upstream")
      return
    }
  }

  /// A balance of a later version is a mapping (`{hash: …}`); it gets the same answer as its word.
  private mutating func balance(_ fields: Fields) -> Balance? {
    if let value = fields["balance"], case .mapping(let entries) = value.node.content,
      let choice = Shapes.upstream.key("balance").value.choice,
      let other = choice.unavailable.first(where: { known in
        entries.contains { $0.key == known.name }
      })
    {
      report(value, other.message, other.hint)
      return nil
    }
    return word(fields, "balance").flatMap(Balance.init)
  }

  private mutating func server(_ value: Located) -> ServerConfiguration? {
    let example = "10.0.0.1:8080"
    guard case .mapping = value.node.content else {
      return address(value, as: .upstream, key: "address", example: example).map {
        ServerConfiguration(address: $0, location: location(value))
      }
    }
    guard let fields = fields(value, Shapes.server, example: example) else { return nil }
    let weight = integer(fields, "weight") ?? 1
    guard let place = fields["address"],
      let address = address(place, as: .upstream, key: "address", example: example)
    else { return nil }
    return ServerConfiguration(address: address, weight: weight, location: location(place))
  }

  private mutating func checkDuplicate(
    _ server: ServerConfiguration, among others: [ServerConfiguration]
  ) {
    guard let other = others.first(where: { $0.address == server.address }) else { return }
    report(
      server.location,
      "is \(server.address), which is already in this upstream (line \(other.location.line))",
      "remove one of the two; weight: 2 gives a server twice the requests")
  }

  private mutating func readRetries(_ value: Located, into retries: inout RetryConfiguration) {
    guard let fields = fields(value, Shapes.retries, example: "retries: {attempts: 2}") else {
      return
    }
    if let attempts = integer(fields, "attempts") { retries.attempts = attempts }
    guard let causes = words(fields, "on") else { return }
    retries.onConnectFailure = causes.contains("connect_failure")
    retries.onResetBeforeResponse = causes.contains("reset_before_response")
  }

  private mutating func readTimeouts(_ value: Located, into timeouts: inout UpstreamTimeouts) {
    guard let fields = fields(value, Shapes.upstreamTimeouts, example: "timeouts: {connect: 1s}")
    else { return }
    if let time = duration(fields, "connect") { timeouts.connectNanoseconds = time }
    if let time = duration(fields, "response") { timeouts.responseNanoseconds = time }
    if let time = duration(fields, "idle") { timeouts.idleNanoseconds = time }
    if let time = duration(fields, "tunnel") { timeouts.tunnelNanoseconds = time }
    if let time = duration(fields, "keep_alive_ping") { timeouts.keepAlivePingNanoseconds = time }
    if let time = duration(fields, "keep_alive_ack") { timeouts.keepAliveAckNanoseconds = time }
  }
}
