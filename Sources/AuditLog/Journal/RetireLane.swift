// RetireLane cuts segments at their last committed block and closes them. Everything acknowledged in
// them is durable before they get here, so a failure is told and stepped over; a segment that holds
// nothing is removed.
//
// TRAP: (file) the steps are this machine's own, one operation at a time by lane; a result of the
// kernel decides which step follows, by value.

internal import Glibc
internal import MillraceEngine

struct RetireLane: ~Copyable {
  private enum Step { case idle, syncContent, truncate, syncLength, close, unlink }

  private static var capacity: Int { 8 }
  /// A segment is opened only while the queue has room for it, for the one before it and for the ready
  /// one, so that the queue is never full when one is retired.
  private static var countBeforeOpening: Int { 5 }
  private static var nothing: RetiredSegment { RetiredSegment(.none) }

  private var queue = FixedQueue(capacity: RetireLane.capacity, filler: RetireLane.nothing)
  private var step = Step.idle
  private var isSubmitted = false
  private var current = RetireLane.nothing

  var isIdle: Bool { queue.isEmpty && step == .idle }
  var isFull: Bool { queue.isFull }
  /// True if another segment may be opened.
  var mayOpen: Bool { queue.count < Self.countBeforeOpening }

  /// Takes a segment over; see `mayOpen` and `isFull`.
  mutating func push(_ segment: RetiredSegment) { queue.push(segment) }

  /// - Parameter busy: the segment whose file another lane uses: it is not cut or closed under its
  ///   operation.
  mutating func nextOperation(busy: UInt64?, _ paths: borrowing JournalPaths) -> JournalOperation? {
    if isSubmitted { return nil }
    if step == .idle {
      guard let next = queue.peek(), next.number != busy else { return nil }
      _ = queue.pop()
      current = next
      // A segment that goes away needs no cut. With `none` the content is not yet on the device.
      step = next.used == 0 || next.isLost ? .close : .syncContent
    }
    isSubmitted = true
    switch step {
    case .syncContent: return .sync(file: current.file, dataOnly: true)
    case .truncate: return .truncate(file: current.file, length: current.used)
    case .syncLength: return .sync(file: current.file, dataOnly: false)
    case .close: return .close(file: current.file)
    case .unlink: return .unlink(path: paths.segment(.retire, number: current.number))
    case .idle: preconditionFailure("no step in a retirement that was started")
    }
  }

  mutating func completed(_ result: Int32, _ events: inout JournalEvents) {
    precondition(isSubmitted, "a completion without an operation")
    isSubmitted = false
    if result == -EINTR && step != .close { return }
    if result < 0 {
      events.counters.retireFailures &+= 1
      events.add(.retireFailed(code: -result))
    }
    switch step {
    case .syncContent: step = .truncate
    case .truncate: step = .syncLength
    case .syncLength: step = .close
    case .close: step = current.used == 0 && !current.isLost ? .unlink : .idle
    case .unlink: step = .idle
    case .idle: preconditionFailure("a completion without an operation of the retire lane")
    }
  }
}
