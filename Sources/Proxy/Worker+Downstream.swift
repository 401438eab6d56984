// A downstream connection's life: bytes in, bytes out, deadlines, and its end. What the bytes mean
// is in Worker+Request.swift and Worker+Response.swift; TLS in Worker+TLS.swift.

import Glibc
import HTTP1
import MillraceEngine
import Synchronization
import TLS
import Transport

extension Worker where E: ~Copyable {
  // MARK: Receiving

  /// Arms a receive, unless one is in flight or nothing is to be read.
  @inline(__always)
  mutating func armDownstream(_ d: DownstreamPointer) {
    Self.transport(d).pointee.arm(downstreamToken(.downstreamReceive, d.pointee.slot), &engine)
  }

  @inline(__always)
  static func transport(_ d: DownstreamPointer) -> UnsafeMutablePointer<Transport> {
    // SAFETY: the transport is the first stored property, and the slot does not move.
    UnsafeMutableRawPointer(d).assumingMemoryBound(to: Transport.self)
  }

  @inline(__always)
  mutating func downstreamReceived(_ slot: UInt32, _ completion: Completion) {
    let d = downstreams[slot]
    let t = Self.transport(d)
    t.pointee.received(completion)
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      downstreamBytes(d, slice)
    } else if completion.isTerminal && completion.result != -ECANCELED {
      downstreamEnded(d, completion.result)
    }
    if completion.isTerminal {
      if t.pointee.closing == .joining { reapDownstreams.append(slot) }
      armDownstream(d)
    }
  }

  @inline(__always)
  private mutating func downstreamBytes(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    let t = Self.transport(d)
    switch t.pointee.closing {
    case .open:
      if let channel = t.pointee.tls {
        decrypt(d, channel, slice)
      } else {
        downstreamInput(d, slice)
      }
      flushDownstream(d)
    case .lingering:
      d.pointee.lingered += slice.count
      if d.pointee.lingered > Watermark.lingerBytes { joinDownstream(d) }
    case .flushing, .resetting, .joining:
      break
    }
  }

  /// End of stream or an error of the receive. - Parameter result: 0 or a negated errno.
  mutating func downstreamEnded(_ d: DownstreamPointer, _ result: Int32) {
    let t = Self.transport(d)
    switch t.pointee.closing {
    case .lingering: return joinDownstream(d)
    case .flushing, .resetting, .joining: return
    case .open: break
    }
    if result < 0 { return downstreamWasReset(d) }
    settleEnd(d)
  }

  /// The client has gone: no response can reach it.
  mutating func downstreamWasReset(_ d: DownstreamPointer) {
    guard d.pointee.exchange >= 0 else { return closeDownstream(d, linger: false) }
    counters.downstreamAborts += 1
    abortExchange(exchanges[UInt32(d.pointee.exchange)], .downstreamReset)
  }

  /// What the end of the client's stream means, once all that came before it has been used as far as
  /// it can be: a client may shut its sending side down and still read the answers.
  mutating func settleEnd(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    // A TLS session that waits holds ciphertext from before the end; `resumeDecrypting` comes back.
    guard t.pointee.readClosed, t.pointee.closing == .open, !t.pointee.isStalled else { return }
    guard d.pointee.exchange >= 0 else {
      // Held and not a piece of a head: a request that waits for its turn (`resume`), or for room in
      // the audit log.
      if !t.pointee.unread.isEmpty && !d.pointee.isScanning { return }
      return closeDownstream(d, linger: false)
    }
    // Requests that are held came before the end: each is answered, then the connection closes.
    guard t.pointee.unread.isEmpty else { return }
    d.pointee.closeAfterResponse = true
    let x = exchanges[UInt32(d.pointee.exchange)]
    if !x.pointee.requestComplete {
      counters.downstreamAborts += 1
      abortExchange(x, .downstreamClosed)
    }
  }

  // MARK: Sending

  /// Sends what waits. Success is reported quietly when nothing waits for it: the response
  /// is whole, and the client will be heard of again.
  @inline(__always)
  mutating func flushDownstream(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard !t.pointee.unsent.isEmpty, !t.pointee.sending, t.pointee.closing != .joining
    else { return }
    var urgency = SendUrgency.awaited
    if d.pointee.exchange >= 0 && !d.pointee.closeAfterResponse
      && t.pointee.closing == .open && t.pointee.unread.isEmpty && !t.pointee.readClosed
      && !t.pointee.isStalled
    {
      let x = exchanges[UInt32(d.pointee.exchange)]
      if x.pointee.phase == .complete && x.pointee.heldBytes == 0 { urgency = .quiet }
    }
    // Without an exchange it is a handshake's turn: that has the head's time.
    if d.pointee.exchange >= 0 || t.pointee.closing != .open {
      t.pointee.deadline = engine.now + plan.listeners[Int(d.pointee.listener)].bodyTimeout
    }
    flush(
      t, urgency, downstreamToken(.downstreamSend, d.pointee.slot), node: Int(d.pointee.slot))
  }

  @inline(__always)
  mutating func downstreamSent(_ slot: UInt32, _ result: Int32) {
    let d = downstreams[slot]
    let t = Self.transport(d)
    t.pointee.sent()
    if t.pointee.closing == .joining {
      reapDownstreams.append(slot)
      return
    }
    guard result >= 0 else { return downstreamSendFailed(d) }
    if !t.pointee.unsent.isEmpty { flushDownstream(d) }
    if d.pointee.exchange >= 0 {
      responseProgressed(exchanges[UInt32(d.pointee.exchange)], d)
    }
    if let channel = t.pointee.tls, channel.pointee.isStalled { resumeDecrypting(d, channel) }
    if t.pointee.closing == .flushing { advanceClosing(d) }
  }

  private mutating func downstreamSendFailed(_ d: DownstreamPointer) {
    counters.downstreamAborts += 1
    if d.pointee.exchange >= 0 {
      abortExchange(exchanges[UInt32(d.pointee.exchange)], .downstreamReset)
    } else {
      abortDownstream(d)
    }
  }

  // MARK: Between requests

  /// The connection is ready for its next request.
  mutating func becomeIdle(_ d: DownstreamPointer, largeRequest: Bool) {
    let t = Self.transport(d)
    d.pointee.phase = .idle
    adoptPlan(d)
    t.pointee.deadline = engine.now + plan.listeners[Int(d.pointee.listener)].idleTimeout
    // An upload tends to be followed by another: the mode changes back after a small request.
    if !largeRequest && !d.pointee.isPaced { t.pointee.setMode(.stream, &engine) }
    if !t.pointee.unread.isEmpty || t.pointee.readClosed {
      // What is held is used up before more is read: each small request of a pipeline would else
      // let a large read in. One request per turn, so that no pipeline keeps the others waiting.
      pauseInput(d)
      resumable.append(d.pointee.slot)
      return
    }
    t.pointee.paused = false
    if drain != .serving { grantGrace(d) }
    armDownstream(d)
  }

  /// Uses held input that had to wait.
  mutating func resumeDownstream(_ slot: UInt32) {
    let d = downstreams[slot]
    let t = Self.transport(d)
    guard t.pointee.socket.isValid, t.pointee.closing == .open, d.pointee.exchange < 0 else {
      return
    }
    t.pointee.paused = false
    useHeldInput(d)
    if d.pointee.exchange < 0 && t.pointee.unread.isEmpty && drain != .serving { grantGrace(d) }
    flushDownstream(d)
    armDownstream(d)
  }

  // MARK: Deadlines

  mutating func downstreamDue(_ slot: UInt32, _ now: Int64) {
    let d = downstreams[slot]
    let t = Self.transport(d)
    if t.pointee.hasProgressed(engine) {
      // Of a handshake the head's time goes on: it is absolute.
      if d.pointee.exchange >= 0 || t.pointee.closing != .open {
        t.pointee.deadline = now + plan.listeners[Int(d.pointee.listener)].bodyTimeout
      }
    }
    if t.pointee.isDeserted(engine) { downstreamWasReset(d) }
    if now < t.pointee.deadline { return armAgain(t, Int(slot), now) }
    t.pointee.deadline = .max
    armAgain(t, Int(slot), now)
    downstreamTimedOut(d)
  }

  private mutating func downstreamTimedOut(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    if t.pointee.closing == .joining { return }
    if t.pointee.closing == .lingering { return joinDownstream(d) }
    // An idle connection that closes after its time is the normal end of one.
    let hasBegun = d.pointee.isScanning && d.pointee.phase == .head
    if d.pointee.exchange >= 0 || hasBegun || t.pointee.sending { counters.timeouts += 1 }
    if t.pointee.sending || t.pointee.closing == .flushing {
      if d.pointee.exchange >= 0 {
        abortExchange(exchanges[UInt32(d.pointee.exchange)], .downstreamTimeout)
      } else {
        abortDownstream(d)
      }
      return
    }
    if d.pointee.exchange >= 0 {
      let x = exchanges[UInt32(d.pointee.exchange)]
      guard !x.pointee.requestComplete else { return }
      if x.pointee.phase == .request {
        failExchange(x, .requestBodyTimeout)
        flushDownstream(d)
      } else {
        abortExchange(x, .requestBodyTimeout)
      }
      return
    }
    if hasBegun && t.pointee.isEstablished {
      // A request was begun: say why it ends.
      rejectRequest(d, status: 408, label: "head_timeout")
      flushDownstream(d)
    } else {
      closeDownstream(d, linger: false)
    }
  }

  // MARK: The end

  /// Ends a connection in order: what is to be sent leaves, TLS says goodbye, then it closes.
  /// - Parameter linger: true when the peer may still be sending; closing with unread input would
  ///   reset the connection and could destroy the answer before it is read (RFC 9112 9.6).
  mutating func closeDownstream(_ d: DownstreamPointer, linger: Bool) {
    let t = Self.transport(d)
    guard t.pointee.closing == .open else { return }
    t.pointee.beginFlushing()
    d.pointee.lingers = linger
    if let channel = t.pointee.tls {
      t.pointee.sendCloseNotify(channel, scratch: channels.scratch, &engine)
    }
    t.pointee.deadline = engine.now + plan.listeners[Int(d.pointee.listener)].bodyTimeout
    advanceClosing(d)
  }

  mutating func advanceClosing(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard t.pointee.closing == .flushing else { return }
    if !t.pointee.sending && !t.pointee.unsent.isEmpty {
      flush(
        t, .awaited, downstreamToken(.downstreamSend, d.pointee.slot), node: Int(d.pointee.slot))
    }
    if t.pointee.sending {
      engine.expediteSends()
      return
    }
    guard d.pointee.lingers, !t.pointee.readClosed else { return joinDownstream(d) }
    t.pointee.linger(&engine)
    d.pointee.lingered = 0
    d.pointee.phase = .linger
    t.pointee.deadline = engine.now + Watermark.lingerNanoseconds
    wheel.arm(Int(d.pointee.slot), at: lookAt(t.pointee.deadline, engine.now))
    armDownstream(d)
  }

  /// Ends a connection at once, so that the peer sees a reset.
  mutating func abortDownstream(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard t.pointee.closing != .joining else { return }
    joinDownstream(d, resets: true)
  }

  private mutating func joinDownstream(_ d: DownstreamPointer, resets: Bool = false) {
    let t = Self.transport(d)
    guard t.pointee.closing != .joining else { return }
    t.pointee.join(&engine, resets: resets)
    reapDownstreams.append(d.pointee.slot)
  }

  mutating func reapDownstream(_ slot: UInt32) {
    let d = downstreams[slot]
    let t = Self.transport(d)
    guard t.pointee.isJoined else { return }
    // TRAP: every way to `joining` has dropped or aborted the exchange before; what a peer sends
    // chooses the way.
    precondition(d.pointee.exchange < 0, "a connection closed under its exchange")
    t.pointee.close(&engine)
    channels.close(&t.pointee)
    wheel.disarm(Int(slot))
    leavePlan(d)
    d.deinitialize(count: 1)
    // The reap and resume lists may name a slot twice: a free slot is told by its socket.
    Self.transport(d).pointee.socket = .none
    downstreams.release(slot)
    connectionCount.pointee.wrappingSubtract(1, ordering: .relaxed)
    if drain == .serving { return }
    nextDrainSweep = engine.now
  }
}
