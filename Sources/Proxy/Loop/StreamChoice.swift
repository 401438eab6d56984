// Whose turn it is on a connection of HTTP/2: what has to be known of the last send for it.

/// What is known of the send that has left last.
struct StreamChoice: BitwiseCopyable {
  /// It has left, and the stream that is next is still to be chosen.
  var isOpen = false
  /// When it had left, in monotonic nanoseconds of the turn.
  var endedAt: Int64 = -1
  /// The most urgent response that it had much of and that has more to come; `noUrgency`: none has.
  var urgency = StreamChoice.noUrgency

  /// Bytes of a response in one send from which on it is the connection that bounds it. One whose server gives
  /// less at a time leaves room for others, which would wait for as long as it lasts.
  static var much: Int { 8192 }
  /// Beyond the urgencies that there are (RFC 9218 4.1).
  static var noUrgency: UInt8 { 8 }

  /// Whether a stream has to wait for the next turn: what is more urgent has been read on in this one, and what
  /// it brings comes with the next.
  func defers(_ urgency: UInt8, now: Int64) -> Bool {
    endedAt == now && urgency > self.urgency
  }
}
