// Connections that are looked at more often than their deadlines ask for: those with a send in flight,
// whose peer may have stopped taking it, and those of which nothing is read for a while, whose peer
// may have reset them. The first look makes an entry in the timer wheel; a connection that goes on
// writing costs one such entry per look, not per send.

import Glibc
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  /// Has a connection looked at soon, and again until there is no more reason to.
  @inline(__always)
  mutating func watch(_ t: UnsafeMutablePointer<Transport>, _ node: Int) {
    if !t.pointee.isWatched { startWatching(t, node) }
  }

  @inline(never)
  private mutating func startWatching(_ t: UnsafeMutablePointer<Transport>, _ node: Int) {
    t.pointee.isWatched = true
    wheel.arm(node, at: engine.now + plan.lookInterval)
  }

  /// Puts a node back into the wheel after a look.
  mutating func armAgain(_ t: UnsafeMutablePointer<Transport>, _ node: Int, _ now: Int64) {
    t.pointee.isWatched =
      t.pointee.sending || (t.pointee.paused && t.pointee.closing == .open)
    let look = lookAt(t.pointee.deadline, now)
    wheel.arm(node, at: t.pointee.isWatched ? min(look, now + plan.lookInterval) : look)
  }
}
