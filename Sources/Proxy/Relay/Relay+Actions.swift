// What the state of an exchange asks for, done at once and in the order of `Actions.Effects`. An effect
// that fails is reported to the state, and what that asks for takes the place of the rest.

import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Actions.Effects {
  fileprivate static var counting: Actions.Effects {
    .countRequest | .count | .countTimeout | .countRetry | .countStale | .countAuditReject | .log
  }
  fileprivate static var recording: Actions.Effects {
    .recordBegin | .recordExchange | .recordEnd | .recordAbort
  }
  /// Those of the two directions.
  fileprivate static var movement: Actions.Effects {
    .pauseRequest | .resumeRequest | .pauseResponse | .resumeResponse | .halfCloseUpstream
      | .halfCloseDownstream
  }
}

extension Relay where E: ~Copyable {
  /// Does what the state asks for. - Returns: whether the exchange is still there.
  @inline(__always)
  mutating func perform(_ x: ExchangePointer, _ actions: Actions) -> Bool {
    actions.isEmpty || execute(x, actions)
  }

  private mutating func execute(_ x: ExchangePointer, _ actions: Actions) -> Bool {
    if actions.has(.counting) { count(x, actions) }
    // Before anything is written that may say so.
    if actions.has(.last) { downstreams.announceLast(x.pointee.downstream) }
    if actions.has(.claimRefusalRoom) { return perform(x, claimRefusalRoom(x)) }
    if actions.has(.releaseUpstream | .attach) {
      guard changeUpstream(x, actions) else { return false }
    }
    if actions.has(.discardResponse) { x.pointee.held.clear() }
    if actions.has(.unhold) { audit.endHold(x.pointee.slot) }
    if actions.has(.reply) { return reply(x, actions) }
    if actions.has(.recording) { record(x, actions) }
    if actions.has(.hold) && !hold(x) {
      // What else was asked for in this turn is still to be done.
      if actions.has(.pauseResponse) { pauseResponse(x) }
      return perform(x, x.pointee.state.holdRefused(bulk: isReadInBulk(x)))
    }
    if actions.has(.send) {
      guard pushHeld(x) else { return false }
    }
    if actions.has(.movement) {
      guard move(x, actions) else { return false }
    }
    guard actions.isLast else { return true }
    end(x, actions)
    return false
  }

  /// Pauses or resumes one of the two sides, or ends it in a tunnel.
  private mutating func move(_ x: ExchangePointer, _ actions: Actions) -> Bool {
    if actions.has(.halfCloseUpstream | .halfCloseDownstream) { endSides(x) }
    if actions.has(.pauseRequest) { downstreams.pause(x.pointee.downstream, &loop) }
    if actions.has(.resumeRequest) {
      guard resumeRequest(x) else { return false }
    }
    // What was sent before may have made room again.
    if actions.has(.pauseResponse), x.pointee.state.responseFlow.isPaused { pauseResponse(x) }
    if actions.has(.resumeResponse) { return resumeResponse(x) }
    return true
  }

  private mutating func pauseResponse(_ x: ExchangePointer) {
    guard let u = upstream(of: x) else { return }
    upstreams.pause(u, &loop)
    // The time of a tunnel goes on.
    if x.pointee.state.mode == .tunnel { setResponseDeadline(u, x) }
  }

  func isReadInBulk(_ x: ExchangePointer) -> Bool {
    guard let u = upstream(of: x) else { return false }
    return u.transport.pointee.mode == .once
  }

  // MARK: The upstream connection

  /// Lets the exchange's connection go, and gets another one where that is asked for.
  @inline(__always)
  private mutating func changeUpstream(_ x: ExchangePointer, _ actions: Actions) -> Bool {
    if actions.has(.carryUnsent), let u = upstream(of: x),
      let frame = u.pointee.outgoing.take()
    {
      carried.put(frame)
    }
    if actions.has(.releaseUpstream), let u = upstream(of: x) {
      x.pointee.upstream = -1
      if actions.has(.keepUpstream) {
        upstreams.release(
          u, keep: true, isLarge: x.pointee.state.responseBytes > Watermark.largeBody, &loop)
      } else if u.pointee.kind == .stream && x.pointee.state.mode == .tunnel {
        upstreams.releaseTunnel(u, isCut: actions.has(.cut), &loop)
      } else if actions.has(.cut) && x.pointee.state.mode == .tunnel {
        upstreams.abort(u, &loop)
      } else {
        upstreams.release(u, keep: false, isLarge: false, &loop)
      }
    }
    guard actions.has(.attach) else { return true }
    return attachAgain(x, actions)
  }

  private mutating func attachAgain(_ x: ExchangePointer, _ actions: Actions) -> Bool {
    if actions.has(.carryCopy) && x.pointee.copyLength > 0 {
      _ = carried.append(
        UnsafeRawBufferPointer(start: exchanges.copy(x), count: x.pointee.copyLength))
      x.pointee.copyLength = 0
    }
    let next = attach(
      x, avoid: actions.has(.avoidServer) ? x.pointee.server : -1,
      anew: actions.has(.newConnection))
    if actions.has(.carryCopy), x.pointee.record.head == nil, let u = upstream(of: x) {
      x.pointee.state.requestWritten(u.pointee.outgoing.count)
    }
    return perform(x, next)
  }

  // MARK: The response

  /// Writes a response in the proxy's own name: a short text with the reason.
  private mutating func reply(_ x: ExchangePointer, _ actions: Actions) -> Bool {
    guard loop.prepare(&x.pointee.held) else {
      return perform(x, x.pointee.state.outputExhausted())
    }
    let before = x.pointee.held.count
    var content: Int?
    if x.pointee.repliesInHTTP2 {
      let d = downstream(of: x)
      let isServed =
        loop.plan.listeners[Int(d.pointee.listener)].servesHTTP2 && !d.pointee.isTLS
      let refusal = isServed ? HTTP1Server.http2PrefaceError : HTTP1Server.http2Refusal
      content = x.pointee.held.append(refusal) ? 0 : nil
    } else {
      content = downstreams.reply(
        x.pointee.downstream, status: actions.status,
        label: x.pointee.replyLabel ?? Failure(actions.failure).label,
        // 200 is the answer to OPTIONS for this hop.
        grpc: x.pointee.request.http2.isGRPC && actions.status >= 400
          ? GRPCStatus(actions.failure, status: actions.status) : nil,
        &x.pointee.request, isHead: x.pointee.method == .head,
        into: &x.pointee.held, &loop)
    }
    guard let content else { return perform(x, x.pointee.state.outputExhausted()) }
    return perform(
      x,
      x.pointee.state.replyWritten(content: content, buffered: x.pointee.held.count - before))
  }

  /// Holds an incomplete response for its end. - Returns: false if the worker holds too much.
  private mutating func hold(_ x: ExchangePointer) -> Bool {
    // What waits for a slow server pins no hot buffer while they are few.
    if loop.engine.isLowOnBuffers { x.pointee.held.evacuate() }
    if audit.hold(x.pointee.slot, bytes: x.pointee.held.count, now: loop.engine.now) {
      return true
    }
    loop.counters.holdsRefused += 1
    return false
  }

  // MARK: The end

  /// Ends an exchange; what becomes of its client's connection is the protocol's.
  private mutating func end(_ x: ExchangePointer, _ actions: Actions) {
    assert(x.pointee.upstream < 0, "an exchange ended with its upstream connection")
    let stream = x.pointee.downstream
    let isLarge = x.pointee.state.requestBytes > Watermark.largeBody
    if actions.has(.releaseRoom) { audit.release(&x.pointee.record.reservation) }
    if !actions.has(.close) { countEnd(x) }
    tellEnd(x, actions)
    if x.pointee.state.mode == .tunnel { countTunnelEnd(x, isCut: actions.has(.cut)) }
    if actions.has(.cut) {
      let isPeers =
        actions.failure == .downstreamTimeout || actions.failure == .drainDeadline
        || actions.failure == .tunnelTimeout
      downstreams.reset(stream, &x.pointee.request, isPeers: isPeers, &loop)
    } else if actions.has(.close) {
      downstreams.dismiss(stream, &x.pointee.request, &loop)
    } else {
      loop.counters.responses += 1
      // Not replies of our own, and not tunnels. Servers of HTTP/2 answer several requests together as it is.
      if x.pointee.request.isHTTP2 && !x.pointee.isFramed && x.pointee.times.firstByte > 0
        && x.pointee.state.mode != .tunnel
      {
        let times = x.pointee.times
        loop.coalescing.noteEnd(
          after: loop.engine.now &- times.started, waited: loop.coalescing.waited &- times.waited)
      } else {
        loop.coalescing.noteOther()
      }
      downstreams.finish(
        stream, &x.pointee.request, linger: actions.has(.linger), isLarge: isLarge, &loop)
    }
    exchanges.end(x)
  }
}
