// Content-Length and Transfer-Encoding, read together and strictly: where two recipients could
// take a message's end to be in two places, the message is refused (RFC 9112 6.3, 11.2).

import HTTP

enum DeclaredFraming {
  case nothing
  case length(UInt64)
  case chunked
  case rejected(HeadRejection)

  /// Reads the framing that a head declares, without regard to method or status.
  static func read(
    _ table: borrowing FieldTable, _ base: UnsafeRawPointer, _ version: HTTPVersion
  ) -> DeclaredFraming {
    let both: FieldSet = [.contentLength, .transferEncoding]
    if table.present.isDisjoint(with: both) { return .nothing }
    if table.present.isSuperset(of: both) { return .rejected(.contentLengthAndTransferEncoding) }
    if let line = table.first(.contentLength) {
      if table.repeated.has(.contentLength) { return .rejected(.duplicateContentLength) }
      return length(line.value, base)
    }
    guard let line = table.first(.transferEncoding) else { return .nothing }
    // RFC 9112 6.1: a recipient of Transfer-Encoding in HTTP/1.0 must treat the framing as faulty.
    guard version == .http11, !table.repeated.has(.transferEncoding), line.value.count == 7,
      ByteClass.equalFolded(base + Int(line.value.start), "chunked", count: 7)
    else { return .rejected(.unsupportedTransferCoding) }
    return .chunked
  }

  /// 1*DIGIT up to 2⁶³ − 1, so that every sum of lengths that the proxy forms stays in range.
  private static func length(_ value: ByteRange, _ base: UnsafeRawPointer) -> DeclaredFraming {
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
    if hasComma { return .rejected(.duplicateContentLength) }
    if isInvalid || total > UInt64(Int64.max) { return .rejected(.invalidContentLength) }
    return .length(total)
  }
}
