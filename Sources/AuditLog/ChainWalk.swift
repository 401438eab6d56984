// ChainWalk leads a ChainVerifier through one worker's segments, beside a proxy that may be writing
// them. It owns the order of the reads: what it finds wrong counts only if it is still wrong when
// the directory is listed anew and the chain is read again from the last batch that was proven.
//
// What a running proxy changes between two reads: it writes into a segment whose end was just read,
// and goes on in the next one; it renames a prepared segment to its name; it cuts a segment when it
// is done with it, and removes one that it did not use; an operator deletes old segments. A batch
// that is proven stays as it is through all of that, so that reading on from there is enough.

internal import Glibc
internal import MillraceEngine

struct ChainWalk {
  /// Attempts without progress after which a failure counts.
  private static let attemptsMaximum = 3

  private let directory: String
  private let files: any FileSystem
  private let worker: Int
  private let anchors: [Anchor]
  private let pause: () -> Void
  private var verifier: ChainVerifier
  /// The segment with the last proven batch, and where that ends.
  private var name: SegmentName?
  private var position = BatchScanner.Position()
  /// The oldest header was there: what the chain begins with is known.
  private var knowsStart = false
  private var emptySegments: [SegmentName] = []
  private var tails: [(name: SegmentName, failure: VerificationFailure)] = []

  /// - Parameters:
  ///   - anchors: this worker's, by sequence.
  ///   - pause: called before another attempt, so that a write in progress can complete.
  init(
    directory: String, files: any FileSystem, worker: Int, anchors: [Anchor],
    pause: @escaping () -> Void
  ) {
    self.directory = directory
    self.files = files
    self.worker = worker
    self.anchors = anchors
    self.pause = pause
    verifier = ChainVerifier(worker: worker, first: nil, anchors: anchors)
  }

  private enum Outcome {
    case finished
    case wrong(VerificationFailure)
    /// A file is gone that was listed.
    case gone(Errno)
  }

  /// - Parameter listed: the chain's segments in order.
  /// - Returns: the verifier at the chain's end; nil if every segment went away.
  mutating func run(_ listed: [SegmentName]) throws(Errno) -> ChainVerifier? {
    var segments = listed
    var attempts = 0
    var oldest: SegmentName?
    while !segments.isEmpty {
      // Nothing is proven yet, or it was deleted up to there: what is left is the chain.
      if !(name.map { segments.contains($0) } ?? false) {
        if segments[0] != oldest { attempts = 0 }
        oldest = segments[0]
        try restart(segments)
      }
      let before = (name, position)
      let outcome = try pass(segments)
      attempts = before.0 == name && before.1 == position ? attempts + 1 : 1
      switch outcome {
      case .finished: return finished(nil)
      case .wrong(let failure) where attempts == Self.attemptsMaximum: return finished(failure)
      case .gone(let error) where attempts == Self.attemptsMaximum: throw error
      case .wrong, .gone: break
      }
      pause()
      segments = try Self.list(directory, files).filter { $0.worker == worker }
    }
    return nil
  }

  /// The segments in a directory, in order.
  static func list(_ directory: String, _ files: any FileSystem) throws(Errno) -> [SegmentName] {
    var segments: [SegmentName] = []
    for entry in try files.list(directory) {
      if let (name, companion) = SegmentName.parse(entry), companion == .segment {
        segments.append(name)
      }
    }
    return segments.sorted()
  }

  private mutating func restart(_ segments: [SegmentName]) throws(Errno) {
    let first = try nextHeader(segments[...])
    knowsStart = first != nil
    verifier = ChainVerifier(worker: worker, first: first, anchors: anchors)
    name = nil
    position = BatchScanner.Position()
    emptySegments = []
    tails = []
  }

  private mutating func finished(_ failure: VerificationFailure?) -> ChainVerifier {
    verifier.rewind()
    verifier.report.failure = failure
    verifier.report.emptySegments = emptySegments.count
    verifier.report.unsealedTails = tails.map(\.failure)
    verifier.finish()
    return verifier
  }

  /// Goes on from the last proven batch to the chain's end.
  private mutating func pass(_ segments: [SegmentName]) throws(Errno) -> Outcome {
    let start = name.flatMap { segments.firstIndex(of: $0) } ?? 0
    let resumed = segments[start]
    emptySegments.removeAll { $0 >= resumed }
    tails.removeAll { $0.name >= resumed }
    for index in start..<segments.count {
      do throws(Errno) {
        let next = try nextHeader(segments[(index + 1)...])
        if let failure = try verifySegment(segments[index], next: next) { return .wrong(failure) }
      } catch {
        if error.code == ENOENT { return .gone(error) }
        throw error
      }
    }
    return .finished
  }

  /// The header of the next segment that has one.
  private func nextHeader(_ segments: ArraySlice<SegmentName>) throws(Errno) -> SegmentHeader? {
    for name in segments {
      do throws(Errno) {
        var reader = try LineReader(path: path(name), files)
        if case .text(let line) = try reader.next(), let header = SegmentHeader.parse(line) {
          return header
        }
      } catch {
        // Removed since it was listed, as an unused one is.
        if error.code != ENOENT { throw error }
      }
    }
    return nil
  }

  private func path(_ name: SegmentName) -> String { directory + "/" + name.text() }

  /// - Returns: what is wrong with it.
  private mutating func verifySegment(
    _ segment: SegmentName, next: SegmentHeader?
  ) throws(Errno) -> VerificationFailure? {
    var scanner = try BatchScanner(
      path: path(segment), files,
      after: segment == name ? position : BatchScanner.Position())
    verifier.enter(segment)
    while true {
      // The next segment goes on from here because a commit failed: nothing that follows in this
      // one was acknowledged, and the next header owns up to its sequences.
      if let next, next.lostLast != 0, verifier.seal == next.previous {
        var context = context(segment)
        context.lastSequence = next.lostLast
        context.mayBeWhole = true
        let place = VerificationFailure(
          file: segment.text(), line: scanner.position.lineNumber, byte: scanner.provenEnd,
          reason: "bytes behind the last seal, of records that the next segment declares as lost")
        return try verifyTail(segment, place, scanner.provenEnd, context)
      }
      switch try scanner.next(&verifier) {
      case .batch:
        name = segment
        position = scanner.position
      case .end:
        if scanner.header == nil { emptySegments.append(segment) }
        return nil
      case .broken(let line, let byte, let reason):
        verifier.rewind()
        let failure = VerificationFailure(
          file: segment.text(), line: line, byte: byte, reason: reason)
        // Only where the chain ends can a write have been cut short.
        if next != nil { return failure }
        return try verifyTail(segment, failure, scanner.provenEnd, context(segment))
      }
    }
  }

  private func context(_ segment: SegmentName) -> TailContext {
    TailContext(
      name: segment, previous: knowsStart ? verifier.seal : nil,
      nextSequence: verifier.nextSequence)
  }

  /// Notes a tail that a write can have left. - Returns: `failure` if none can.
  private mutating func verifyTail(
    _ segment: SegmentName, _ failure: VerificationFailure, _ start: Int, _ context: TailContext
  ) throws(Errno) -> VerificationFailure? {
    switch try TailShape.read(path(segment), from: start, context, files) {
    case .blank: break
    case .partOfBatch: tails.append((segment, failure))
    case .foreign(let shape):
      if !context.mayBeWhole { return failure }
      var failure = failure
      failure.reason = "\(shape), behind the last seal, where the next segment declares a loss"
      return failure
    }
    return nil
  }
}
