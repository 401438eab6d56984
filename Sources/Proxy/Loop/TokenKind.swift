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

  /// Whether a result of it is bytes between a peer and this process, or an error.
  @inline(__always)
  var movesBytes: Bool {
    switch self {
    case .downstreamReceive, .downstreamSend, .upstreamReceive, .upstreamSend, .requestRelay,
      .responseRelay:
      true
    case .accept, .upstreamConnect, .journal, .handOver, .handedOver: false
    }
  }
}
