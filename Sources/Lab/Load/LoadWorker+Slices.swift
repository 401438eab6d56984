// The slices of a load thread: taking an order, and leaving what it counted. In between the thread works
// as in any run; afterwards its connections stay open and it waits for the next order.

import Histogram
import MillraceEngine
import Synchronization

extension LoadWorker where E: ~Copyable {
  /// Takes the newest order, if there is one that this thread has not run.
  mutating func takeSlice(_ desk: SliceDesk) {
    let number = desk.number.load(ordering: .acquiring)
    guard number > sliceNumber, let order = desk.current else { return }
    sliceNumber = number
    let plan = order.plan
    isOpenLoop = plan.pacing.isOpen
    warmUp = plan.warmUpNanoseconds
    duration = plan.durationNanoseconds
    for i in lanes.indices {
      setPace(lanes.baseAddress! + i, plan, order.source, thread: index, of: board.threads)
    }
    quarter.clear()
    begin(at: order.startAt)
    nextQuarter = .max
  }

  /// All responses are there: leaves the tally, and is as before the first order.
  mutating func endSlice(_ desk: SliceDesk) {
    // Since the order was taken; what came with the lead-in too.
    tally.completedWithWarmUp = quarter.completed
    quarter.clear()
    stage = .settling
    (start, countStart, countEnd) = (.max, .max, .max)
    (sendEnd, drainEnd) = (.max, .max)
    var made = LoadTally(
      rows: tally.rows.count, longest: Int64(tally.latency.highestTrackableValue))
    swap(&tally, &made)
    desk.deliver(made)
  }
}
