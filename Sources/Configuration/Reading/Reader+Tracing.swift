// Reads the settings of tracing.

extension Reader {
  mutating func tracing(_ value: Located) -> TracingConfiguration? {
    let example = "tracing: {endpoint: http://127.0.0.1:4318}"
    guard let fields = fields(value, Shapes.tracing, example: example),
      let endpoint = text(fields, "endpoint"),
      var tracing = collector(endpoint.text, endpoint.value)
    else { return nil }
    if let sample = fraction(fields, "sample") { tracing.samplePerMillion = sample }
    if let name = text(fields, "service_name") { tracing.serviceName = name.text }
    return tracing
  }

  /// An endpoint as OpenTelemetry's own tools take it: `/v1/traces` is added to it.
  private mutating func collector(_ text: String, _ value: Located) -> TracingConfiguration? {
    let example = "http://127.0.0.1:4318"
    if lowercased(text).hasPrefix("https:") {
      report(
        value, "is \(quoted(text)), but a collector is reached without TLS",
        "run a collector on this machine, for example \(example)")
      return nil
    }
    guard lowercased(text).hasPrefix("http://") else {
      report(value, "is \(quoted(text)), which is not an http URL", "write for example \(example)")
      return nil
    }
    let rest = text.dropFirst(7)
    let authority = String(rest.prefix { $0 != "/" })
    var path = String(rest.dropFirst(authority.count))
    while path.hasSuffix("/") { path.removeLast() }
    if path.hasSuffix("/v1/traces") { path.removeLast(10) }
    guard path.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x3F && $0 != 0x23 }) else {
      report(
        value,
        "is \(quoted(text)), which has a query, a fragment or a character that is not allowed",
        "write for example \(example)")
      return nil
    }
    do throws(EndpointAddress.ParseError) {
      let hasPort = authority.last.map { $0 != "]" } ?? false && authority.contains(":")
      let address = try EndpointAddress.parse(
        hasPort ? authority : authority + ":4318", as: .upstream)
      guard case .ip = address else {
        report(value, "is \(quoted(text)), which names no host", "write for example \(example)")
        return nil
      }
      return TracingConfiguration(address: address, authority: authority, path: path)
    } catch {
      report(value, error.message, "write for example \(example)")
      return nil
    }
  }
}
