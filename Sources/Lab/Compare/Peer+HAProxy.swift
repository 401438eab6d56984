// HAProxy. Its defaults already keep and reuse connections to servers; tuning lets every request take
// any idle one, enlarges buffers, and splices where there is no TLS.

extension Peer {
  static let haproxy = Peer(
    name: "haproxy", program: "haproxy", versionArguments: ["-v"],
    documentation: "https://docs.haproxy.org/2.6/configuration.html#http-reuse,"
      + " https://docs.haproxy.org/2.6/configuration.html#tune.bufsize,"
      + " https://docs.haproxy.org/2.6/configuration.html#option%20splice-auto",
    logNote:
      "log-format in JSON, a line per request to a file that is not synchronised: not durable"
  ) { plan in
    PeerSetup(
      configuration: ("haproxy.cfg", haproxyText(plan)),
      arguments: ["-db", "-f", plan.path("haproxy.cfg")],
      needsBothInOneFile: plan.usesTLS)
  }

  private static func haproxyText(_ plan: PeerPlan) -> String {
    let tuned = plan.isTuned
    var tls = ""
    if plan.usesTLS {
      tls = " ssl crt \(plan.path("both.pem")) ssl-min-ver TLSv\(plan.minimumVersion)"
      tls += " alpn \(plan.speaksHTTP2 ? "h2,http/1.1" : "http/1.1")"
    } else if plan.speaksHTTP2 {
      tls = " proto h2"
    }
    let servers = plan.servers.enumerated().map { "  server s\($0.offset) \($0.element)\n" }
    return """
      global
        nbthread \(plan.threads)
        maxconn \(plan.connections * 2 + 1024)
      \(plan.logsRequests ? "  log stdout format raw local0 info\n" : "")\(tuned ? "  tune.bufsize 65536\n" : "")
      defaults
        mode http
        timeout connect 5s
        timeout client 300s
        timeout server 300s
      \(plan.logsRequests ? haproxyLog : "")\(tuned ? haproxyTuning : "")
      frontend edge
        bind 127.0.0.1:\(plan.port)\(tls)
        default_backend origin

      backend origin
      \(servers.joined())
      """
  }

  private static let haproxyTuning = """
      http-reuse always
      option splice-auto

    """

  private static let haproxyLog = """
      log global
      log-format '{"time":"%tr","client":"%ci:%cp","tls":"%sslv","method":"%HM","uri":"%HU","status":%ST,"request_bytes":%U,"response_bytes":%B,"server":"%s","total":%Ta}'

    """
}
