// When connections are looked at. Those with a send in flight, whose peer may have stopped taking it,
// and those of which nothing is read for a while, whose peer may have reset them, are looked at more
// often than their deadlines ask for. The first look makes an entry in the timer wheel; a connection
// that goes on writing costs one such entry per look, not per send.

import Glibc
import MillraceEngine
import Transport

extension Loop where E: ~Copyable {
  /// Has a connection looked at soon, and again until there is no more reason to.
  @inline(__always)
  mutating func watch(_ t: UnsafeMutablePointer<Transport>, _ node: Int) {
    if !t.pointee.isWatched { startWatching(t, node) }
  }

  @inline(never)
  private mutating func startWatching(_ t: UnsafeMutablePointer<Transport>, _ node: Int) {
    t.pointee.isWatched = true
    // Not every send moves the deadline: one that comes before the look is kept.
    wheel.arm(node, at: min(t.pointee.deadline, engine.now + plan.lookInterval))
  }

  /// Has a connection looked at by its deadline. That is not later than the shortest timeout from now,
  /// so that a deadline may move closer without touching the wheel.
  @inline(__always)
  mutating func armTimer(_ t: UnsafeMutablePointer<Transport>, _ node: Int) {
    wheel.arm(node, at: min(t.pointee.deadline, engine.now + plan.shortestTimeout))
  }

  /// Has a connection looked at exactly by its deadline, which is closer than any configured timeout.
  mutating func armTimerExactly(_ t: UnsafeMutablePointer<Transport>, _ node: Int) {
    t.pointee.isWatched = false
    wheel.arm(node, at: t.pointee.deadline)
  }

  /// Puts a node back into the wheel after a look.
  mutating func rearmTimer(_ t: UnsafeMutablePointer<Transport>, _ node: Int) {
    let now = engine.now
    t.pointee.isWatched =
      t.pointee.sending || (t.pointee.paused && t.pointee.closing == .open)
    let look = min(t.pointee.deadline, now + plan.shortestTimeout)
    wheel.arm(node, at: t.pointee.isWatched ? min(look, now + plan.lookInterval) : look)
  }

  /// Brings the next look, which a timeout has set, forward to a moment. - Parameter moment: Int64.max:
  /// there is none.
  mutating func armTimer(_ t: UnsafeMutablePointer<Transport>, _ node: Int, orAt moment: Int64) {
    guard t.pointee.closing == .open else { return }
    let now = engine.now
    let look = min(t.pointee.deadline, now + plan.shortestTimeout)
    // A watched connection is looked at sooner than either.
    guard moment < (t.pointee.isWatched ? min(look, now + plan.lookInterval) : look) else { return }
    wheel.arm(node, at: moment)
  }
}
