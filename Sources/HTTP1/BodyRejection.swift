// Why a message's content was refused, one case for each rule. All but the last two are faults of
// chunked framing; a message that merely ends too early is no rejection (see `endOfInput`).

/// The rule that a message's content broke.
public enum BodyRejection: UInt8, Error, Sendable, CaseIterable {
  case bareLF
  case bareCR
  /// A chunk size that is no hexadecimal number (RFC 9112 7.1).
  case invalidChunkSize
  /// More than 16 digits, or a size above 2⁶³ − 1.
  case chunkSizeOverflow
  /// A chunk extension outside its grammar (RFC 9112 7.1.1).
  case invalidChunkExtension
  /// Extensions over their bounds, see `ChunkExtension`.
  case chunkExtensionTooLarge
  /// No CRLF where a chunk's data must end.
  case missingChunkEnd
  /// A trailer section that is no list of field lines (RFC 9112 7.1.2).
  case invalidTrailer
  /// A trailer section over its limits.
  case trailerTooLarge

  /// The status code to answer a refused request with, if its response has not begun.
  public var status: UInt16 { self == .trailerTooLarge ? 431 : 400 }

  /// The name of the rule in logs and metrics; stable.
  public var label: StaticString {
    switch self {
    case .bareLF: "body_bare_lf"
    case .bareCR: "body_bare_cr"
    case .invalidChunkSize: "invalid_chunk_size"
    case .chunkSizeOverflow: "chunk_size_overflow"
    case .invalidChunkExtension: "invalid_chunk_extension"
    case .chunkExtensionTooLarge: "chunk_extension_too_large"
    case .missingChunkEnd: "missing_chunk_end"
    case .invalidTrailer: "invalid_trailer"
    case .trailerTooLarge: "trailer_too_large"
    }
  }
}
