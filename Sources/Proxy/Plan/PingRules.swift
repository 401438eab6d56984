// When peers of HTTP/2 that are silent are asked for a sign of life: a listener's rules, or an upstream's.

struct PingRules {
  /// Silence before a PING, in nanoseconds; 0: none is sent for silence alone.
  let interval: Int64
  /// Silence behind it that ends the connection.
  let answerLimit: Int64
  /// The next one comes after four times as long where nothing but the answer has come: servers of gRPC
  /// end a connection at the third PING that comes less than five minutes after the one before, while
  /// they send no message (GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
  /// GRPC_ARG_HTTP2_MAX_PING_STRIKES; grpcio 1.85 does). From ten seconds on, two do.
  let growsRare: Bool

  /// What the interval grows to, in nanoseconds: five minutes, and a margin for what delays a PING.
  static var intervalMaximum: Int64 { 330_000_000_000 }
}
