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
    _ table: FieldTable, _ base: UnsafeRawPointer, _ version: HTTPVersion
  ) -> DeclaredFraming {
    let both: FieldSet = [.contentLength, .transferEncoding]
    if table.present.isDisjoint(with: both) { return .nothing }
    if table.present.isSuperset(of: both) { return .rejected(.contentLengthAndTransferEncoding) }
    if let line = table.first(.contentLength) {
      if table.repeated.has(.contentLength) { return .rejected(.duplicateContentLength) }
      switch ContentLengthValue.read(line.value, base) {
      case .length(let length): return .length(length)
      case .list: return .rejected(.duplicateContentLength)
      case .invalid: return .rejected(.invalidContentLength)
      }
    }
    guard let line = table.first(.transferEncoding) else { return .nothing }
    // RFC 9112 6.1: a recipient of Transfer-Encoding in HTTP/1.0 must treat the framing as faulty.
    guard version == .http11, !table.repeated.has(.transferEncoding), line.value.count == 7,
      ByteClass.equalFolded(base + Int(line.value.start), "chunked", count: 7)
    else { return .rejected(.unsupportedTransferCoding) }
    return .chunked
  }
}
