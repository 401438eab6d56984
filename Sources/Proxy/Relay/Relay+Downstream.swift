// What happens on a client's connection: completions, its end, and its deadline. What its bytes mean is
// in Relay+Request.swift; TLS in Relay+TLS.swift.

import Exchange
import Glibc
import HTTP1
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: Completions

  @inline(__always)
  mutating func downstreamReceived(_ slot: UInt32, _ completion: Completion) {
    let d = downstreams[slot]
    d.transport.pointee.received(completion)
    if completion.hasBytes {
      let slice = loop.engine.takeSlice(completion)
      downstreamBytes(d, slice)
    } else if completion.isTerminal && completion.result != -ECANCELED {
      downstreamEnded(d, completion.result)
    }
    guard completion.isTerminal else { return }
    downstreams.receiveEnded(d, &loop)
    if completion.result == -ECANCELED, let x = exchange(of: d), x.pointee.bulk.isDraining {
      beginPassing(x)
    }
  }

  @inline(__always)
  private mutating func downstreamBytes(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    switch d.transport.pointee.closing {
    case .open:
      if d.pointee.isHTTP2 { http2(d).pointee.received(slice.count, d.transport, &loop) }
      if let channel = d.transport.pointee.tls {
        decrypt(d, channel, slice)
      } else {
        input(d, slice)
      }
      flush(d)
    case .lingering: downstreams.drop(d, slice.count, &loop)
    case .flushing, .resetting, .joining: break
    }
  }

  /// End of stream or an error of the receive. - Parameter result: 0 or a negated errno.
  mutating func downstreamEnded(_ d: DownstreamPointer, _ result: Int32) {
    switch d.transport.pointee.closing {
    case .lingering: downstreams.join(d, &loop)
    case .flushing, .resetting, .joining: break
    case .open:
      if result < 0 { return downstreamWasReset(d) }
      settleEnd(d)
    }
  }

  /// The client has gone: no response can reach it.
  private mutating func downstreamWasReset(_ d: DownstreamPointer) {
    if d.pointee.isHTTP2 { return http2Gone(d) }
    guard let x = exchange(of: d) else { return downstreams.close(d, linger: false, &loop) }
    _ = perform(x, x.pointee.state.downstreamGone())
  }

  @inline(__always)
  mutating func downstreamSent(_ slot: UInt32, _ result: Int32) {
    let d = downstreams[slot]
    let t = d.transport
    guard downstreams.sendEnded(d) else { return }
    guard result >= 0 else { return downstreamSendFailed(d) }
    if d.pointee.isHTTP2 { return http2Sent(d) }
    // What TLS has said waits here; what is left of a response comes by the exchange.
    if !t.pointee.unsent.isEmpty { flush(d) }
    if let x = exchange(of: d) { responseTaken(x, d) }
    if let channel = t.pointee.tls, channel.pointee.isStalled { resumeDecrypting(d, channel) }
    if t.pointee.closing == .flushing { downstreams.advanceClosing(d, &loop) }
  }

  /// The client's transport took bytes: the next part leaves, the server is read again, or the exchange
  /// is over.
  @inline(__always)
  private mutating func responseTaken(_ x: ExchangePointer, _ d: DownstreamPointer) {
    // What is outstanding may be TLS's own: the response counts as taken when no more than that is.
    let given = Int(x.pointee.state.responseFlow.waiting) - x.pointee.held.count
    let taken = max(0, given - d.transport.pointee.outstanding)
    guard perform(x, x.pointee.state.responseTaken(taken)) else { return }
    flush(d)
    if !d.transport.pointee.sending && d.pointee.phase == .response
      && x.pointee.state.stage != .waiting
    {
      d.transport.pointee.deadline = .max
      if x.pointee.state.mode == .tunnel {
        noteTaken(x)
        endSides(x)
        if x.pointee.bulk.isDraining { beginPassing(x) }
      }
    }
  }

  mutating func downstreamSendFailed(_ d: DownstreamPointer) {
    if d.pointee.isHTTP2 { return http2Gone(d) }
    if let x = exchange(of: d) {
      _ = perform(x, x.pointee.state.downstreamGone())
    } else {
      loop.counters.downstreamAborts += 1
      downstreams.join(d, resets: true, &loop)
    }
  }

  // MARK: Input that had to wait

  /// Lets connections go on whose input had to wait for the turn's end.
  @inline(__always)
  mutating func resume() {
    let count = downstreams.resumableCount
    if count > 0 { resume(count) }
  }

  private mutating func resume(_ count: Int) {
    // Those that are added meanwhile wait for the next turn.
    for i in 0..<count { resumeDownstream(downstreams.resumable(at: i)) }
    downstreams.removeResumable(count)
  }

  private mutating func resumeDownstream(_ slot: UInt32) {
    let d = downstreams[slot]
    let t = d.transport
    guard t.pointee.socket.isValid, t.pointee.closing == .open, d.pointee.http1.exchange < 0
    else { return }
    if d.pointee.isHTTP2 { return resumeHTTP2(d) }
    if d.pointee.awaitsHello { return hello(d) }
    t.pointee.paused = false
    useUnread(d)
    if d.pointee.http1.exchange < 0 && t.pointee.unread.isEmpty
      && loop.isEnding(d.pointee.use)
    {
      downstreams.grantGrace(d, &loop)
    }
    flush(d)
    downstreams.arm(d, &loop)
  }

  // MARK: Deadlines

  mutating func downstreamDue(_ slot: UInt32) {
    let d = downstreams[slot]
    if d.pointee.isHTTP2 { return http2Due(d) }
    let t = d.transport
    if t.pointee.hasProgressed(loop.engine) {
      // Of a handshake the head's time goes on, and of a request that waits for the log the wait's.
      let isResponding = exchange(of: d)?.pointee.state.stage == .running
      if isResponding || t.pointee.closing != .open { setSendDeadline(d) }
      if let x = exchange(of: d), x.pointee.state.mode == .tunnel { noteTaken(x) }
    } else {
      endIdlePassage(to: d)
    }
    if t.pointee.isDeserted(loop.engine) { downstreamWasReset(d) }
    let isDue = loop.engine.now >= t.pointee.deadline
    if isDue { t.pointee.deadline = .max }
    loop.rearmTimer(t, Int(slot))
    if isDue { downstreamTimedOut(d) }
  }

  private mutating func downstreamTimedOut(_ d: DownstreamPointer) {
    let t = d.transport
    if t.pointee.closing == .joining { return }
    if t.pointee.closing == .lingering { return downstreams.join(d, &loop) }
    guard let x = exchange(of: d) else { return idleDownstreamTimedOut(d) }
    if x.pointee.state.stage == .waiting {
      _ = perform(x, x.pointee.state.roomTimedOut())
    } else if t.pointee.sending {
      // A tunnel that moves nothing has a time of its own.
      if isOpenTunnel(x) { return }
      _ = perform(x, x.pointee.state.sendTimedOut())
    } else {
      _ = perform(x, x.pointee.state.bodyTimedOut())
    }
    flush(d)
  }

  /// The same without an exchange.
  private mutating func idleDownstreamTimedOut(_ d: DownstreamPointer) {
    let t = d.transport
    // An idle connection that closes after its time is the normal end of one.
    let hasBegun = d.pointee.http1.isScanning && d.pointee.phase == .head
    if t.pointee.sending || t.pointee.closing == .flushing {
      if hasBegun || t.pointee.sending { loop.counters.timeouts += 1 }
      downstreams.join(d, resets: true, &loop)
    } else if hasBegun && t.pointee.isEstablished {
      // A request was begun: say why it ends.
      reject(d, .headTimeout, status: 408, label: "head_timeout")
    } else {
      if hasBegun { loop.counters.timeouts += 1 }
      downstreams.close(d, linger: false, &loop)
    }
  }

  // MARK: The drain

  /// A connection from a client learns that the worker drains: the response that is still to begin says
  /// that it is the last one, an idle connection may bring one more request for a while.
  mutating func drainBegan(_ d: DownstreamPointer) {
    if d.pointee.isHTTP2 { return http2DrainBegan(d) }
    if let x = exchange(of: d) {
      let isWaiting = x.pointee.state.stage == .waiting
      _ = perform(x, x.pointee.state.drainBegan())
      // A request that waits for room in the log is not owed more time than one that is still to come.
      if isWaiting { downstreams.grantGrace(d, &loop) }
    } else {
      downstreams.grantGrace(d, &loop)
    }
  }

  /// The time of all connections is over. - Parameter sparesTunnels: that of tunnels is not.
  mutating func drainEnded(_ d: DownstreamPointer, sparesTunnels: Bool) {
    if d.pointee.isHTTP2 { return http2DrainEnded(d, sparesTunnels: sparesTunnels) }
    if let x = exchange(of: d) {
      if sparesTunnels && x.pointee.state.isTunnel { return }
      _ = perform(x, x.pointee.state.drainDeadline())
    } else {
      downstreams.join(d, resets: true, &loop)
    }
  }
}
