// An upstream as it was configured: its servers, how one is picked, and how much patience and how
// many attempts a request gets. Host names are kept as text; who resolves them, and when, is not
// decided here.

/// How the next server is picked.
public enum Balance: String, Sendable, Equatable, CaseIterable {
  case roundRobin = "round_robin"
  case leastRequests = "least_requests"
  /// The less busy of two drawn at random.
  case randomTwo = "random_two"
}

/// What is spoken with the servers of an upstream.
public enum UpstreamProtocol: String, Sendable, Equatable, CaseIterable {
  case http11 = "http/1.1"
  /// HTTP/2 over TLS, chosen by ALPN.
  case http2 = "h2"
  /// HTTP/2 without TLS, by prior knowledge (RFC 9113 3.3).
  case http2Cleartext = "h2c"
  /// Whichever of HTTP/2 and HTTP/1.1 the server chooses by ALPN.
  case negotiated = "auto"

  /// What is offered by ALPN.
  var offered: [String] {
    switch self {
    case .http11, .http2Cleartext: [UpstreamProtocol.http11.rawValue]
    case .http2: [UpstreamProtocol.http2.rawValue]
    case .negotiated: [UpstreamProtocol.http2.rawValue, UpstreamProtocol.http11.rawValue]
    }
  }
}

/// A named set of servers that are alike.
public struct UpstreamConfiguration: Sendable, Equatable {
  public var name: String
  public var speaks = UpstreamProtocol.http11
  /// At least one.
  public var servers: [ServerConfiguration]
  /// nil: connections to the servers are plain.
  public var tls: UpstreamTLS?
  public var balance: Balance
  public var retries: RetryConfiguration
  public var timeouts: UpstreamTimeouts
  /// Protocols that a client may switch a connection to (Upgrade, RFC 9110 7.8), in lower case and
  /// without version; none: no such offer reaches a server.
  public var upgrades: [String]
  /// How many idle connections each worker keeps to each server, 0…65536; 0 keeps none. The default
  /// does not churn with a thousand requests at once: measured in docs/configuration.md.
  public var idleConnections: Int
  /// Where connections to the servers come from.
  public var source: SourceConfiguration
  /// Host of requests that name none (HTTP/1.0); nil: `fallbackHost`.
  public var defaultHost: String?
  public var location: SourceLocation

  /// Host of a request that names none, where nothing is configured: a name that every server
  /// accepts as one and that leads nowhere else.
  public static let fallbackHost = "localhost"

  public init(
    name: String,
    servers: [ServerConfiguration],
    tls: UpstreamTLS? = nil,
    balance: Balance = .roundRobin,
    retries: RetryConfiguration = RetryConfiguration(),
    timeouts: UpstreamTimeouts = UpstreamTimeouts(),
    upgrades: [String] = ["websocket"],
    idleConnections: Int = 2048,
    source: SourceConfiguration = SourceConfiguration(),
    defaultHost: String? = nil,
    location: SourceLocation = SourceLocation()
  ) {
    self.name = name
    self.servers = servers
    self.tls = tls
    self.balance = balance
    self.retries = retries
    self.timeouts = timeouts
    self.upgrades = upgrades
    self.idleConnections = idleConnections
    self.source = source
    self.defaultHost = defaultHost
    self.location = location
  }
}

/// The local end of connections to an upstream.
public struct SourceConfiguration: Sendable, Equatable {
  /// An IPv4 or IPv6 address of this machine in canonical text; nil: the kernel's choice.
  public var address: String?
  /// Ports that the kernel may choose from; nil: the machine's range.
  public var ports: ClosedRange<UInt16>?
  public var location: SourceLocation

  public init(
    address: String? = nil, ports: ClosedRange<UInt16>? = nil,
    location: SourceLocation = SourceLocation()
  ) {
    self.address = address
    self.ports = ports
    self.location = location
  }
}

/// One server of an upstream.
public struct ServerConfiguration: Sendable, Equatable {
  public var address: EndpointAddress
  /// 1…256; a server of weight 2 gets twice the requests of one of weight 1.
  public var weight: Int
  public var location: SourceLocation

  public init(
    address: EndpointAddress, weight: Int = 1, location: SourceLocation = SourceLocation()
  ) {
    self.address = address
    self.weight = weight
    self.location = location
  }
}

/// When a request is tried on another server.
public struct RetryConfiguration: Sendable, Equatable {
  /// 0…10 further attempts after the first; 0 never retries.
  public var attempts: Int
  /// No connection could be made, so the request was not sent.
  public var onConnectFailure: Bool
  /// The connection ended before the first byte of a response.
  public var onResetBeforeResponse: Bool

  public init(
    attempts: Int = 1, onConnectFailure: Bool = true, onResetBeforeResponse: Bool = true
  ) {
    self.attempts = attempts
    self.onConnectFailure = onConnectFailure
    self.onResetBeforeResponse = onResetBeforeResponse
  }
}

/// How long an upstream may take. All are nanoseconds.
public struct UpstreamTimeouts: Sendable, Equatable {
  /// 1 ms…2 min; past it the kernel's own SYN retries give up (tcp_syn_retries 6: 127 s).
  public var connectNanoseconds: Int64
  /// From the end of the request to the response's head, then between two reads; 1 ms…24 h.
  public var responseNanoseconds: Int64
  /// How long an idle connection is kept; 1 ms…24 h. The default is below the 5 s of node, uvicorn and
  /// Apache httpd: a request must not meet the server's closing.
  public var idleNanoseconds: Int64
  /// How long nothing may move through a tunnel, in either direction; 1 ms…24 h. An hour, as HAProxy's
  /// examples have it: a WebSocket without a ping for so long is dead, and the minute that nginx
  /// gives it cuts applications that are merely quiet.
  public var tunnelNanoseconds: Int64
  /// How long nothing may come on a connection of HTTP/2 with streams before its server is asked for a
  /// sign of life (PING); 0: it is not, but for a response that did not come in time.
  public var keepAlivePingNanoseconds: Int64
  /// How long nothing may come behind that; 1 ms…24 h. Go's HTTP/2 client waits as long by default
  /// (http2.Transport.PingTimeout).
  public var keepAliveAckNanoseconds: Int64

  public init(
    connectNanoseconds: Int64 = DurationUnit.second,
    responseNanoseconds: Int64 = 30 * DurationUnit.second,
    idleNanoseconds: Int64 = 4 * DurationUnit.second,
    tunnelNanoseconds: Int64 = DurationUnit.hour,
    keepAlivePingNanoseconds: Int64 = 10 * DurationUnit.second,
    keepAliveAckNanoseconds: Int64 = 15 * DurationUnit.second
  ) {
    self.connectNanoseconds = connectNanoseconds
    self.responseNanoseconds = responseNanoseconds
    self.idleNanoseconds = idleNanoseconds
    self.tunnelNanoseconds = tunnelNanoseconds
    self.keepAlivePingNanoseconds = keepAlivePingNanoseconds
    self.keepAliveAckNanoseconds = keepAliveAckNanoseconds
  }
}
