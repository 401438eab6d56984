// The facts of an exchange that can be named in a format: one table, from which the configuration is
// checked, a line is written, and docs/configuration.md is tested. To add one, add a case, its row here
// and its value in `LineWriter`.

/// A named fact of an exchange.
public enum Variable: UInt8, Sendable, CaseIterable {
  case time, timeCommon, timeUnix
  case clientAddress, listener, scheme, tlsVersion, tlsCipher, tlsServerName, tlsALPN
  case httpVersion, stream, method, host, path, query, target, request
  case userAgent, referer, forwardedFor, requestID, traceID, spanID
  case route, upstream, server
  case status, requestBytes, responseBytes, termination, rejection
  case duration, queueDuration, connectDuration, firstByteDuration
  case exchangeID, worker

  /// How JSON writes its value.
  public enum Kind: Sendable {
    case text, number
  }

  /// A row of the table.
  public struct Entry: Sendable {
    /// As a format has it, in `snake_case`.
    public let name: String
    public let kind: Kind
    /// What it is, for the documentation.
    public let meaning: String

    init(_ name: String, _ kind: Kind, _ meaning: String) {
      self.name = name
      self.kind = kind
      self.meaning = meaning
    }
  }

  public var name: String { entry.name }

  public var entry: Entry {
    switch self {
    case .time:
      Entry("time", .text, "Start of the request, RFC 3339 in UTC with microseconds")
    case .timeCommon:
      Entry("time_common", .text, "Start of the request, as in the Common Log Format, in UTC")
    case .timeUnix:
      Entry("time_unix", .number, "Start of the request, seconds since 1970 with microseconds")
    case .clientAddress:
      Entry("client_address", .text, "Address of the client, without its port")
    case .listener: Entry("listener", .text, "Name of the listener")
    case .scheme: Entry("scheme", .text, "`https` with TLS, otherwise `http`")
    case .tlsVersion: Entry("tls_version", .text, "TLS version, such as `TLSv1.3`")
    case .tlsCipher: Entry("tls_cipher", .text, "TLS cipher suite")
    case .tlsServerName:
      Entry("tls_server_name", .text, "Server name that the client asked for (SNI)")
    case .tlsALPN: Entry("tls_alpn", .text, "Protocol that ALPN chose")
    case .httpVersion: Entry("http_version", .text, "HTTP version, such as `HTTP/1.1`")
    case .stream: Entry("stream", .number, "Stream number of HTTP/2")
    case .method: Entry("method", .text, "Request method")
    case .host: Entry("host", .text, "Host of the request, with its port if it has one")
    case .path: Entry("path", .text, "Path of the request")
    case .query: Entry("query", .text, "Query of the request, without `?`")
    case .target: Entry("target", .text, "Path, and query with `?` if there is one")
    case .request: Entry("request", .text, "Request line: method, target and HTTP version")
    case .userAgent: Entry("user_agent", .text, "User-Agent of the request")
    case .referer: Entry("referer", .text, "Referer of the request")
    case .forwardedFor:
      Entry("forwarded_for", .text, "X-Forwarded-For of the request, as received")
    case .requestID: Entry("request_id", .text, "X-Request-ID of the request")
    case .traceID: Entry("trace_id", .text, "Trace ID (W3C Trace Context)")
    case .spanID: Entry("span_id", .text, "Span ID of the exchange, if it is traced")
    case .route: Entry("route", .text, "Route that matched, as in the metrics")
    case .upstream: Entry("upstream", .text, "Name of the upstream")
    case .server: Entry("server", .text, "Address of the upstream server")
    case .status: Entry("status", .number, "Status code of the response")
    case .requestBytes: Entry("request_bytes", .number, "Content bytes received")
    case .responseBytes: Entry("response_bytes", .number, "Content bytes sent")
    case .termination:
      Entry("termination", .text, "How the exchange ended: `complete`, or the reason")
    case .rejection:
      Entry("rejection", .text, "Rule that a rejected request breaks, as the local reply says it")
    case .duration:
      Entry("duration", .number, "Seconds from the request's head to the end")
    case .queueDuration:
      Entry("queue_duration", .number, "Seconds until there was a connection to a server")
    case .connectDuration:
      Entry("connect_duration", .number, "Seconds to connect to the server, if it was connected to")
    case .firstByteDuration:
      Entry("first_byte_duration", .number, "Seconds until the server's response head")
    case .exchangeID: Entry("exchange_id", .text, "ID of the exchange, as in the audit log")
    case .worker: Entry("worker", .number, "Number of the worker")
    }
  }

  /// The variable of a name.
  public init?(name: String) {
    guard let found = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = found
  }
}
