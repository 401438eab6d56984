// Finds a message's content, and its end, in bytes that the caller owns, and says where the content
// stands; it copies nothing but trailers. It never takes a byte behind the message's end, so the
// next message of a pipeline stays with the caller. Chunked framing is read strictly (RFC 9112
// 7.1).
//
// TRAP: (file) `offset` is what the decoder itself left or the caller's 0; states that are not of
// chunked framing are taken before.

public import HTTP

/// Decoder of one message's content.
public struct BodyDecoder: ~Copyable {
  /// What one call found.
  public enum Step: Equatable, Sendable {
    /// Content at `start`, relative to the bytes given, `count` (at least 1) bytes long.
    case content(start: Int, count: Int)
    /// All bytes given are used and the message goes on.
    case needsMore
    /// The message is complete; `offset` is where the next one begins. Further calls say so again.
    case complete
    /// The framing is broken. Further calls say so again; the connection cannot be used further.
    case rejected(BodyRejection)
  }

  private enum State: UInt8 {
    case length, untilClose
    case chunkSize, chunkExtension, chunkSizeLF, chunkData, chunkDataCR, chunkDataLF
    case trailerStart, trailerStartLF, trailer
    case complete, rejected
  }

  /// Digits of a chunk size: as many as 64 bits take.
  private static let chunkSizeDigitsMaximum = 16

  private var state: State
  private var rejection = BodyRejection.invalidChunkSize
  private var digits: UInt8 = 0
  /// Whether blanks behind a chunk size are read over.
  private var toleratesPadding: Bool
  private var chunkExtension = ChunkExtension()
  /// Bytes of content left: of the message, or of the chunk.
  private var remaining: UInt64 = 0
  /// Bytes of extensions that no content has paid for yet.
  private var extensionDebt: UInt64 = 0
  private var trailers: TrailerSection

  /// Makes a decoder for a message framed so. It allocates nothing until a trailer field arrives;
  /// `trailerLimits.targetBytes` has no part in it.
  ///
  /// - Parameter toleratesPadding: takes blanks between a chunk size, or its extension, and the end
  ///   of the line, which RFC 9112 7.1 has no place for and which old servers write to fill a
  ///   header of fixed width. For responses, which are framed anew: no other reader sees the
  ///   blanks. A request is read strictly, since what another hop made of it is not known.
  public init(
    _ framing: BodyFraming, trailerLimits: HeadLimits = .trailers, toleratesPadding: Bool = false
  ) {
    trailers = TrailerSection(limits: trailerLimits)
    self.toleratesPadding = toleratesPadding
    state = .complete
    begin(framing, toleratesPadding: toleratesPadding)
  }

  /// Starts over with a message framed so, on a decoder that has read nothing yet: what is known of the
  /// message comes later than the memory for it.
  public mutating func begin(_ framing: BodyFraming, toleratesPadding: Bool = false) {
    self.toleratesPadding = toleratesPadding
    switch framing {
    case .none: state = .complete
    case .length(let length):
      remaining = length
      state = length == 0 ? .complete : .length
    case .chunked: state = .chunkSize
    case .untilClose: state = .untilClose
    }
  }

  /// Whether the whole message has been read.
  public var isComplete: Bool { state == .complete }

  /// Bytes of content still to come where that is known: with a length, or when complete.
  public var remainingContentLength: UInt64? {
    switch state {
    case .length: remaining
    case .complete: 0
    default: nil
    }
  }

  /// Whether a complete message brought trailer lines that may be forwarded.
  public var hasTrailers: Bool { trailerCount > 0 }
  /// Their number; 0 until the message is complete.
  public var trailerCount: Int { state == .complete ? trailers.count : 0 }
  /// Name and value of one, valid as long as the decoder; traps outside `0..<trailerCount`.
  public func trailer(
    _ index: Int
  ) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    trailers.line(index)
  }

  /// Trailer lines that were left out because of an ambiguous name, or for its underscore.
  public var ambiguousTrailers: Int { trailers.ambiguous }
  /// Leaves trailer lines out that the message's Connection nominates. Before the first byte.
  public mutating func leaveOutTrailers(named names: consuming NominatedNames) {
    trailers.leaveOut(names)
  }
  /// Leaves trailer lines out whose name has an underscore. Before the first byte.
  public mutating func leaveOutTrailersWithUnderscores() {
    trailers.dropsUnderscores = true
  }

  /// Reads on at `offset` and moves it past what was used: framing, and the content that the step
  /// tells of. Call again until `needsMore`, `complete` or `rejected`.
  ///
  /// - Precondition: `offset` is in `0...bytes.count`.
  public mutating func next(
    _ bytes: UnsafeRawBufferPointer, at offset: inout Int
  ) -> Step {
    precondition(offset >= 0 && offset <= bytes.count, "offset outside the bytes")
    switch state {
    case .complete: return .complete
    case .rejected: return .rejected(rejection)
    default: break
    }
    guard offset < bytes.count, let base = bytes.baseAddress else { return .needsMore }
    switch state {
    case .length: return takeContent(&offset, bytes.count, then: .complete)
    case .untilClose:
      let start = offset
      offset = bytes.count
      return .content(start: start, count: bytes.count - start)
    default: return nextChunked(base, bytes.count, &offset)
    }
  }

  /// Tells that the sender will send no more.
  ///
  /// - Returns: whether the message is complete; false means that it was cut short.
  public mutating func endOfInput() -> Bool {
    if state == .untilClose { state = .complete }
    return state == .complete
  }

  @inline(__always)
  private mutating func takeContent(
    _ offset: inout Int, _ end: Int, then next: State
  ) -> Step {
    let start = offset
    let count = Int(min(remaining, UInt64(end - start)))
    remaining -= UInt64(count)
    if remaining == 0 { state = next }
    offset = start + count
    return .content(start: start, count: count)
  }

  // SAFETY: `base` is read at `offset` only, which is below `end` at the head of each turn.
  private mutating func nextChunked(
    _ base: UnsafeRawPointer, _ end: Int, _ offset: inout Int
  ) -> Step {
    while offset < end {
      let byte = ByteClass.byte(base, offset)
      switch state {
      case .chunkSize:
        if let refusal = takeSizeByte(byte) { return refuse(refusal) }
        // A byte that opens an extension is the extension's first.
        if state == .chunkExtension { continue }
      case .chunkExtension:
        switch chunkExtension.consume(byte, toleratesPadding: toleratesPadding) {
        case .proceed: break
        case .lineEnd: state = .chunkSizeLF
        case .rejected(let refusal): return refuse(refusal)
        }
      case .chunkSizeLF:
        guard byte == ByteClass.lineFeed else { return refuse(.bareCR) }
        guard settleExtension() else { return refuse(.chunkExtensionTooLarge) }
        state = remaining == 0 ? .trailerStart : .chunkData
      case .chunkData: return takeContent(&offset, end, then: .chunkDataCR)
      case .chunkDataCR:
        guard byte == ByteClass.carriageReturn else {
          return refuse(byte == ByteClass.lineFeed ? .bareLF : .missingChunkEnd)
        }
        state = .chunkDataLF
      case .chunkDataLF:
        guard byte == ByteClass.lineFeed else { return refuse(.bareCR) }
        beginChunk()
      case .trailerStart:
        guard byte == ByteClass.carriageReturn else {
          state = .trailer
          continue
        }
        state = .trailerStartLF
      case .trailerStartLF:
        guard byte == ByteClass.lineFeed else { return refuse(.bareCR) }
        offset += 1
        state = .complete
        return .complete
      case .trailer: return gatherTrailer(base, end, &offset)
      case .length, .untilClose, .complete, .rejected:
        preconditionFailure("not a state of chunked framing")
      }
      offset += 1
    }
    return .needsMore
  }

  private mutating func beginChunk() {
    digits = 0
    remaining = 0
    state = .chunkSize
  }

  /// Takes a byte of chunk-size = 1*HEXDIG, or what ends it.
  @inline(__always)
  private mutating func takeSizeByte(_ byte: UInt8) -> BodyRejection? {
    if ByteClass.table[Int(byte)] & ByteClass.hex != 0 {
      guard Int(digits) < Self.chunkSizeDigitsMaximum else { return .chunkSizeOverflow }
      let digit = byte < 0x3A ? byte &- 0x30 : (byte | 0x20) &- 0x57
      remaining = remaining << 4 | UInt64(digit)
      digits += 1
      return nil
    }
    if byte == ByteClass.lineFeed { return .bareLF }
    guard digits > 0 else { return .invalidChunkSize }
    guard remaining <= UInt64(Int64.max) else { return .chunkSizeOverflow }
    if byte == ByteClass.carriageReturn {
      chunkExtension = ChunkExtension()
      state = .chunkSizeLF
      return nil
    }
    guard byte == ByteClass.semicolon || ByteClass.isBlank(byte) else { return .invalidChunkSize }
    chunkExtension = ChunkExtension()
    state = .chunkExtension
    return nil
  }

  /// Weighs this chunk's extensions against its content; false if too much is owed.
  @inline(__always)
  private mutating func settleExtension() -> Bool {
    extensionDebt += UInt64(chunkExtension.count)
    extensionDebt -= min(extensionDebt, remaining)
    return extensionDebt <= ChunkExtension.debtMaximum
  }

  private mutating func gatherTrailer(
    _ base: UnsafeRawPointer, _ end: Int, _ offset: inout Int
  ) -> Step {
    var consumed = 0
    let outcome = trailers.gather(base + offset, end - offset, consumed: &consumed)
    offset += consumed
    switch outcome {
    case .needsMore: return .needsMore
    case .complete:
      state = .complete
      return .complete
    case .rejected(let refusal): return refuse(refusal)
    }
  }

  private mutating func refuse(_ refusal: BodyRejection) -> Step {
    rejection = refusal
    state = .rejected
    return .rejected(refusal)
  }
}
