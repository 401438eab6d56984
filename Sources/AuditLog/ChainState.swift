// ChainState is where a worker's chain stands: what the next run's journal must continue from. It
// is a plain value that Recovery produces and Journal consumes.

/// The end of one worker's chain.
public struct ChainState: Equatable, Sendable {
  /// The worker, 0 to 999.
  public var worker: Int
  /// The sequence of the next record; the first of a chain is 1.
  public var nextSequence: UInt64
  /// The number of the next segment; the first of a chain is 1.
  public var nextSegment: UInt64
  /// The last seal, or zero at the start of a chain.
  public var previousSeal: SealHash

  /// The start of a chain that has no segment yet.
  public init(worker: Int) {
    self.worker = worker
    nextSequence = 1
    nextSegment = 1
    previousSeal = .zero
  }
}
