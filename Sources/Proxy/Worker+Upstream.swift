// A connection to a server while it works: request out, response in, deadlines. How it is got and
// let go is Worker+UpstreamPool.swift's.

import Configuration
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  @inline(__always)
  static func transport(_ u: UpstreamPointer) -> UnsafeMutablePointer<Transport> {
    // SAFETY: the transport is the first stored property, and the slot does not move.
    UnsafeMutableRawPointer(u).assumingMemoryBound(to: Transport.self)
  }

  // MARK: Sending and receiving

  @inline(__always)
  mutating func armUpstream(_ u: UpstreamPointer) {
    Self.transport(u).pointee.arm(upstreamToken(.upstreamReceive, u.pointee.slot), &engine)
  }

  @inline(__always)
  mutating func flushUpstream(_ u: UpstreamPointer) {
    let t = Self.transport(u)
    guard u.pointee.phase == .busy, t.pointee.closing == .open else { return }
    let timeout = plan.upstreams[Int(u.pointee.group)].responseTimeout
    var urgency = SendUrgency.awaited
    if u.pointee.exchange >= 0 {
      let x = exchanges[UInt32(u.pointee.exchange)]
      if x.pointee.responseBlocked {
        // It is the client that is slow: the server owes nothing.
      } else if x.pointee.requestComplete {
        t.pointee.deadline = engine.now + timeout
        if !t.pointee.unsent.isEmpty && x.pointee.phase == .request {
          keepReplay(x, t)
          urgency = .quiet
        }
      } else {
        t.pointee.deadline =
          !t.pointee.unsent.isEmpty || t.pointee.sending
          ? engine.now + timeout : .max
      }
    }
    flush(
      t, urgency, upstreamToken(.upstreamSend, u.pointee.slot),
      node: upstreamTimerBase + Int(u.pointee.slot))
  }

  /// Keeps a copy of a request that may be sent again: whole, small, and idempotent
  /// (RFC 9110 9.2.2).
  @inline(__always)
  mutating func keepReplay(
    _ x: ExchangePointer, _ t: UnsafeMutablePointer<Transport>
  ) {
    guard !t.pointee.sending, x.pointee.replayLength == 0, x.pointee.attemptsLeft > 0,
      x.pointee.method.isIdempotent, t.pointee.unsent.count <= ExchangeScratch.replay,
      // A chunked request that has begun to leave cannot be told from a whole one by its length.
      x.pointee.requestFraming != .chunked
    else { return }
    guard let frame = t.pointee.unsent.take() else { return }
    var at = replayMemory(x)
    let segments = frame.segmentCount
    // A frame that is only the rest of a request (its beginning has left) cannot be replayed; a
    // whole one has its head before its content.
    let whole = frame.count > Int(x.pointee.requestBytes)
    if whole {
      for i in 0..<segments {
        let segment = frame.segment(i)
        // TRAP: no segment of a frame is empty.
        memcpy(at, segment.baseAddress!, segment.count)
        at += segment.count
      }
      x.pointee.replayLength = frame.count
    }
    t.pointee.unsent.put(frame)
  }

  @inline(__always)
  func replayMemory(_ x: ExchangePointer) -> UnsafeMutableRawPointer {
    scratch + Int(x.pointee.slot) * ExchangeScratch.bytes + ExchangeScratch.requestPart
  }

  @inline(__always)
  mutating func upstreamSent(_ slot: UInt32, _ result: Int32) {
    let u = upstreams[slot]
    let t = Self.transport(u)
    t.pointee.sent()
    if t.pointee.closing == .joining {
      reapUpstreams.append(slot)
      return
    }
    if result < 0 { return upstreamSendFailed(u) }
    if !t.pointee.unsent.isEmpty { flushUpstream(u) }
    if u.pointee.exchange >= 0 {
      let x = exchanges[UInt32(u.pointee.exchange)]
      if !x.pointee.requestComplete && !t.pointee.sending && x.pointee.phase == .request {
        t.pointee.deadline = .max
      }
      if x.pointee.requestBlocked && t.pointee.outstanding <= Watermark.low {
        requestUnblocked(x)
      }
    }
  }

  /// The server takes no more of the request. It may have answered already: what it sent is read
  /// first; its end decides.
  mutating func upstreamSendFailed(_ u: UpstreamPointer) {
    let t = Self.transport(u)
    t.pointee.unsent.clear()
    // A paused one is read again when the client has taken what it has.
    if !t.pointee.receiving && !t.pointee.paused && t.pointee.unread.isEmpty {
      upstreamEnded(u, -EPIPE)
    }
  }

  @inline(__always)
  mutating func upstreamReceived(_ slot: UInt32, _ completion: Completion) {
    let u = upstreams[slot]
    let t = Self.transport(u)
    t.pointee.received(completion)
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      if t.pointee.closing == .open { upstreamBytes(u, slice) }
    } else if completion.isTerminal && completion.result != -ECANCELED {
      // What is held for a slow client is used first; half a head will never be whole.
      if t.pointee.closing == .open && (t.pointee.unread.isEmpty || u.pointee.isScanning) {
        upstreamEnded(u, completion.result)
      }
    }
    if completion.isTerminal {
      if t.pointee.closing == .joining { reapUpstreams.append(slot) }
      armUpstream(u)
    }
  }

  // MARK: Deadlines

  mutating func upstreamDue(_ slot: UInt32, _ now: Int64) {
    let u = upstreams[slot]
    let t = Self.transport(u)
    let node = upstreamTimerBase + Int(slot)
    // Without a deadline it is the client that is slow: the server owes nothing.
    if t.pointee.sending && t.pointee.deadline != .max && t.pointee.hasProgressed(engine) {
      t.pointee.deadline = now + plan.upstreams[Int(u.pointee.group)].responseTimeout
    }
    if now < t.pointee.deadline { return armAgain(t, node, now) }
    t.pointee.deadline = .max
    armAgain(t, node, now)
    if t.pointee.closing != .open { return }
    switch u.pointee.phase {
    case .connecting:
      counters.timeouts += 1
      // The connection is closed once its connect has been joined.
      connectTimedOut(u)
    case .idle:
      closeUpstream(u)
    case .assigned:
      // It has no deadline before its request has left.
      break
    case .busy:
      counters.timeouts += 1
      counters.upstreamFailures += 1
      guard u.pointee.exchange >= 0 else { return closeUpstream(u) }
      let x = exchanges[UInt32(u.pointee.exchange)]
      let d = downstreams[x.pointee.downstream]
      failExchange(x, .responseTimeout)
      flushDownstream(d)
    }
  }

  mutating func connectTimedOut(_ u: UpstreamPointer) {
    Self.transport(u).pointee.cancelConnect(&engine)
    connectFailed(u, .connectTimeout)
  }
}
