// The extensions after a chunk size, read to be thrown away: no recipient may depend on them and an
// intermediary that re-frames drops them (RFC 9112 7.1.1). They are read by their grammar all the
// same, since a lax reader and a strict one disagree on where the line, and so the chunk, ends.

import HTTP

/// chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
struct ChunkExtension {
  /// Bytes after one chunk size. Signatures, the largest in use, take some 90.
  static let bytesMaximum = 256
  /// Bytes that extensions may take over and above the content that came with them: chunks of one
  /// byte with full extensions would cost 256 bytes of reading for each byte that is counted.
  static let debtMaximum: UInt64 = 16_384

  enum Step {
    case proceed
    /// The byte is a CR at a place where the line may end.
    case lineEnd
    case rejected(BodyRejection)
  }

  private enum Place: UInt8 {
    /// Where a blank was read, or nothing yet: only a ";" can follow.
    case beforeSemicolon
    case beforeName, name, afterName, beforeValue, token, quoted, escaped
    /// Behind the closing quote.
    case afterValue
  }

  private var place = Place.beforeSemicolon
  private(set) var count: UInt16 = 0

  /// Judges the next byte of the line.
  ///
  /// - Parameter toleratesPadding: whether blanks may stand before the end of the line.
  mutating func consume(_ byte: UInt8, toleratesPadding: Bool) -> Step {
    if place == .quoted || place == .escaped {
      if byte == ByteClass.carriageReturn || byte == ByteClass.lineFeed {
        return .rejected(.invalidChunkExtension)
      }
    } else if byte == ByteClass.carriageReturn {
      switch place {
      case .name, .token, .afterValue: return .lineEnd
      case .beforeSemicolon, .afterName:
        return toleratesPadding ? .lineEnd : .rejected(.invalidChunkExtension)
      case .beforeName, .beforeValue, .quoted, .escaped:
        return .rejected(.invalidChunkExtension)
      }
    } else if byte == ByteClass.lineFeed {
      return .rejected(.bareLF)
    }
    guard Int(count) < Self.bytesMaximum else { return .rejected(.chunkExtensionTooLarge) }
    count += 1
    return move(byte) ? .proceed : .rejected(.invalidChunkExtension)
  }

  /// Takes one step of the grammar; false where it has none for this byte.
  private mutating func move(_ byte: UInt8) -> Bool {
    let isToken = ByteClass.table[Int(byte)] & ByteClass.token != 0
    let isBlank = ByteClass.isBlank(byte)
    switch place {
    case .beforeSemicolon, .afterValue:
      if byte != ByteClass.semicolon, !isBlank { return false }
      place = isBlank ? .beforeSemicolon : .beforeName
    case .beforeName:
      if isToken { place = .name } else if !isBlank { return false }
    case .name, .afterName:
      if byte == ByteClass.semicolon {
        place = .beforeName
      } else if byte == 0x3D {  // "="
        place = .beforeValue
      } else if isBlank {
        place = .afterName
      } else if place == .afterName || !isToken {
        return false
      }
    case .beforeValue:
      if byte == 0x22 {  // DQUOTE
        place = .quoted
      } else if isToken {
        place = .token
      } else if !isBlank {
        return false
      }
    case .token:
      if byte == ByteClass.semicolon {
        place = .beforeName
      } else if isBlank {
        place = .beforeSemicolon
      } else if !isToken {
        return false
      }
    case .quoted:
      if byte == 0x22 { place = .afterValue } else if byte == 0x5C { place = .escaped }
      return !ByteClass.isControl(byte) || byte == ByteClass.tab
    case .escaped:
      place = .quoted
      return !ByteClass.isControl(byte) || byte == ByteClass.tab
    }
    return true
  }
}
