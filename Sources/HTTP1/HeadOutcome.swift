// What a look at the bytes of a head can say.

/// The result of scanning or parsing a head.
public enum HeadOutcome: Equatable, Sendable {
  /// The head does not end within these bytes and nothing in them is wrong so far.
  case incomplete
  /// The head ends here. `length` counts from the first byte given, tolerated empty lines and the
  /// final CRLF included; content, or the next message, begins at that offset.
  case complete(length: Int)
  /// The bytes are no head that may be accepted. The connection cannot be resynchronised.
  case rejected(HeadRejection)
}

/// The same inside a parse, where the position is kept apart.
enum PartOutcome {
  case done
  case needsMore
  case rejected(HeadRejection)
}
