// LiveSegments owns the two segments that batches go to: the active one and the one that follows it.
// It keeps how far each is filled and used; what is to be written, retired or made is decided by the
// lanes and by Journal.

/// The segment that batches are written to, and the one that follows it.
struct LiveSegments {
  private(set) var active = OpenSegment.none
  private(set) var ready = OpenSegment.none
  /// A batch waits until a segment can take it.
  private(set) var isStalled = false
  private let batchSize: Int

  init(batchSize: Int) {
    self.batchSize = batchSize
  }

  /// What promises may count on in both.
  var dependableDisk: Int { active.dependableBytes(batchSize: batchSize) + readyDisk }
  /// What they may count on without the active one.
  var readyDisk: Int { ready.dependableBytes(batchSize: batchSize) }

  /// True if the active segment has this much space left.
  func hasRoom(_ disk: Int) -> Bool { active.isOpen && disk <= active.size - active.used }

  /// True if that space is prefilled.
  func isFilled(_ disk: Int) -> Bool { disk <= active.filled - active.used }

  /// Notes whether a batch waits.
  /// - Returns: true if it has just begun to.
  @discardableResult
  mutating func setStalled(_ stalled: Bool) -> Bool {
    defer { isStalled = stalled }
    return stalled && !isStalled
  }

  mutating func setReady(_ segment: OpenSegment) { ready = segment }

  /// The ready segment becomes the active one; the caller has taken the one before.
  mutating func activateReady(rotateAt: Int64) {
    active = ready
    active.rotateAt = rotateAt
    ready = .none
  }

  /// Takes the active segment out, if there is one.
  mutating func takeActive() -> OpenSegment? {
    defer { active = .none }
    return active.isOpen ? active : nil
  }

  /// Takes the ready segment out, if there is one.
  mutating func takeReady() -> OpenSegment? {
    defer { ready = .none }
    return ready.isOpen ? ready : nil
  }

  /// A batch of this many bytes is committed in the active segment.
  mutating func commit(_ bytes: Int) { active.used += bytes }

  /// The active segment is filled up to here, durably.
  mutating func fill(to end: Int) { active.filled = end }

  /// The active segment cannot be filled any further: it ends here.
  mutating func endAtFilled() { active.size = active.filled }

  /// The active segment was opened again, without O_DIRECT.
  /// - Returns: the descriptor that is still to be closed.
  mutating func reopen(_ file: Int32) -> Int32 {
    defer {
      active.file = file
      active.isDirect = false
    }
    return active.file
  }

  mutating func postponeRotation(to time: Int64) { active.rotateAt = time }
}
