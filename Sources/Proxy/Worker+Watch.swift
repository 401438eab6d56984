// Connections that are looked at more often than their deadlines ask for: those with a send in flight,
// whose peer may have stopped taking it, and those of which nothing is read for a while, whose peer
// may have reset them. The first look makes an entry in the timer wheel; a connection that goes on
// writing costs one such entry per look, not per send.

import Glibc
import MillraceEngine

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

  /// Whether the peer has taken anything of the send in flight since the last look: a slow reader is
  /// not a dead one. Before the first look nothing is known, which counts as progress; looks come
  /// often, so that a peer which never took a byte has hardly more than its time.
  func hasProgressed(_ t: UnsafeMutablePointer<Transport>) -> Bool {
    let progress = engine.sendProgress(t.pointee.socket)
    guard progress > t.pointee.progressSeen else { return false }
    t.pointee.progressSeen = progress
    return true
  }

  /// Whether the peer has reset a connection of which nothing is read: its receive would have told.
  func isDeserted(_ t: UnsafeMutablePointer<Transport>) -> Bool {
    t.pointee.paused && !t.pointee.receiving && t.pointee.closing == .open
      && engine.isBroken(t.pointee.socket)
  }
}
