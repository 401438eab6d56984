// RecordKind names the records that carry a sequence number. Segment headers and seals are lines of
// the chain, not records, and are not listed here.

/// What a record says about an exchange.
public enum RecordKind: UInt8, Sendable {
  /// A whole exchange: its response was complete when its first byte could leave.
  case exchange
  /// The head of an exchange whose response streams; durable before the response's first byte.
  case begin
  /// The rest of such an exchange; durable before its last content leaves.
  case end
  /// Delivery failed after what an earlier record committed to.
  case abort
  /// Exchanges that `when_full: drop` left unrecorded since the last such record.
  case loss
  /// A torn tail that was set aside at start.
  case recovery

  /// The value of the member `kind`.
  var name: StaticString {
    switch self {
    case .exchange: "exchange"
    case .begin: "begin"
    case .end: "end"
    case .abort: "abort"
    case .loss: "loss"
    case .recovery: "recovery"
    }
  }
}
