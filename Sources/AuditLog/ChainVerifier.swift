// ChainVerifier follows one worker's chain through its segments: links, sequences, pairing of
// `begin` and `end`, and anchors. It reads no file; BatchScanner shows it every line and tells it
// when a batch is proven, and only then does anything of the batch count.

struct ChainVerifier: RecordVisitor {
  /// Open exchanges that pairing keeps: 8 bytes each and a table's slack, some 2 MiB.
  private static let openMaximum = 65_536

  var report: ChainReport
  /// The last proven seal, or what the oldest segment follows.
  private(set) var seal: SealHash
  private(set) var anchorsMatched = 0
  private(set) var anchorsBeforeStart = 0
  private(set) var anchorFailures: [String] = []

  private var name = SegmentName(worker: 0, number: 0)
  /// The counts with the batch that is being read.
  private var staged: ChainReport
  private var stagedPairs: [(kind: RecordKind, id: UInt64)] = []
  /// The sequence that is due, with the batch that is being read.
  private(set) var nextSequence: UInt64
  private var run: RunIdentity?
  private var startsNewRun = false
  /// `nextSequence` and `run` as of the last proven batch.
  private var provenNext: UInt64
  private var provenRun: RunIdentity?
  private var open: Set<UInt64> = []
  private let anchors: [Anchor]
  private var anchorIndex = 0

  /// - Parameters:
  ///   - first: the oldest header that is there.
  ///   - anchors: this worker's, by sequence.
  init(worker: Int, first: SegmentHeader?, anchors: [Anchor]) {
    report = ChainReport(worker: worker)
    seal = first?.previous ?? .zero
    nextSequence = first?.nextSequence ?? 1
    if let first, first.lostLast != 0 { nextSequence = first.lostFirst }
    provenNext = nextSequence
    self.anchors = anchors
    report.startsAtBeginning = seal == .zero
    report.firstSequence = nextSequence
    report.lastSequence = nextSequence &- 1
    report.lastSeal = seal
    staged = report
    // An anchor at the very seal that the oldest segment follows still proves something.
    while anchorIndex < anchors.count, anchors[anchorIndex].sequence < nextSequence {
      let anchor = anchors[anchorIndex]
      if anchor.sequence &+ 1 == nextSequence && anchor.seal == seal {
        anchorsMatched += 1
      } else if anchor.sequence &+ 1 == nextSequence || report.startsAtBeginning {
        refute(anchor, "another seal")
      } else {
        anchorsBeforeStart += 1
      }
      anchorIndex += 1
    }
  }

  /// Goes on with this segment, which may be one that was entered before.
  mutating func enter(_ name: SegmentName) {
    if self.name < name || report.segments == 0 { report.segments += 1 }
    self.name = name
    rewind()
  }

  /// Forgets what was read of a batch that did not come to be proven.
  mutating func rewind() {
    staged = report
    stagedPairs.removeAll(keepingCapacity: true)
    nextSequence = provenNext
    run = provenRun
    startsNewRun = false
  }

  mutating func visitHeader(_ header: SegmentHeader) -> String? {
    staged = report
    if header.worker != name.worker || header.segment != name.number {
      return "the header of segment \(header.segment) of worker \(header.worker)"
    }
    if header.previous != seal {
      return "the segment follows another seal than the one before it ends with"
    }
    if header.lostLast != 0 {
      if header.lostFirst != nextSequence || header.nextSequence != header.lostLast &+ 1 {
        return "sequences are missing that no failed commit accounts for"
      }
      add(header.lostLast &- header.lostFirst &+ 1, to: &staged.lost)
    } else if header.nextSequence != nextSequence {
      return "the segment begins at sequence \(header.nextSequence), not \(nextSequence)"
    }
    nextSequence = header.nextSequence
    startsNewRun = run != header.run
    run = header.run
    return nil
  }

  mutating func visit(_ record: RecordLine, _ line: UnsafeRawBufferPointer) -> String? {
    if record.sequence != nextSequence {
      return "sequence \(record.sequence) where \(nextSequence) is due"
    }
    if !JSONShape.isObject(line) { return "not a JSON object" }
    nextSequence &+= 1
    staged.records += 1
    switch record.kind {
    case .exchange: staged.exchanges += 1
    case .begin: staged.begins += 1
    case .end: staged.ends += 1
    case .abort: staged.aborts += 1
    case .loss: add(record.dropped, to: &staged.dropped)
    case .recovery: staged.recoveries += 1
    }
    switch record.kind {
    case .begin, .end, .abort: stagedPairs.append((record.kind, record.exchangeID))
    case .exchange, .loss, .recovery: break
    }
    return nil
  }

  /// Adds what a file claims, which may be any number, up to the largest.
  private func add(_ claimed: UInt64, to sum: inout UInt64) {
    let (value, overflow) = sum.addingReportingOverflow(claimed)
    sum = overflow ? .max : value
  }

  mutating func batchProven(_ proven: Seal) {
    staged.batches += 1
    if proven.isSigned { staged.uncheckedSignatures += 1 }
    if startsNewRun {
      // Identifiers are unique within a run; what it left open stays open for ever.
      staged.unfinished += UInt64(open.count)
      open.removeAll(keepingCapacity: true)
      startsNewRun = false
    }
    for pair in stagedPairs { match(pair.kind, pair.id) }
    stagedPairs.removeAll(keepingCapacity: true)
    seal = proven.hash
    provenNext = nextSequence
    provenRun = run
    staged.lastSequence = proven.lastSequence
    staged.lastSeal = seal
    report = staged
    while anchorIndex < anchors.count, anchors[anchorIndex].sequence <= proven.lastSequence {
      let anchor = anchors[anchorIndex]
      if anchor.sequence == proven.lastSequence && anchor.seal == seal {
        anchorsMatched += 1
      } else {
        refute(anchor, "another seal")
      }
      anchorIndex += 1
    }
  }

  private mutating func match(_ kind: RecordKind, _ id: UInt64) {
    switch kind {
    case .begin:
      if open.count < Self.openMaximum {
        open.insert(id)
      } else {
        staged.pairingIncomplete = true
      }
    case .end:
      if open.remove(id) == nil { staged.unbegun += 1 }
    case .abort:
      // It follows a whole exchange as well as a begin.
      open.remove(id)
    case .exchange, .loss, .recovery:
      break
    }
  }

  private mutating func refute(_ anchor: Anchor, _ what: String) {
    anchorFailures.append(
      "worker \(anchor.worker): \(what) at sequence \(anchor.sequence) than the anchor's")
  }

  /// The chain is at its end.
  mutating func finish() {
    report.unfinished += UInt64(open.count)
    while anchorIndex < anchors.count {
      anchorFailures.append(
        "worker \(anchors[anchorIndex].worker): proven up to sequence \(report.lastSequence), "
          + "but an anchor is at sequence \(anchors[anchorIndex].sequence)")
      anchorIndex += 1
    }
  }
}
