// BatchScanner reads one segment batch by batch and proves each: consecutive sequences, the seal's
// counts, the link to the seal before, the hash, and newlines up to the next block. It owns the
// open segment; what a batch means for the chain as a whole is for Recovery and Verification to
// say.

internal import MillraceEngine

/// Sees every record of a batch before the batch is proven.
protocol RecordVisitor {
  /// The first line of the segment. Returns a reason to refuse it, or nil.
  mutating func visitHeader(_ header: SegmentHeader) -> String?
  /// Returns a reason to refuse the line, or nil.
  mutating func visit(_ record: RecordLine, _ line: UnsafeRawBufferPointer) -> String?
  /// The batch is proven.
  mutating func batchProven(_ seal: Seal)
}

/// Sees nothing.
struct NoVisitor: RecordVisitor {
  mutating func visitHeader(_ header: SegmentHeader) -> String? { nil }
  mutating func visit(_ record: RecordLine, _ line: UnsafeRawBufferPointer) -> String? { nil }
  mutating func batchProven(_ seal: Seal) {}
}

struct BatchScanner: ~Copyable {
  enum Event {
    /// A proven batch that ends at `provenEnd`.
    case batch(Seal)
    /// Nothing but newlines follows.
    case end
    /// What follows is not a batch: damage, or a write that was cut short or is under way.
    case broken(line: Int, byte: Int, reason: String)
  }

  private var reader: LineReader
  private var digest = SealDigest()
  /// The end of the last proven batch, a multiple of the block size.
  private(set) var provenEnd = 0
  /// The first line of the segment, once read.
  private(set) var header: SegmentHeader?
  /// The last proven seal.
  private(set) var seal: Seal?
  private var previous = SealHash.zero
  /// The number of the line at `provenEnd`.
  private var provenLine = 1

  /// Where a segment is proven up to: what a later scanner of the same segment goes on from.
  struct Position: Equatable {
    var end = 0
    var lineNumber = 1
    var header: SegmentHeader?
    var seal: Seal?
  }

  /// - Parameter position: the last proven batch of an earlier scanner, to go on behind it.
  init(
    path: String, _ files: any FileSystem, after position: Position = Position()
  ) throws(Errno) {
    reader = try LineReader(
      path: path, files, offset: position.end, lineNumber: position.lineNumber)
    provenEnd = position.end
    header = position.header
    seal = position.seal
    previous = position.seal?.hash ?? .zero
    provenLine = position.lineNumber
  }

  /// What is proven so far.
  var position: Position {
    Position(end: provenEnd, lineNumber: provenLine, header: seal == nil ? nil : header, seal: seal)
  }

  /// Proves the next batch. Do not call it again after `end` or `broken`.
  mutating func next<Visitor: RecordVisitor>(_ visitor: inout Visitor) throws(Errno) -> Event {
    var bytes: UInt64 = 0
    var first: UInt64?
    var last: UInt64 = 0
    while true {
      let byte = reader.offset
      let lineNumber = reader.lineNumber
      func broken(_ reason: String) -> Event {
        .broken(line: lineNumber, byte: byte, reason: reason)
      }
      let line: UnsafeRawBufferPointer
      switch try reader.next() {
      case .end:
        if bytes == 0 { return .end }
        return broken("the file ends before the batch's seal")
      case .unterminated:
        return broken("a line without an end")
      case .text(let text):
        line = text
      }
      if line.isEmpty {
        if bytes > 0 { return broken("newlines before the batch's seal") }
        _ = try reader.skipNewlines()
        if try atEnd() { return .end }
        return broken("newlines where a batch should begin, and more after them")
      }
      if Seal.begins(line) {
        guard let first else { return broken("a seal without records") }
        guard let seal = Seal.parse(line) else { return broken("a malformed seal") }
        if seal.previous != previous { return broken("a seal that follows another one") }
        if seal.firstSequence != first || seal.lastSequence != last || seal.bytes != bytes {
          return broken("a seal that counts otherwise")
        }
        if seal.hash != digest.finish() { return broken("the hash does not match the batch") }
        return try finishBatch(seal, &visitor)
      }
      if bytes == 0 && header == nil {
        guard let parsed = SegmentHeader.parse(line) else {
          return broken("the first line is not a segment header")
        }
        if let reason = visitor.visitHeader(parsed) { return broken(reason) }
        header = parsed
        previous = parsed.previous
        digest.begin(after: previous)
      } else {
        if bytes == 0 { digest.begin(after: previous) }
        guard let record = RecordLine.parse(line) else { return broken("not a record") }
        if first == nil {
          first = record.sequence
        } else if record.sequence != last &+ 1 {
          return broken("sequence \(record.sequence) follows \(last)")
        }
        last = record.sequence
        if let reason = visitor.visit(record, line) { return broken(reason) }
      }
      digest.update(line)
      withUnsafeBytes(of: UInt8(0x0A)) { digest.update($0) }
      bytes += UInt64(line.count + 1)
    }
  }

  private mutating func finishBatch<Visitor: RecordVisitor>(
    _ seal: Seal, _ visitor: inout Visitor
  ) throws(Errno) -> Event {
    let block = SegmentName.blockSize
    let end = (reader.offset + block - 1) / block * block
    if try !reader.skipNewlines(upTo: end) {
      return .broken(
        line: reader.lineNumber, byte: reader.offset, reason: "no newline after a seal")
    }
    provenEnd = end
    provenLine = reader.lineNumber
    previous = seal.hash
    self.seal = seal
    visitor.batchProven(seal)
    return .batch(seal)
  }

  private mutating func atEnd() throws(Errno) -> Bool {
    if case .end = try reader.next() { return true }
    return false
  }
}
