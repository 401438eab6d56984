// What a head may cost before it is refused. All limits are inclusive: a head of exactly the limit
// passes, one more byte or field does not.

/// Limits of a message head, or of a trailer section.
public struct HeadLimits: Equatable, Sendable {
  /// Bytes from the first of the head, tolerated empty lines included, to its final CRLF. At most
  /// 4 GiB − 1 counts, since offsets are 32 bits wide.
  public var headBytes: Int
  /// Bytes of the request target.
  public var targetBytes: Int
  /// Field lines. A head refuses more than its own table holds, whatever this says.
  public var fields: Int

  /// RFC 9112 3 recommends at least 8000 bytes for a request line; the defaults are those that the
  /// configuration documents (64 KiB, 8 KiB, 100).
  public init(headBytes: Int = 65_536, targetBytes: Int = 8_192, fields: Int = 100) {
    self.headBytes = headBytes
    self.targetBytes = targetBytes
    self.fields = fields
  }

  /// The default for a trailer section: checksums, a status, a signature. 8 KiB in 32 lines.
  public static var trailers: HeadLimits {
    HeadLimits(headBytes: 8_192, targetBytes: 0, fields: 32)
  }

  /// `headBytes` as far as 32-bit offsets reach, and never negative.
  @inline(__always)
  var ceiling: Int { max(0, min(headBytes, Int(UInt32.max))) }

  /// `targetBytes` within the same bounds, so that sums with an offset cannot overflow.
  @inline(__always)
  var targetCeiling: Int { max(0, min(targetBytes, Int(UInt32.max))) }
}
