// Verification reads a log's directory and proves it: every batch against its seal, every segment
// against the one before, every record's shape and sequence, and every anchor. It streams, so its
// memory does not grow with the log (it grows with the open exchanges, up to a bound), changes
// nothing, and may run beside a live proxy.

public import MillraceEngine

/// The proof of a log's directory.
public struct Verification: Sendable {
  private let directory: String
  private let files: any FileSystem

  /// - Parameters:
  ///   - directory: the log's directory, without a trailing slash.
  ///   - files: where it is.
  public init(directory: String, files: any FileSystem = MachineFiles()) {
    self.directory = directory
    self.files = files
  }

  /// Reads the anchors in a file: one per line, whatever else stands on the line.
  public static func readAnchors(_ path: String) throws(Errno) -> [Anchor] {
    var reader = try LineReader(path: path, MachineFiles())
    var anchors: [Anchor] = []
    while case .text(let line) = try reader.next() {
      if let anchor = Anchor.parse(line) { anchors.append(anchor) }
    }
    return anchors
  }

  /// Verifies every chain.
  /// - Throws: a file call that failed; what the files contain is in the report.
  public func run(anchors: [Anchor] = []) throws(Errno) -> VerificationReport {
    var segments: [SegmentName] = []
    for entry in try files.list(directory) {
      if let (name, companion) = SegmentName.parse(entry), companion == .segment {
        segments.append(name)
      }
    }
    segments.sort()
    var report = VerificationReport()
    var start = 0
    while start < segments.count {
      let worker = segments[start].worker
      var end = start
      while end < segments.count && segments[end].worker == worker { end += 1 }
      let own = anchors.filter { $0.worker == worker }
        .sorted { $0.sequence < $1.sequence }
      try verifyChain(Array(segments[start..<end]), own, &report)
      start = end
    }
    // A log without a chain that an anchor speaks of has lost it.
    for anchor in anchors where !report.chains.contains(where: { $0.worker == anchor.worker }) {
      report.anchorFailures.append(
        "worker \(anchor.worker): no segment, but an anchor at sequence \(anchor.sequence)")
    }
    return report
  }

  private func verifyChain(
    _ segments: [SegmentName], _ anchors: [Anchor], _ report: inout VerificationReport
  ) throws(Errno) {
    let first = try nextHeader(segments[...])
    var verifier = ChainVerifier(worker: segments[0].worker, first: first, anchors: anchors)
    for (index, name) in segments.enumerated() {
      let next = try nextHeader(segments[(index + 1)...])
      try verifySegment(name, next: next, &verifier)
      if verifier.report.failure != nil { break }
    }
    verifier.finish()
    report.anchorsMatched += verifier.anchorsMatched
    report.anchorsBeforeStart += verifier.anchorsBeforeStart
    report.anchorFailures += verifier.anchorFailures
    report.chains.append(verifier.report)
  }

  /// The header of the next segment that has one.
  private func nextHeader(_ segments: ArraySlice<SegmentName>) throws(Errno) -> SegmentHeader? {
    for name in segments {
      var reader = try LineReader(path: directory + "/" + name.text(), files)
      if case .text(let line) = try reader.next(), let header = SegmentHeader.parse(line) {
        return header
      }
    }
    return nil
  }

  private func verifySegment(
    _ name: SegmentName, next: SegmentHeader?, _ verifier: inout ChainVerifier
  ) throws(Errno) {
    var scanner = try BatchScanner(path: directory + "/" + name.text(), files)
    verifier.enter(name)
    while true {
      // The next segment goes on from here because a commit failed: what follows in this one, if
      // anything, was never acknowledged, and the next header has to own up to its sequences.
      if let next, next.lostLast != 0, verifier.seal == next.previous { return }
      switch try scanner.next(&verifier) {
      case .batch:
        break
      case .end:
        if scanner.header == nil { verifier.report.emptySegments += 1 }
        return
      case .broken(let line, let byte, let reason, let interrupted):
        let failure = VerificationFailure(
          file: name.text(), line: line, byte: byte, reason: reason)
        // Only where the chain ends can a write have been cut short.
        if interrupted && next == nil {
          verifier.report.unsealedTail = failure
        } else {
          verifier.report.failure = failure
        }
        return
      }
    }
  }
}
