// The few bytes that the chunked transfer coding puts around content that goes out (RFC 9112 7.1).
//
// TRAP: (file) a decoder tells of content only where there is a byte of it.

/// Writer of chunk framing.
public enum ChunkFraming {
  /// Bytes that a chunk header takes at most: 16 hexadecimal digits and CRLF.
  public static let headerMaximum = 18

  /// What follows the data of each chunk.
  public static var chunkEnd: StaticString { "\r\n" }
  /// The last chunk; trailer lines and an empty line follow it.
  public static var lastChunk: StaticString { "0\r\n" }
  /// The last chunk and the empty line, for a message without trailers.
  public static var end: StaticString { "0\r\n\r\n" }

  /// Writes the header of a chunk of `size` bytes.
  ///
  /// - Parameters:
  ///   - size: 1 or more: a chunk of 0 would end the message.
  ///   - output: at least `headerMaximum` bytes.
  /// - Returns: the bytes written.
  public static func writeHeader(_ size: Int, to output: UnsafeMutableRawPointer) -> Int {
    precondition(size > 0, "an empty chunk would end the message")
    var writer = HeadWriter(UnsafeMutableRawBufferPointer(start: output, count: headerMaximum))
    writer.append(hex: UInt64(size))
    writer.crlf()
    return writer.count
  }
}
