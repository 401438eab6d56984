// How much content a message has, as far as its head tells. How the content's end is found on the
// wire (chunks, the end of the connection, END_STREAM) is each protocol's own.

/// The extent of a message's content.
public enum ContentExtent: Equatable, Sendable {
  /// No content: the message ends with its head.
  case none
  /// As many bytes as Content-Length says, 0...2⁶³ − 1.
  case length(UInt64)
  /// Content whose length the head does not tell.
  case unknown
}

/// The value of one Content-Length line (RFC 9110 8.6), read strictly.
package enum ContentLengthValue: Equatable, Sendable {
  case length(UInt64)
  /// A list, even of equal values.
  case list
  case invalid

  /// 1*DIGIT up to 2⁶³ − 1, so that every sum of lengths that the proxy forms stays in range.
  package static func read(_ value: ByteRange, _ base: UnsafeRawPointer) -> ContentLengthValue {
    var total: UInt64 = 0
    var hasComma = false
    var isInvalid = value.isEmpty
    for position in Int(value.start)..<Int(value.end) {
      let byte = ByteClass.byte(base, position)
      let digit = byte &- 0x30
      if byte == ByteClass.comma { hasComma = true }
      // 2⁶³ − 1 is 9223372036854775807: a larger prefix would pass it with any further digit.
      guard !isInvalid, digit < 10, total <= 922_337_203_685_477_580 else {
        isInvalid = true
        continue
      }
      total = total * 10 + UInt64(digit)
    }
    if hasComma { return .list }
    if isInvalid || total > UInt64(Int64.max) { return .invalid }
    return .length(total)
  }
}
