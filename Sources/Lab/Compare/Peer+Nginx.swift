// nginx. At its defaults it speaks HTTP/1.0 to the origin and opens a connection for each request;
// the tuned configuration keeps upstream connections, as its documentation shows.

extension Peer {
  static let nginx = Peer(
    name: "nginx", program: "nginx", versionArguments: ["-v"],
    documentation: "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive,"
      + " https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffers,"
      + " https://nginx.org/en/docs/http/ngx_http_core_module.html#listen (reuseport)",
    logNote: "access_log in JSON with buffer=64k: written in batches, not durable"
  ) { plan in
    PeerSetup(
      configuration: ("nginx.conf", nginxText(plan)),
      arguments: ["-p", plan.folder + "/", "-c", plan.path("nginx.conf")])
  }

  private static func nginxText(_ plan: PeerPlan) -> String {
    let tuned = plan.isTuned
    let tls = plan.usesTLS ? " ssl" : ""
    let http2 = plan.speaksHTTP2 ? " http2" : ""
    // 512 is nginx's default; two descriptors for each connection of the load.
    let connections = max(512, plan.connections * 2 + 64)
    let servers = plan.servers.map { "    server \($0);\n" }.joined()
    return """
      \(plan.isRoot ? "user root;\n" : "")worker_processes \(plan.threads);
      daemon off;
      pid nginx.pid;
      error_log stderr error;

      events {
        worker_connections \(tuned ? max(connections, 8192) : connections);
      \(tuned ? "  multi_accept on;\n" : "")}

      http {
      \(nginxLog(plan))  proxy_temp_path proxy_temp;
        client_body_temp_path client_temp;
      \(plan.isRoot ? "" : nginxOtherFolders)\(tuned ? nginxTuning : "")
        upstream origin {
      \(servers)\(tuned ? "    keepalive 256;\n    keepalive_requests 1000000;\n" : "")  }

        server {
          listen 127.0.0.1:\(plan.port)\(tls)\(http2)\(tuned ? " reuseport backlog=4096" : "");
      \(nginxTLS(plan))    location / {
            proxy_pass http://origin;
          }
        }
      }

      """
  }

  /// Where distributions put these, only root may write.
  private static let nginxOtherFolders = """
      fastcgi_temp_path fastcgi_temp;
      uwsgi_temp_path uwsgi_temp;
      scgi_temp_path scgi_temp;

    """

  private static let nginxTuning = """
      tcp_nodelay on;
      keepalive_requests 1000000;
      keepalive_timeout 300s;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffer_size 16k;
      proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k;

    """

  private static func nginxTLS(_ plan: PeerPlan) -> String {
    guard let certificate = plan.certificate else { return "" }
    let versions = plan.minimumVersion == "1.3" ? "TLSv1.3" : "TLSv1.2 TLSv1.3"
    let cache = plan.isTuned ? "    ssl_session_cache shared:trial:10m;\n" : ""
    return """
          ssl_certificate \(certificate);
          ssl_certificate_key \(plan.key);
          ssl_protocols \(versions);
      \(cache)
      """
  }

  private static func nginxLog(_ plan: PeerPlan) -> String {
    guard plan.logsRequests else { return "  access_log off;\n" }
    return """
        log_format audit escape=json
          '{"time":"$time_iso8601","client":"$remote_addr:$remote_port","tls":"$ssl_protocol",'
          '"method":"$request_method","host":"$host","path":"$uri","query":"$args",'
          '"status":$status,"request_bytes":$request_length,"response_bytes":$bytes_sent,'
          '"upstream":"$upstream_addr","total":"$request_time","id":"$request_id"}';
        access_log access.jsonl audit buffer=64k flush=1s;

      """
  }
}
