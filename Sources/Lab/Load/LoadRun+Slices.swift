// A load run that somebody orders slices of: gives each its moment, waits for its end, and hands over
// what it found. The run's threads do nothing between two orders, and this one blocks in `next`.

import MillraceEngine
import Synchronization

extension LoadRun {
  /// How soon the end of a slice is noticed, microseconds.
  private static let look: UInt32 = 500
  /// From an order to its first moment: every thread wakes up in it.
  private static let notice: Int64 = 2_000_000

  func serve(_ service: LoadSliceService, _ desk: SliceDesk, _ kind: EngineKind) {
    defer { stop() }
    while board.settled.load(ordering: .acquiring) < board.threads {
      guard isAlive else { return }
      Pause.microseconds(Self.look)
    }
    guard board.whyRefused == nil else { return }
    service.ready()
    while let slice = service.next() {
      let ordered = slice.plan(plan)
      let start = SystemClock.monotonicNanoseconds() + Self.notice
      desk.publish(SliceOrder(plan: ordered, source: PacingSource(ordered), startAt: start))
      board.wakeAll()
      let end = start + slice.warmUpNanoseconds + slice.durationNanoseconds
      let now = SystemClock.monotonicNanoseconds()
      if end > now { Pause.microseconds(UInt32((end - now) / 1000)) }
      while desk.delivered.load(ordering: .acquiring) < board.threads {
        guard isAlive else { return }
        Pause.microseconds(Self.look)
      }
      service.drained()
      service.deliver(desk.result(ordered, kind, board))
    }
  }

  /// A thread ends before the run does only where it could not begin, or was stopped.
  private var isAlive: Bool {
    board.finished.load(ordering: .acquiring) == 0 && !board.stops.load(ordering: .relaxed)
  }
}
