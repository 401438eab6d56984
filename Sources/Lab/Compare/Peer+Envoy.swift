// Envoy. At its defaults it has circuit breakers at 1024, retries off and statistics on; tuning
// follows the list in its own "how do I benchmark" page.

extension Peer {
  static let envoy = Peer(
    name: "envoy", program: "envoy", versionArguments: ["--version"],
    documentation:
      "https://www.envoyproxy.io/docs/envoy/latest/faq/performance/how_to_benchmark_envoy"
      + " (circuit breakers, request id, dynamic stats)",
    logNote: "file access log in JSON, flushed each second or 64 KiB, not synchronised: not durable"
  ) { plan throws(CompareFailure) in
    PeerSetup(
      configuration: ("envoy.yaml", envoyText(plan)),
      arguments: [
        "-c", plan.path("envoy.yaml"), "--concurrency", String(plan.threads),
        "--disable-hot-restart",
        "--log-level", "error",
      ])
  }

  private static func envoyText(_ plan: PeerPlan) -> String {
    let codec = plan.speaksHTTP2 ? (plan.usesTLS ? "AUTO" : "HTTP2") : "HTTP1"
    return """
      static_resources:
        listeners:
        - name: edge
          address: {socket_address: {address: 127.0.0.1, port_value: \(plan.port)}}
          filter_chains:
          - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: edge
                codec_type: \(codec)
      \(plan.isTuned ? "          generate_request_id: false\n" : "")\(plan.logsRequests ? envoyLog(plan) : "")          route_config:
                  virtual_hosts:
                  - name: all
                    domains: ["*"]
                    routes:
                    - match: {prefix: "/"}
                      route: {cluster: origin}
                http_filters:
                - name: envoy.filters.http.router
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
      \(plan.isTuned ? "              dynamic_stats: false\n" : "")\(envoyTLS(plan))  clusters:
        - name: origin
          type: STATIC
          connect_timeout: 5s
      \(plan.isTuned ? envoyBreakers : "")    load_assignment:
            cluster_name: origin
            endpoints:
            - lb_endpoints:
      \(plan.servers.map(envoyServer).joined())
      """
  }

  private static func envoyServer(_ server: String) -> String {
    let colon = server.lastIndex(of: ":") ?? server.endIndex
    let host = server[..<colon].filter { $0 != "[" && $0 != "]" }
    let port = server[colon...].dropFirst()
    return
      "        - endpoint: {address: {socket_address: {address: \"\(host)\", port_value: \(port)}}}\n"
  }

  private static func envoyTLS(_ plan: PeerPlan) -> String {
    guard let certificate = plan.certificate else { return "" }
    let version = plan.minimumVersion == "1.3" ? "TLSv1_3" : "TLSv1_2"
    return """
            transport_socket:
              name: envoy.transport_sockets.tls
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
                common_tls_context:
                  alpn_protocols: [\(plan.speaksHTTP2 ? "h2, " : "")http/1.1]
                  tls_params: {tls_minimum_protocol_version: \(version), tls_maximum_protocol_version: TLSv1_3}
                  tls_certificates:
                  - certificate_chain: {filename: "\(certificate)"}
                    private_key: {filename: "\(plan.key)"}

      """
  }

  private static let envoyBreakers = """
        circuit_breakers:
          thresholds:
          - {max_connections: 1000000000, max_pending_requests: 1000000000, max_requests: 1000000000, max_retries: 1000000000}

    """

  private static func envoyLog(_ plan: PeerPlan) -> String {
    """
              access_log:
              - name: envoy.access_loggers.file
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                  path: "\(plan.path("access.jsonl"))"
                  log_format:
                    json_format: {time: "%START_TIME%", client: "%DOWNSTREAM_REMOTE_ADDRESS%", tls: "%DOWNSTREAM_TLS_VERSION%", method: "%REQ(:METHOD)%", path: "%REQ(:PATH)%", status: "%RESPONSE_CODE%", request_bytes: "%BYTES_RECEIVED%", response_bytes: "%BYTES_SENT%", upstream: "%UPSTREAM_HOST%", total: "%DURATION%"}

    """
  }
}
