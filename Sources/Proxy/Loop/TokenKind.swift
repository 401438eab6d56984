// What a worker's operations are about: the kinds by which it dispatches their completions.

/// What a token is about.
enum TokenKind: UInt8 {
  case accept = 1
  case downstreamReceive, downstreamSend
  case upstreamConnect, upstreamReceive, upstreamSend
  /// Bytes that pass from a client to a server, and back, by the kernel.
  case requestRelay, responseRelay
  case journal
  /// A connection that goes to another worker, and one that came from there.
  case handOver, handedOver
}
