// FillLane writes newlines into the active segment ahead of the writer, a step at a time, so that a
// commit finds written extents and a reader of the live log finds a short tail. The space is
// reserved before. It never touches a byte that a batch may be written to: a commit waits for it.

internal import Glibc
internal import MillraceEngine

struct FillLane: ~Copyable {
  private enum Step { case idle, write, sync }

  /// Filled bytes behind the writer's below which the next step is made. A batch more than the
  /// writer needs now, so that commits do not wait for a step.
  private let ahead: Int
  private let block: FilePrefill
  private var step = Step.idle
  private(set) var isSubmitted = false
  /// The segment that it fills.
  private var number: UInt64 = 0
  private var end = 0
  private var written = 0
  /// Writes of less than a block since the last one that took more.
  private var zeroProgressWrites = 0
  /// Monotonic time before which the step is not tried again; 0 if it has not failed.
  private(set) var retryAt: Int64 = 0

  /// - Parameters:
  ///   - batchSize: bytes of a batch.
  ///   - stepSize: bytes of one step.
  init(batchSize: Int, stepSize: Int) {
    ahead = batchSize
    block = FilePrefill(capacity: stepSize)
  }

  /// The segment whose file an operation of the lane uses.
  var busy: UInt64? { isSubmitted ? number : nil }

  /// True while newlines of the active segment are written and not yet durable.
  func isUnsettled(_ active: UInt64) -> Bool { step != .idle && number == active }

  /// - Parameter isLost: the log has gone; nothing more is filled.
  mutating func nextOperation(
    _ active: OpenSegment, isLost: Bool, _ now: Int64
  ) -> JournalOperation? {
    if isSubmitted { return nil }
    if step != .idle && number != active.number { step = .idle }
    if step == .idle {
      retryAt = 0
      guard active.isOpen, active.filled < active.size, !isLost,
        active.filled - active.used < ahead
      else { return nil }
      step = .write
      number = active.number
      written = active.filled
      end = min(active.size, active.filled + block.capacity)
    }
    if now < retryAt { return nil }
    retryAt = 0
    isSubmitted = true
    switch step {
    case .write:
      return .write(
        file: active.file, buffer: block.lend(), count: end - written, offset: written,
        durable: false)
    case .sync:
      // The size and the state of the extents are new: made durable here, no commit has to.
      return .sync(file: active.file, dataOnly: true)
    case .idle:
      // TRAP: the lane starts a step before it asks for its operation; no result leads to `idle`
      // here.
      preconditionFailure("no step in a fill that was started")
    }
  }

  mutating func completed(
    _ result: Int32, _ buffer: consuming FileBuffer?, _ segments: inout LiveSegments,
    _ events: inout JournalEvents, _ now: Int64
  ) {
    // TRAP: one operation of the lane at a time, and one completion for each: the engine's
    // contract.
    precondition(isSubmitted, "a completion without an operation")
    isSubmitted = false
    if let buffer = buffer.take() { block.giveBack(buffer) }
    guard segments.active.isOpen, segments.active.number == number else {
      step = .idle
      return
    }
    if result == -EINTR { return }
    if result == -EAGAIN {
      retryAt = now + 1_000_000
      return
    }
    if result < 0 { return endSegment(-result, &segments, &events) }
    if step == .sync {
      segments.fill(to: end)
      step = .idle
      return
    }
    let taken = Int(result) & ~(SegmentName.blockSize - 1)
    if Int(result) < end - written { events.counters.shortWrites &+= 1 }
    // Less than a block is no progress: chance once or twice, and then it would be for ever.
    if taken == 0 {
      zeroProgressWrites += 1
      if zeroProgressWrites == FilePrefill.zeroProgressWritesMaximum {
        endSegment(EIO, &segments, &events)
      }
      return
    }
    zeroProgressWrites = 0
    written += taken
    if written == end { step = .sync }
  }

  /// The segment cannot be filled any further: batches go to what is filled, and then to the next.
  private mutating func endSegment(
    _ code: Int32, _ segments: inout LiveSegments, _ events: inout JournalEvents
  ) {
    segments.endAtFilled()
    end = segments.active.filled
    zeroProgressWrites = 0
    // Part of the step may be there: it is settled before another segment is begun.
    step = step == .write ? .sync : .idle
    events.addFillFailure(code)
  }
}
