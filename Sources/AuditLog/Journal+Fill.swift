// The fill lane writes newlines into the active segment ahead of the writer, a step at a time, so
// that a commit finds written extents and a reader of the live log finds a short tail. The space is
// reserved before. It never touches a byte that a batch may be written to: a commit waits for it.

internal import Glibc
internal import MillraceEngine

extension Journal {
  /// Filled bytes behind the writer's below which the next step is made. A batch more than the
  /// writer needs now, so that commits do not wait for a step.
  private var fillAhead: Int { configuration.batchSize }

  /// True while an operation of the lane uses this segment's file.
  func isFilling(_ number: UInt64) -> Bool { fill.submitted && fill.number == number }

  /// True while newlines of the active segment are written and not yet durable.
  var isFillUnsettled: Bool { fill.step != .idle && fill.number == active.number }

  mutating func nextFillOperation(_ now: Int64) -> JournalOperation? {
    if fill.submitted { return nil }
    if fill.step != .idle && fill.number != active.number { fill.step = .idle }
    if fill.step == .idle {
      fill.retryAt = 0
      guard active.isOpen, active.filled < active.size, !isLost,
        active.filled - active.used < fillAhead
      else { return nil }
      fill.step = .write
      fill.number = active.number
      fill.written = active.filled
      fill.end = min(active.size, active.filled + configuration.prefillStep)
    }
    if now < fill.retryAt { return nil }
    fill.retryAt = 0
    fill.submitted = true
    switch fill.step {
    case .write:
      return .write(
        file: active.file, buffer: fillBlock.lend(), count: fill.end - fill.written,
        offset: fill.written, durable: false)
    case .sync:
      // The size and the state of the extents are new: made durable here, no commit has to.
      return .sync(file: active.file, dataOnly: true)
    case .idle:
      // TRAP: the lane starts a step before it asks for its operation; no result leads to `idle`
      // here.
      preconditionFailure("a started step of filling has a step")
    }
  }

  mutating func completedFill(
    _ result: Int32, _ buffer: consuming FileBuffer?, _ now: Int64
  ) {
    // TRAP: one operation of the lane at a time, and one completion for each: the engine's
    // contract.
    precondition(fill.submitted, "a completion without an operation")
    fill.submitted = false
    if let buffer = buffer.take() { fillBlock.giveBack(buffer) }
    guard active.isOpen, active.number == fill.number else {
      fill.step = .idle
      return
    }
    if result == -EINTR { return }
    if result == -EAGAIN {
      fill.retryAt = now + 1_000_000
      return
    }
    if result < 0 { return endSegmentHere(-result) }
    if fill.step == .sync {
      active.filled = fill.end
      fill.step = .idle
      return
    }
    let taken = Int(result) & ~(SegmentName.blockSize - 1)
    if Int(result) < fill.end - fill.written { counters.shortWrites &+= 1 }
    // Less than a block is no progress: chance once or twice, and then it would be for ever.
    if taken == 0 {
      fill.fruitless += 1
      if fill.fruitless == Self.fruitlessWrites { endSegmentHere(EIO) }
      return
    }
    fill.fruitless = 0
    fill.written += taken
    if fill.written == fill.end { fill.step = .sync }
  }

  /// The segment cannot be filled any further: batches go to what is filled, and then to the next.
  private mutating func endSegmentHere(_ code: Int32) {
    active.size = active.filled
    fill.end = active.filled
    fill.fruitless = 0
    // Part of the step may be there: it is settled before another segment is begun.
    fill.step = fill.step == .write ? .sync : .idle
    counters.prepareFailures &+= 1
    if lastPrepareError != code { notices.push(.prepareFailed(code: code)) }
  }
}
