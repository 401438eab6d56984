// The connections of each server that may take a request: the idle ones, the most recently used first,
// which is the likeliest to be alive; and those of HTTP/2, which are shared.

import Glibc
import MillraceEngine
import Transport

extension Upstreams {
  /// The most recently used idle connection whose time has not passed. The timer wheel closes those
  /// whose time has, but not to the moment.
  @inline(__always)
  mutating func takeIdle<E: Engine & ~Copyable>(
    _ state: UnsafeMutablePointer<ServerState>, _ loop: inout Loop<E>
  ) -> UpstreamPointer? {
    while state.pointee.idleHead >= 0 {
      let u = self[UInt32(state.pointee.idleHead)]
      if u.transport.pointee.deadline > loop.engine.now {
        unlinkIdle(u)
        return u
      }
      close(u, &loop)
    }
    return nil
  }

  mutating func linkIdle(_ u: UpstreamPointer) {
    let state = server(of: u)
    let slot = Int32(u.pointee.slot)
    u.pointee.idlePrevious = -1
    u.pointee.idleNext = state.pointee.idleHead
    if state.pointee.idleHead >= 0 {
      self[UInt32(state.pointee.idleHead)].pointee.idlePrevious = slot
    } else {
      state.pointee.idleTail = slot
    }
    state.pointee.idleHead = slot
    pools.countIdle(state, 1)
  }

  mutating func unlinkIdle(_ u: UpstreamPointer) {
    let state = server(of: u)
    let next = u.pointee.idleNext
    let previous = u.pointee.idlePrevious
    if next >= 0 {
      self[UInt32(next)].pointee.idlePrevious = previous
    } else {
      state.pointee.idleTail = previous
    }
    if previous >= 0 {
      self[UInt32(previous)].pointee.idleNext = next
    } else {
      state.pointee.idleHead = next
    }
    u.pointee.idleNext = -1
    u.pointee.idlePrevious = -1
    pools.countIdle(state, -1)
  }

  @inline(__always)
  func isLinked(_ u: UpstreamPointer) -> Bool {
    u.pointee.idlePrevious >= 0 || u.pointee.idleNext >= 0
      || server(of: u).pointee.idleHead == Int32(u.pointee.slot)
  }

  /// Settles the idle connections of a plan that was replaced: those to servers that stay are kept.
  mutating func adoptIdle<E: Engine & ~Copyable>(of place: Int, _ loop: inout Loop<E>) {
    var unwanted: [UInt32] = []
    for state in pools.states(place) {
      var slot = state.pointee.idleHead
      while slot >= 0 {
        let u = self[UInt32(slot)]
        if state.pointee.group >= 0 {
          u.pointee.group = state.pointee.group
          u.pointee.server = state.pointee.place
        } else {
          unwanted.append(u.pointee.slot)
        }
        slot = u.pointee.idleNext
      }
    }
    for slot in unwanted { close(self[slot], &loop) }
  }

  /// Closes the idle connections of servers that an operator has taken out for maintenance.
  mutating func closeIdleOfMaintained<E: Engine & ~Copyable>(_ loop: inout Loop<E>) {
    for state in pools.states(loop.plan.window) where state.pointee.group >= 0 {
      let upstream = loop.plan.upstreams + Int(state.pointee.group)
      let server = upstream.pointee.servers[Int(state.pointee.place)]
      guard server.admission.admission == .maintenance else { continue }
      while state.pointee.idleHead >= 0 { close(self[UInt32(state.pointee.idleHead)], &loop) }
      // Shared ones end with their last stream.
      var slot = state.pointee.sharedHead
      while slot >= 0 {
        let u = self[UInt32(slot)]
        slot = u.pointee.idleNext
        unlinkShared(u)
        retire(u, &loop)
      }
    }
  }

  /// Learns from a server that closed a connection before it was sent another request, or instead of
  /// answering one. - Parameter moment: when it was idle last.
  mutating func noteIdleEnd(_ u: UpstreamPointer, at moment: Int64, now: Int64) {
    guard u.pointee.isReused else { return }
    let since = u.pointee.idleSince
    server(of: u).pointee.noteIdleEnd(age: moment - since, since: since, now: now)
  }
}

extension Upstreams {
  // MARK: The shared connections of a server

  /// Makes a connection known to those that ask for its server. From here on it is of the newest plan that has
  /// the server, as `adoptShared` keeps it: it may outlive the exchange that it was made for, and so the plan
  /// of that. Of a server that no plan has any more it ends with its last stream.
  mutating func linkShared(_ u: UpstreamPointer) {
    let state = server(of: u)
    guard state.pointee.group >= 0 else {
      http2[u.pointee.slot].pointee.isEnding = true
      return
    }
    u.pointee.group = state.pointee.group
    u.pointee.server = state.pointee.place
    let slot = Int32(u.pointee.slot)
    u.pointee.idlePrevious = -1
    u.pointee.idleNext = state.pointee.sharedHead
    if state.pointee.sharedHead >= 0 {
      self[UInt32(state.pointee.sharedHead)].pointee.idlePrevious = slot
    }
    state.pointee.sharedHead = slot
    u.pointee.isShared = true
  }

  mutating func unlinkShared(_ u: UpstreamPointer) {
    guard u.pointee.isShared else { return }
    u.pointee.isShared = false
    let next = u.pointee.idleNext
    let previous = u.pointee.idlePrevious
    if next >= 0 { self[UInt32(next)].pointee.idlePrevious = previous }
    if previous >= 0 {
      self[UInt32(previous)].pointee.idleNext = next
    } else {
      server(of: u).pointee.sharedHead = next
    }
    u.pointee.idleNext = -1
    u.pointee.idlePrevious = -1
  }
}
