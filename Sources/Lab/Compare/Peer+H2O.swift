// h2o. It keeps connections to the origin by default, for two seconds; tuning keeps them longer and
// accepts in larger batches.

extension Peer {
  static let h2o = Peer(
    name: "h2o", program: "h2o", versionArguments: ["--version"],
    documentation:
      "https://h2o.examp1e.net/configure/proxy_directives.html#proxy.timeout.keepalive,"
      + " https://h2o.examp1e.net/configure/base_directives.html#num-threads",
    logNote: "access-log with JSON escapes, a write(2) per request, not synchronised: not durable"
  ) { plan throws(CompareFailure) in
    guard plan.servers.count == 1 else {
      throw CompareFailure(
        "h2o 2.2 forwards a path to one server, and the upstream has \(plan.servers.count)",
        hint: "compare with one server")
    }
    return PeerSetup(
      configuration: ("h2o.yaml", h2oText(plan)), arguments: ["-c", plan.path("h2o.yaml")])
  }

  private static func h2oText(_ plan: PeerPlan) -> String {
    var tls = ""
    if let certificate = plan.certificate {
      tls = """

          ssl:
            certificate-file: "\(certificate)"
            key-file: "\(plan.key)"
            minimum-version: TLSv\(plan.minimumVersion)
            ocsp-update-interval: 0
        """
    }
    let log = #"""
      access-log:
        path: "\#(plan.path("access.jsonl"))"
        escape: json
        format: '{"time":"%{%Y-%m-%dT%H:%M:%S}t","client":"%h","method":"%m","uri":"%U","query":"%q","status":%s,"response_bytes":%b,"tls":"%{ssl.protocol-version}x","total":"%{total-time}x"}'

      """#
    let tuning = """
      proxy.timeout.keepalive: 300000
      http1-request-timeout: 300

      """
    return """
      \(plan.isRoot ? "user: root\n" : "")num-threads: \(plan.threads)
      max-connections: \(max(1024, plan.connections * 2 + 64))
      \(plan.logsRequests ? log : "")\(plan.isTuned ? tuning : "")listen:
        host: 127.0.0.1
        port: \(plan.port)\(tls)
      hosts:
        default:
          paths:
            "/":
              proxy.reverse.url: "http://\(plan.servers[0])/"

      """
  }
}
