// Sending on both sides, with the deadline that goes with it: what is waited for is known by the
// exchange. A tunnel's time is its server's connection's deadline: whatever moves sets it anew.
//
// TRAP: (file) no segment of a frame is empty.

import Exchange
import Glibc
import HTTP1
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: To the client

  /// Sends what waits; over HTTP/2 at the turn's end at the latest. Success is reported quietly when nothing waits for it: the
  /// response is whole, and the client will be heard of again.
  @inline(__always)
  mutating func flush(_ d: DownstreamPointer) {
    if d.pointee.isHTTP2 { return downstreams.noteOutput(d) }
    let t = d.transport
    guard !t.pointee.unsent.isEmpty, t.pointee.closing != .joining else { return }
    guard !t.pointee.sending else { return loop.coalescing.hurry() }
    var urgency = SendUrgency.awaited
    if let x = exchange(of: d) {
      if x.pointee.state.isLeaving && !d.pointee.http1.closeAfterResponse
        && t.pointee.closing == .open && t.pointee.unread.isEmpty && !t.pointee.readClosed
        && !t.pointee.isStalled
      {
        urgency = .quiet
      }
      // A request that waits for the log has its own time; what leaves meanwhile is TLS's.
      if x.pointee.state.stage != .waiting { setSendDeadline(d) }
    } else if t.pointee.closing != .open {
      // Without an exchange it is a handshake's turn otherwise: that has the head's time.
      setSendDeadline(d)
    }
    downstreams.send(d, urgency, &loop)
  }

  /// Gives what is held to the client's connection, if that has room.
  @inline(__always)
  mutating func pushHeld(_ x: ExchangePointer) -> Bool {
    let count = x.pointee.held.count
    guard count > 0 else { return true }
    switch downstreams.send(
      x.pointee.downstream, &x.pointee.held, &x.pointee.request, &loop)
    {
    case .given(let wire):
      x.pointee.state.responseLeft(count, as: wire)
      guard x.pointee.request.isHTTP2 else { return true }
      return perform(x, x.pointee.state.responseHandedOver(wire))
    case .busy: return true
    case .failed(let kind): return perform(x, x.pointee.state.downstreamGone(kind))
    }
  }

  @inline(__always)
  func setSendDeadline(_ d: DownstreamPointer) {
    d.transport.pointee.deadline =
      loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].bodyTimeout
  }

  // MARK: To the server

  /// Sends what waits, once the connection is there.
  @inline(__always)
  mutating func flush(_ u: UpstreamPointer) {
    let t = u.transport
    guard u.pointee.phase == .busy, t.pointee.closing == .open else { return }
    var urgency = SendUrgency.awaited
    if let x = exchange(of: u) {
      setResponseDeadline(u, x)
      // Success of a whole request is quiet: the response tells it.
      if x.pointee.state.request == .whole && x.pointee.state.response < .relaying
        && !u.pointee.outgoing.isEmpty
      {
        if x.pointee.state.wantsCopy { copyRequest(x, u) }
        urgency = .quiet
      }
      let count = u.pointee.outgoing.count
      if case .given(let wire) = upstreams.push(u, &loop) {
        x.pointee.state.requestLeft(count, as: wire)
      }
    }
    upstreams.send(u, urgency, &loop)
  }

  /// The server's time runs while it owes something; a tunnel's always.
  @inline(__always)
  func setResponseDeadline(_ u: UpstreamPointer, _ x: ExchangePointer) {
    u.transport.pointee.deadline =
      x.pointee.state.awaitsServer
      ? loop.engine.now + loop.plan.upstreams[Int(u.pointee.group)].responseTimeout
      : deadlineOfTunnel(u, x)
  }

  /// Keeps a copy of a request that may be sent again: whole, small, and idempotent
  /// (RFC 9110 9.2.2).
  @inline(__always)
  private func copyRequest(_ x: ExchangePointer, _ u: UpstreamPointer) {
    // Its head is kept, and is all of it.
    if keepsHead(x) && x.pointee.record.head != nil { return x.pointee.state.requestCopied() }
    guard !u.transport.pointee.sending, u.pointee.outgoing.count <= Exchanges.copyBytes,
      // A chunked request that has begun to leave cannot be told from a whole one by its length.
      u.pointee.kind == .stream
        ? !u.pointee.http2.hasLeft : x.pointee.request.framing != .chunked,
      let frame = u.pointee.outgoing.take()
    else { return }
    // A frame that is only the rest of a request (its beginning has left) is no copy of it; a whole
    // one has its head before its content.
    if frame.count > Int(x.pointee.state.requestBytes) {
      var at = exchanges.copy(x)
      let segments = frame.segmentCount
      for i in 0..<segments {
        let segment = frame.segment(i)
        memcpy(at, segment.baseAddress!, segment.count)
        at += segment.count
      }
      x.pointee.copyLength = frame.count
      x.pointee.state.requestCopied()
    }
    u.pointee.outgoing.put(frame)
  }

  // MARK: Tunnels

  /// Ends this proxy's side towards whichever peer has got all that the other one sent.
  @inline(never)
  mutating func endSides(_ x: ExchangePointer) {
    if x.pointee.state.request == .whole, let u = upstream(of: x) {
      flush(u)
      upstreams.endOwnSide(u, &loop)
    }
    guard x.pointee.state.response == .whole, x.pointee.held.isEmpty else { return }
    downstreams.endOwnSide(downstream(of: x), &loop)
  }

  /// Whether a tunnel has its server's connection, whose deadline is its own.
  func isOpenTunnel(_ x: ExchangePointer) -> Bool {
    x.pointee.state.mode == .tunnel && x.pointee.upstream >= 0
  }

  /// When a tunnel has moved nothing for too long; Int64.max for what is none.
  @inline(__always)
  func deadlineOfTunnel(_ u: UpstreamPointer, _ x: ExchangePointer) -> Int64 {
    x.pointee.state.mode == .tunnel
      ? loop.engine.now + loop.plan.upstreams[Int(u.pointee.group)].tunnelTimeout : .max
  }

  /// The client has taken something, however little: its tunnel is not idle.
  func noteTaken(_ x: ExchangePointer) {
    if let u = upstream(of: x) { setResponseDeadline(u, x) }
  }
}
