// The authority of a request, from Host or from its target (RFC 3986 3.2): a host and perhaps a
// port. It refuses user information, and narrows reg-name to the bytes that every hop reads alike:
// letters, digits and -._~ ; sub-delims and percent-encoding are legal there and used by nobody
// but those who want two parsers to see two hosts.

package struct Authority {
  /// The host alone; an IP literal keeps its brackets.
  package let host: ByteRange
  /// The port, or nil if there is none or it is empty (RFC 3986 3.2.3 allows "host:").
  package let port: UInt16?

  /// Reads `range`, or returns nil if it is no host with an optional port of 0...65535.
  package init?(_ range: ByteRange, _ base: UnsafeRawPointer) {
    let start = Int(range.start)
    let end = Int(range.end)
    guard start < end else { return nil }
    let hostEnd: Int
    if ByteClass.byte(base, start) == 0x5B {  // "["
      guard let close = Authority.endOfLiteral(base, start + 1, end) else { return nil }
      hostEnd = close
    } else {
      hostEnd = ByteClass.firstOutside(ByteClass.host, base, from: start, to: end)
      guard hostEnd > start else { return nil }
    }
    host = ByteRange(from: start, to: hostEnd)
    guard hostEnd < end else {
      port = nil
      return
    }
    guard ByteClass.byte(base, hostEnd) == ByteClass.colon, end - hostEnd <= 6 else { return nil }
    var value: UInt32 = 0
    for position in hostEnd + 1..<end {
      let digit = ByteClass.byte(base, position) &- 0x30
      guard digit < 10 else { return nil }
      value = value * 10 + UInt32(digit)
    }
    guard value <= UInt32(UInt16.max) else { return nil }
    port = hostEnd + 1 == end ? nil : UInt16(value)
  }

  /// Offset behind the "]" of an IP literal whose first inner byte is at `start`. Hexadecimal
  /// digits, ":" and "." with at least two colons: IPv6 with or without a dotted quad. IPvFuture
  /// and zone identifiers are refused; they mean nothing to a peer.
  private static func endOfLiteral(_ base: UnsafeRawPointer, _ start: Int, _ end: Int) -> Int? {
    let table = ByteClass.table
    var colons = 0
    var position = start
    while position < end {
      let byte = ByteClass.byte(base, position)
      if byte == 0x5D { return colons >= 2 && position - start <= 45 ? position + 1 : nil }
      if byte == ByteClass.colon {
        colons += 1
      } else if byte != 0x2E, table[Int(byte)] & ByteClass.hex == 0 {
        return nil
      }
      position += 1
    }
    return nil
  }
}
