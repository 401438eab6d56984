// Verification reads a log's directory and proves it: every batch against its seal, every segment
// against the one before, every record's shape and sequence, and every anchor. It streams, so its
// memory does not grow with the log (it grows with the open exchanges, up to a bound), changes
// nothing, and may run beside a live proxy.

internal import Glibc
public import MillraceEngine

/// The proof of a log's directory.
public struct Verification: Sendable {
  private let directory: String
  private let files: any FileSystem
  private let pauseNanoseconds: Int64

  /// - Parameters:
  ///   - directory: the log's directory, without a trailing slash.
  ///   - files: where it is.
  ///   - pauseNanoseconds: before something that is wrong is looked at again, so that a commit of a
  ///     running proxy can come to its end.
  public init(
    directory: String, files: any FileSystem = MachineFiles(), pauseNanoseconds: Int64 = 0
  ) {
    self.directory = directory
    self.files = files
    self.pauseNanoseconds = pauseNanoseconds
  }

  /// Verifies every chain.
  /// - Throws: a file call that failed; what the files contain is in the report.
  public func run(anchors: [Anchor] = []) throws(Errno) -> VerificationReport {
    let segments = try ChainWalk.list(directory, files)
    var report = VerificationReport()
    var start = 0
    while start < segments.count {
      let worker = segments[start].worker
      var end = start
      while end < segments.count && segments[end].worker == worker { end += 1 }
      let own = anchors.filter { $0.worker == worker }
        .sorted { $0.sequence < $1.sequence }
      var walk = ChainWalk(
        directory: directory, files: files, worker: worker, anchors: own, pause: pause)
      if let verifier = try walk.run(Array(segments[start..<end])) {
        report.anchorsMatched += verifier.anchorsMatched
        report.anchorsBeforeStart += verifier.anchorsBeforeStart
        report.anchorFailures += verifier.anchorFailures
        report.chains.append(verifier.report)
      }
      start = end
    }
    // A log without a chain that an anchor speaks of has lost it.
    for anchor in anchors where !report.chains.contains(where: { $0.worker == anchor.worker }) {
      report.anchorFailures.append(
        "worker \(anchor.worker): no segment, but an anchor at sequence \(anchor.sequence)")
    }
    return report
  }

  private func pause() {
    if pauseNanoseconds > 0 {
      Pause.microseconds(UInt32(clamping: pauseNanoseconds / 1000))
    }
  }
}
