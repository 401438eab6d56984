// Reads TLS towards the servers of an upstream. What the files that it names hold is checked where they
// are opened.

extension Reader {
  /// - Parameter servers: of the upstream, each of which needs a name to be verified by.
  mutating func upstreamTLS(
    _ value: Located, _ servers: [ServerConfiguration], _ speaks: UpstreamProtocol
  ) -> UpstreamTLS? {
    guard let fields = fields(value, Shapes.upstreamTLS, example: "tls: {ca: ca.pem}") else {
      return nil
    }
    var tls = UpstreamTLS(caLocation: location(value.node.mark, path(value.path, key: "ca")))
    if let verify = boolean(fields, "verify") { tls.verify = verify }
    if let (path, value) = text(fields, "ca") {
      tls.caPath = path
      tls.caLocation = location(value)
    }
    if let (text, value) = text(fields, "server_name") { tls.serverName = serverName(text, value) }
    tls.certificate = clientCertificate(fields, value)
    if let version = word(fields, "minimum_version").flatMap(ListenerTLS.Version.init) {
      tls.minimumVersion = version
    }
    tls.alpn = speaks.offered
    if let value = fields["alpn"], let protocols = words(fields, "alpn"), !protocols.isEmpty {
      tls.alpn = protocols
      if Set(protocols) != Set(speaks.offered) {
        let offered = speaks.offered.joined(separator: ", ")
        report(
          value,
          "offers \(protocols.joined(separator: ", ")), and protocol \(speaks.rawValue) needs \(offered)",
          "write [\(offered)], or remove the key")
      }
    }
    if !fields.has("server_name") { checkNames(servers) }
    if !tls.verify { warnUnverified(fields) }
    return tls
  }

  /// Both files or neither.
  private mutating func clientCertificate(
    _ fields: Fields, _ tls: Located
  ) -> CertificateConfiguration? {
    let certificate = text(fields, "certificate")
    let key = text(fields, "key")
    for (one, other) in [("certificate", "key"), ("key", "certificate")]
    where fields.has(one) && !fields.has(other) {
      report(
        location(tls.node.mark, path(tls.path, key: other)), "is missing, but \(one) needs it",
        "add \(other): \(fields.shape.key(other).value.example), or remove \(one)")
    }
    guard let certificate, let key else { return nil }
    return CertificateConfiguration(
      certificatePath: certificate.text, certificateLocation: location(certificate.value),
      keyPath: key.text, keyLocation: location(key.value))
  }

  private mutating func serverName(_ text: String, _ value: Located) -> String? {
    if let address = EndpointAddress.canonicalIPv6(text) { return address }
    if EndpointAddress.isIPv4(text) { return text }
    guard let problem = EndpointAddress.hostNameProblem(text) else { return lowercased(text) }
    report(
      value, "is \(quoted(text)), which is not a valid server name: \(problem)",
      "write the name in the server's certificate without a port, for example api.internal")
    return nil
  }

  /// A Unix socket has no name that a certificate could be for.
  private mutating func checkNames(_ servers: [ServerConfiguration]) {
    for server in servers {
      guard case .unix = server.address else { continue }
      report(
        server.location,
        "is \(server.address), which has no host name for TLS to ask for and to verify",
        "set tls.server_name of the upstream to the name in the server's certificate")
    }
  }

  private mutating func warnUnverified(_ fields: Fields) {
    guard let verify = fields["verify"] else { return }
    report(
      location(verify),
      "is false: any host on the way to the servers can read and change the traffic",
      "remove it, and set ca to the PEM file of the CA that signed the servers' certificates",
      .warning)
    if let ca = fields["ca"] {
      report(
        location(ca), "has no effect with verify: false", "remove verify: false, or this key",
        .warning)
    }
  }
}
