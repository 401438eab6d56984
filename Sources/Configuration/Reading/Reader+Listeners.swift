// Reads the listeners: their addresses, names, TLS and timeouts; and refuses two that would take
// the same connections.

/// A listener of the file, right or wrong: its place in the list is what the routes count by.
struct ReadListener {
  var name: String?
  var nameLocation: SourceLocation
  var configuration: ListenerConfiguration?
  /// With `protocol: relay`: where its connections go, by name.
  var relay: ReadRelay?
}

extension Reader {
  mutating func listeners(_ root: Fields) -> [ReadListener] {
    guard let value = root["listeners"],
      let items = items(value, root.shape.key("listeners").value)
    else { return [] }
    var result: [ReadListener] = []
    for item in items {
      let listener = self.listener(item)
      checkDuplicate(listener, among: result)
      result.append(listener)
    }
    return result
  }

  private mutating func listener(_ value: Located) -> ReadListener {
    guard let fields = fields(value, Shapes.listener, example: "{address: 0.0.0.0:8443}") else {
      return ReadListener(name: nil, nameLocation: location(value), configuration: nil)
    }
    let place = fields["address"]
    let address = place.flatMap {
      self.address($0, as: .listener, key: "address", example: "0.0.0.0:8443")
    }
    let name = text(fields, "name")
    if let name { checkName(name.text, name.value) }
    let relay = relay(fields, value)
    let versions = words(fields, "http_versions")?.compactMap { HTTPVersionChoice(rawValue: $0) }
    let tls = fields["tls"].flatMap { self.tls($0) }
    var timeouts = DownstreamTimeouts()
    if let value = fields["timeouts"] { readTimeouts(value, into: &timeouts) }
    let underscores = word(fields, "underscores").flatMap { UnderscorePolicy(rawValue: $0) }

    var written: String?
    if case .scalar(let scalar)? = place?.node.content { written = scalar.text }
    let nameText = name?.text ?? written
    var configuration = address.map {
      ListenerConfiguration(
        name: nameText, address: $0, addressLocation: location(place ?? value), tls: tls,
        timeouts: timeouts, underscores: underscores ?? .pass)
    }
    if let logs = accessLogSwitch(fields) { configuration?.logsAccess = logs }
    if let mode = fileMode(fields, "mode") { configuration?.mode = mode }
    if let versions, !versions.isEmpty {
      configuration?.httpVersions = versions
    } else if tls != nil {
      // A client that does not ask for it by ALPN is served as before.
      configuration?.httpVersions = [.http2, .http11]
    }
    if case .ip? = address, let mode = fields["mode"] {
      report(
        location(mode), "applies to Unix sockets only, and \(written ?? "the address") is not one",
        "remove it, or listen on a Unix socket: address: unix:/run/millrace.sock", .warning)
    }
    return ReadListener(
      name: nameText, nameLocation: location(name?.value ?? place ?? value),
      configuration: configuration, relay: relay)
  }

  private mutating func tls(_ value: Located) -> ListenerTLS? {
    let example = "tls: {certificates: [{certificate: site.pem, key: site.key}]}"
    guard let fields = fields(value, Shapes.tls, example: example) else { return nil }
    var tls = ListenerTLS(certificates: [])
    if let version = word(fields, "minimum_version").flatMap(ListenerTLS.Version.init) {
      tls.minimumVersion = version
    }
    if let layer = word(fields, "record_layer").flatMap(ListenerTLS.RecordLayer.init) {
      tls.recordLayer = layer
    }
    guard let list = fields["certificates"] else { return tls }
    for item in items(list, Shapes.tls.key("certificates").value) ?? [] {
      let example = "{certificate: site.pem, key: site.key}"
      guard let pair = self.fields(item, Shapes.certificate, example: example) else { continue }
      let certificate = text(pair, "certificate")
      let key = text(pair, "key")
      guard let certificate, let key else { continue }
      tls.certificates.append(
        CertificateConfiguration(
          certificatePath: certificate.text, certificateLocation: location(certificate.value),
          keyPath: key.text, keyLocation: location(key.value)))
    }
    return tls
  }

  private mutating func readTimeouts(_ value: Located, into timeouts: inout DownstreamTimeouts) {
    guard let fields = fields(value, Shapes.downstreamTimeouts, example: "timeouts: {head: 10s}")
    else { return }
    if let time = duration(fields, "head") { timeouts.headNanoseconds = time }
    if let time = duration(fields, "body") { timeouts.bodyNanoseconds = time }
    if let time = duration(fields, "idle") { timeouts.idleNanoseconds = time }
    if let time = duration(fields, "keep_alive_ping") { timeouts.keepAlivePingNanoseconds = time }
    if let time = duration(fields, "keep_alive_ack") { timeouts.keepAliveAckNanoseconds = time }
  }

  /// Names go into logs, metrics and records, so they are one visible word.
  mutating func checkName(_ name: String, _ value: Located) {
    if name.unicodeScalars.contains(where: { $0.properties.isWhitespace }) {
      report(value, "is \(quoted(name)), but a name must not contain spaces", "remove the spaces")
    }
  }

  private mutating func checkDuplicate(_ listener: ReadListener, among others: [ReadListener]) {
    for other in others {
      if let address = listener.configuration?.address, let taken = other.configuration,
        let overlap = address.overlap(taken.address), let place = listener.configuration
      {
        report(
          place.addressLocation, overlap + " (line \(taken.addressLocation.line))",
          "remove one of the two, or change its port")
        return
      }
    }
    if let name = listener.name, let other = others.first(where: { $0.name == name }) {
      report(
        listener.nameLocation,
        "is \(quoted(name)), which another listener already has (line \(other.nameLocation.line))",
        "give each listener a unique name")
    }
  }
}

extension EndpointAddress {
  /// Why two listeners cannot have these addresses; nil if they can. Port 0 never collides: the
  /// kernel picks a free one each time.
  func overlap(_ other: EndpointAddress) -> String? {
    switch (self, other) {
    case (.unix(let path), .unix(let taken)):
      return path == taken ? "is \(self), which another listener already uses" : nil
    case (.ip(let host, let port), .ip(let taken, let takenPort)):
      guard port == takenPort, port != 0 else { return nil }
      if host == taken { return "is \(self), which another listener already uses" }
      // A socket bound to :: takes IPv4 as well (ipv6(7), IPV6_V6ONLY off).
      if (host == "::" && taken == "0.0.0.0") || (host == "0.0.0.0" && taken == "::") {
        return "is \(self), and [::]:\(port) accepts IPv4 too; another listener uses \(other)"
      }
      return nil
    default: return nil
    }
  }
}
