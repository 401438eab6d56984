// Caddy. A CPU makes it one thread of Go at a time; tuning raises the pool of idle connections to
// the origin, which Go's transport keeps at 32 per host by Caddy's default.

extension Peer {
  static let caddy = Peer(
    name: "caddy", program: "caddy", versionArguments: ["version"],
    documentation:
      "https://caddyserver.com/docs/caddyfile/directives/reverse_proxy#the-http-transport"
      + " (keepalive_idle_conns_per_host, compression off),"
      + " https://caddyserver.com/docs/caddyfile/options#timeouts",
    logNote: "access log in JSON, a write(2) per request, not synchronised: not durable"
  ) { plan in
    PeerSetup(
      configuration: ("Caddyfile", caddyText(plan)),
      arguments: ["run", "--adapter", "caddyfile", "--config", plan.path("Caddyfile")],
      environment: [
        ("GOMAXPROCS", String(plan.threads)), ("HOME", plan.folder), ("XDG_DATA_HOME", plan.folder),
        ("XDG_CONFIG_HOME", plan.folder),
      ])
  }

  private static func caddyText(_ plan: PeerPlan) -> String {
    var site = ""
    if let certificate = plan.certificate {
      let version = plan.minimumVersion == "1.3" ? "tls1.3" : "tls1.2"
      site += "  tls \(certificate) \(plan.key) {\n    protocols \(version) tls1.3\n  }\n"
    }
    if plan.logsRequests {
      site += "  log {\n    output file \(plan.path("access.jsonl")) {\n      roll_disabled\n"
      site += "    }\n    format json\n  }\n"
    }
    let transport = """
       {
          transport http {
            keepalive 300s
            keepalive_idle_conns 1024
            keepalive_idle_conns_per_host 1024
            compression off
          }
        }
      """
    let timeouts = "\n    timeouts {\n      idle 300s\n    }"
    let scheme = plan.usesTLS ? "https" : "http"
    return """
      {
        admin off
        auto_https off
        servers {
          protocols h1\(plan.speaksHTTP2 ? plan.usesTLS ? " h2" : " h2c" : "")\(plan.isTuned ? timeouts : "")
        }
      }
      \(scheme)://:\(plan.port) {
        bind 127.0.0.1
      \(site)  reverse_proxy \(plan.servers.joined(separator: " "))\(plan.isTuned ? transport : "")
      }

      """
  }
}
