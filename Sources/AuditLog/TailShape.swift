// TailShape says what the bytes behind a segment's last seal can be: nothing, parts of one batch
// that a power cut or a failed write left, or something that no write of ours leaves. It reads
// only; whether such a tail is allowed where it was found is for ChainWalk to say.
//
// How a torn batch looks. A batch is one write into space that reads as newlines (or as zeros,
// where the prefill itself was lost). A device keeps or loses such a write by sectors, in any
// combination. So whole sectors of newlines are missing, and everything between them is as it was
// written: records in sequence, except for lines that a missing sector cuts, and at most one seal,
// which is the last line and says where the batch began.

internal import Glibc
internal import MillraceEngine

/// What is known of the batch that a tail may be a part of.
struct TailContext {
  var name: SegmentName
  /// The seal that it follows; nil if that is not known.
  var previous: SealHash?
  /// The sequence that is due where the segment does not begin with the tail.
  var nextSequence: UInt64
  /// The greatest sequence that may occur.
  var lastSequence = UInt64.max
  /// The whole batch may be there, sealed: its commit was reported as failed all the same.
  var mayBeWhole = false
}

enum TailShape: Equatable {
  /// Nothing but newlines.
  case blank
  /// What a batch that was cut short can leave.
  case partOfBatch
  case foreign(String)

  /// The unit that devices write whole or not at all; 4096 on others, which is a multiple of it.
  private static let sector = 512

  /// Reads what follows `start`, the end of the last proven batch (a multiple of 4096).
  static func read(
    _ path: String, from start: Int, _ context: TailContext, _ files: any FileSystem
  ) throws(Errno) -> TailShape {
    let file = try files.open(path, .read)
    // Longer than any batch: batches are bounded so that a line of theirs fits a LineReader.
    let maximum = LineReader.lineMaximum
    let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { chunk.deallocate() }
    var tail: [UInt8] = []
    var end = start
    var offset = start
    while true {
      let count = try file.read(into: chunk, at: offset)
      if count == 0 { break }
      let bytes = UnsafeRawBufferPointer(rebasing: chunk[..<count])
      let content = contentLength(bytes)
      if content > 0 {
        end = offset + content
        if end - start > maximum { return .foreign("more than one batch behind the last seal") }
      }
      if tail.count < maximum { tail.append(contentsOf: bytes) }
      offset += count
    }
    if end == start { return tail.contains(0) ? .partOfBatch : .blank }
    return tail.withUnsafeBytes {
      TailReader(
        bytes: UnsafeRawBufferPointer(rebasing: $0[..<(end - start)]), base: start,
        rest: offset - end, context: context
      ).shape()
    }
  }

  /// The bytes up to the last one that is neither a newline nor zero.
  private static func contentLength(_ bytes: UnsafeRawBufferPointer) -> Int {
    var end = bytes.count
    while end > 0 {
      let start = max(0, end - sector)
      let part = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
      if !isFilling(part), let last = part.lastIndex(where: { $0 != 0x0A && $0 != 0 }) {
        return start + last + 1
      }
      end = start
    }
    return 0
  }

  /// True for newlines alone, or zeros alone.
  static func isFilling(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress, let first = bytes.first, first == 0x0A || first == 0 else {
      return false
    }
    // A run equals itself shifted by one, and memcmp walks it at memory speed.
    return memcmp(start, start + 1, bytes.count - 1) == 0
  }

  /// One reading of a tail's content: from the last proven batch to the last byte that is no
  /// filling.
  private struct TailReader {
    let bytes: UnsafeRawBufferPointer
    /// Where `bytes` begins in the file.
    let base: Int
    /// Bytes of the file behind them.
    let rest: Int
    let context: TailContext
    /// The last sequence seen.
    var last: UInt64?
    var seal: Seal?
    /// The last line that was read is the rest of one that a gap cut.
    var endsInsideLine = false

    init(bytes: UnsafeRawBufferPointer, base: Int, rest: Int, context: TailContext) {
      self.bytes = bytes
      self.base = base
      self.rest = rest
      self.context = context
    }

    consuming func shape() -> TailShape {
      let extents = extents()
      for extent in extents {
        if let reason = read(extent) { return .foreign(reason) }
      }
      let isComplete = extents.count == 1 && extents[0].lowerBound == 0
      if isComplete && seal != nil {
        return context.mayBeWhole && isSealed()
          ? .partOfBatch : .foreign("a batch that its seal does not prove")
      }
      // The seal's sector is missing, or its first part is: then the last line begins an extent.
      if seal == nil && !endsInsideLine && !mayGoOn { return .foreign("records without a seal") }
      return .partOfBatch
    }

    /// What is there, between missing sectors.
    private func extents() -> [Range<Int>] {
      var found: [Range<Int>] = []
      var at = 0
      while at < bytes.count {
        let end = min(at + TailShape.sector, bytes.count)
        if !TailShape.isFilling(UnsafeRawBufferPointer(rebasing: bytes[at..<end])) {
          if found.last?.upperBound == at {
            found[found.count - 1] = found[found.count - 1].lowerBound..<end
          } else {
            found.append(at..<end)
          }
        }
        at = end
      }
      return found
    }

    /// A reason to refuse it, or nil.
    private mutating func read(_ extent: Range<Int>) -> String? {
      var at = extent.lowerBound
      var follows = false
      while at < extent.upperBound {
        if seal != nil { return "lines behind a seal" }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[at..<extent.upperBound])
        // TRAP: `rest` is not empty: `at` is below its end.
        let newline = memchr(rest.baseAddress!, 0x0A, rest.count).map {
          UnsafeRawPointer($0) - rest.baseAddress!
        }
        let line = UnsafeRawBufferPointer(rebasing: rest[..<(newline ?? rest.count)])
        let isFirst = at == extent.lowerBound && at > 0
        // The content's last newline is not part of it.
        let isCut = newline == nil && (extent.upperBound < bytes.count || isCutAtEnd)
        if isFirst {
          // The rest of a line, or whole by chance: it says nothing.
        } else if let reason = read(line, at, follows: follows), !isCut {
          return reason
        }
        follows = !isFirst
        endsInsideLine = isFirst
        at += line.count + 1
      }
      return nil
    }

    /// The last line may be the first part of a longer one: the file ends there, or a sector.
    private var isCutAtEnd: Bool { rest == 0 || (base + bytes.count) % TailShape.sector == 0 }

    /// The content may go on: as above, or behind the last line's newline.
    private var mayGoOn: Bool {
      isCutAtEnd || rest == 1 || (base + bytes.count) % TailShape.sector == TailShape.sector - 1
    }

    /// A whole line. - Parameter follows: the line before it is there, too.
    private mutating func read(
      _ line: UnsafeRawBufferPointer, _ at: Int, follows: Bool
    ) -> String? {
      if Seal.begins(line) {
        guard let seal = Seal.parse(line) else { return "a malformed seal" }
        if let previous = context.previous, seal.previous != previous {
          return "a seal that follows another one"
        }
        let isCounted =
          seal.bytes == UInt64(at) && seal.lastSequence <= context.lastSequence
          && seal.lastSequence >= last ?? seal.firstSequence
          && seal.firstSequence >= context.nextSequence
        if !isCounted { return "a seal that counts otherwise" }
        self.seal = seal
        return nil
      }
      if base == 0 && at == 0 {
        guard let header = SegmentHeader.parse(line), header.worker == context.name.worker,
          header.segment == context.name.number,
          context.previous == nil || header.previous == context.previous,
          header.nextSequence >= context.nextSequence
        else { return "the header of another segment" }
        last = header.nextSequence &- 1
        return nil
      }
      guard let record = RecordLine.parse(line), JSONShape.isObject(line) else {
        return "not a record"
      }
      // Behind a gap any number may be missing, but order is kept.
      let due = follows || at == 0 ? (last ?? context.nextSequence &- 1) &+ 1 : nil
      let isDue = due.map { record.sequence == $0 } ?? (record.sequence > last ?? 0)
      if !isDue || record.sequence < context.nextSequence
        || record.sequence > context.lastSequence
      {
        return "a record out of sequence"
      }
      last = record.sequence
      return nil
    }

    private func isSealed() -> Bool {
      guard let seal else { return false }
      var digest = SealDigest()
      digest.begin(after: seal.previous)
      digest.update(UnsafeRawBufferPointer(rebasing: bytes[..<Int(seal.bytes)]))
      return seal.hash == digest.finish()
    }
  }
}
