// The one place that names what is wrong with a byte that stands where it may not, so that the
// scanner and the parsers give the same answer for the same bytes.

import HTTP

enum OffendingByte {
  /// Judges the byte at `position`, which the grammar does not allow there. A CR is judged by what
  /// follows it: with LF the line is merely too short, which is `otherwise`.
  static func judge(
    _ base: UnsafeRawPointer, at position: Int, end: Int, otherwise: HeadRejection
  ) -> PartOutcome {
    guard position < end else { return .needsMore }
    let byte = ByteClass.byte(base, position)
    if byte == ByteClass.lineFeed { return .rejected(.bareLF) }
    if byte == ByteClass.carriageReturn {
      guard position + 1 < end else { return .needsMore }
      let isLineEnd = ByteClass.byte(base, position + 1) == ByteClass.lineFeed
      return .rejected(isLineEnd ? otherwise : .bareCR)
    }
    return .rejected(ByteClass.isControl(byte) ? .controlByte : otherwise)
  }
}
