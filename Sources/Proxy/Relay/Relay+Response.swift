// From a server's bytes to a response: heads parsed and written anew into what is held for the client,
// content moved behind them, and the end of the server's stream. Each function says whether the
// exchange is still there; what has become of its response, its state knows.

import Exchange
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import Transport

/// Room for another piece of content.
enum ResponseRoom {
  case some, none
  /// Making room has ended the exchange.
  case ended
}

extension Relay where E: ~Copyable {
  // MARK: Bytes

  /// New bytes from the server of an exchange.
  @inline(__always)
  mutating func response(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ slice: consuming BufferSlice
  ) -> Bool {
    let t = u.transport
    if t.pointee.unread.isEmpty { return use(u, x, slice) }
    t.pointee.unread.append(slice.bytes, &loop.engine)
    return useUnread(u, x)
  }

  private mutating func useUnread(_ u: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    let t = u.transport
    guard !t.pointee.unread.isEmpty, t.pointee.closing == .open,
      !x.pointee.state.responseFlow.isPaused
    else { return true }
    if u.pointee.isScanning {
      switch upstreams.http1.search(u) {
      case .incomplete: return true
      case .rejected(let rejection): return malformed(x, rejection.label)
      case .found: break
      }
    }
    guard let slice = t.pointee.unread.takeAll() else { return true }
    return use(u, x, slice)
  }

  /// The loop over one piece of the response. Nothing is unread when it is entered.
  private mutating func use(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ input: consuming BufferSlice
  ) -> Bool {
    var slice = input
    setResponseDeadline(u, x)
    while x.pointee.state.response < .relaying {
      switch upstreams.http1.parse(slice.bytes) {
      case .complete(let length):
        guard takeHead(u, x, slice.bytes) else { return false }
        slice.dropPrefix(length)
        if slice.count == 0 && x.pointee.state.response < .relaying {
          return responseTurnEnded(u, x)
        }
      case .incomplete: return keepIncompleteHead(u, x, slice)
      case .rejected(let rejection): return malformed(x, rejection.label)
      }
    }
    return relayContent(u, x, slice)
  }

  private mutating func keepIncompleteHead(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ slice: consuming BufferSlice
  ) -> Bool {
    x.pointee.state.responseBegan()
    if let rejection = upstreams.http1.keepIncompleteHead(u, slice, &loop) {
      return malformed(x, rejection.label)
    }
    // An interim response may have come before it.
    return responseTurnEnded(u, x)
  }

  mutating func malformed(_ x: ExchangePointer, _ label: StaticString) -> Bool {
    loop.logger.debug("malformed upstream response reason=\(label)")
    if let u = upstream(of: x) { upstreams.refuseMalformed(u) }
    return perform(x, x.pointee.state.fail(.upstreamMalformed))
  }

  // MARK: Heads

  /// Takes an interim or final head.
  private mutating func takeHead(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    guard loop.prepare(&x.pointee.held) else {
      return perform(x, x.pointee.state.fail(.resourcesExhausted))
    }
    let status = upstreams.http1.head.status
    if upstreams.http1.head.isInterim {
      if status == 101 {
        return switchProtocols(u, x, upstreams.http1.head.view(in: bytes))
      }
      return takeInterimHead(x, upstreams.http1.head.view(in: bytes))
    }
    if x.pointee.request.http2.isConnect && status < 300 {
      // To the client it would accept a tunnel that there is not (RFC 8441 5).
      return perform(x, x.pointee.state.fail(.upstreamUpgrade))
    }
    x.pointee.times.firstByte = loop.engine.now
    let framing = upstreams.http1.head.framing(for: x.pointee.method)
    upstreams.http1.begin(&x.pointee.response, framing, bytes)
    let response = upstreams.http1.head.view(in: bytes)
    if let line = response.first(.keepAlive) {
      u.pointee.keepAlive = KeepAlive.idleTime(response.slice(line.value))
    }
    if case .length(let size) = framing, size > Watermark.largeBody {
      u.transport.pointee.setMode(.once, &loop.engine)
    }
    return beginResponse(x, response, framing)
  }

  /// Writes the head of a final response, and says how its content leaves.
  @inline(__always)
  mutating func beginResponse(
    _ x: ExchangePointer, _ response: ResponseView, _ framing: BodyFraming
  ) -> Bool {
    let status = response.status
    downstreams.prepareContent(x.pointee.downstream, framing, &x.pointee.request)
    let mayBeHeld = audit.holdsResponses && ResponseHold.mayHold(response, framing)
    guard perform(x, x.pointee.state.responseHead(status, mayBeHeld: mayBeHeld)) else {
      return false
    }
    let before = x.pointee.held.count
    guard
      downstreams.respond(
        x.pointee.downstream, response, &x.pointee.request, method: x.pointee.method,
        into: &x.pointee.held, &loop)
    else { return malformed(x, "head_too_large") }
    x.pointee.state.responseWritten(x.pointee.held.count - before)
    return true
  }

  mutating func takeInterimHead(_ x: ExchangePointer, _ response: ResponseView) -> Bool {
    let actions = x.pointee.state.interimHead(response.status)
    guard actions.has(.writeInterim) else { return perform(x, actions) }
    if !x.pointee.held.hasRoomForChunk() && x.pointee.state.mayLeave {
      guard pushHeld(x) else { return false }
    }
    // An interim response is a courtesy: a client that does not read loses it.
    guard loop.prepare(&x.pointee.held), x.pointee.held.hasRoomForChunk() else { return true }
    let before = x.pointee.held.count
    downstreams.respondInterim(
      x.pointee.downstream, response, x.pointee.request, into: &x.pointee.held, &loop)
    x.pointee.state.responseWritten(x.pointee.held.count - before)
    return true
  }

  // MARK: Content

  /// Moves content from the server's bytes into the response.
  private mutating func relayContent(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ input: consuming BufferSlice
  ) -> Bool {
    var slice = input
    var offset = 0
    reading: while x.pointee.state.response == .relaying {
      // With all bytes used the decoder is still asked: it may know that this was the end.
      var end = slice.count
      // What stands behind the end waits for no window and no room: the response is whole.
      if offset < slice.count && !x.pointee.response.body.isComplete {
        let limit = downstreams.contentLimit(x.pointee.downstream, x.pointee.request)
        if limit == 0 {
          slice.dropPrefix(offset)
          u.transport.pointee.unread.putBack(slice, &loop.engine)
          return waitForClientWindow(u, x)
        }
        end = min(end, limit < slice.count ? offset + limit : end)
        switch room(x) {
        case .some: break
        case .ended: return false
        case .none:
          slice.dropPrefix(offset)
          u.transport.pointee.unread.putBack(slice, &loop.engine)
          guard perform(x, x.pointee.state.responseBlocked()) else { return false }
          return responseTurnEnded(u, x)
        }
      }
      let before = x.pointee.held.count
      let piece = UnsafeRawBufferPointer(rebasing: slice.bytes[..<end])
      switch x.pointee.response.body.next(piece, at: &offset) {
      case .content(let start, let count):
        let isAdded = downstreams.content(
          x.pointee.downstream, slice.subslice(start: start, count: count), &x.pointee.request,
          into: &x.pointee.held)
        guard isAdded else { return perform(x, x.pointee.state.fail(.resourcesExhausted)) }
        x.pointee.state.responseContent(count, buffered: x.pointee.held.count - before)
      case .needsMore: if offset == slice.count { break reading }
      case .complete: return responseEnded(x, clean: offset == slice.count)
      case .rejected(let rejection): return malformed(x, rejection.label)
      }
    }
    return responseTurnEnded(u, x)
  }

  /// The client has no window for more: it says when it has, or has had its time.
  mutating func waitForClientWindow(_ u: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    // A tunnel has a time of its own.
    x.pointee.request.http2.wait(
      until: x.pointee.state.mode == .tunnel
        ? .max
        : loop.engine.now
          + loop.plan.listeners[Int(downstream(of: x).pointee.listener)].bodyTimeout)
    guard perform(x, x.pointee.state.responseWindowClosed()) else { return false }
    return responseTurnEnded(u, x)
  }

  /// Room for another piece of content: in bytes for the client, in pieces for the frame.
  @inline(__always)
  mutating func room(_ x: ExchangePointer) -> ResponseRoom {
    guard x.pointee.state.takesResponseContent, x.pointee.state.responseFlow.hasRoom,
      loop.prepare(&x.pointee.held)
    else { return .none }
    if x.pointee.held.hasRoomForChunk() { return .some }
    return makeRoom(x)
  }

  private mutating func makeRoom(_ x: ExchangePointer) -> ResponseRoom {
    if audit.holdsResponses && x.pointee.state.canHoldOn {
      x.pointee.held.compact()
      return .some
    }
    guard x.pointee.state.mayLeave else { return .none }
    guard pushHeld(x) else { return .ended }
    return loop.prepare(&x.pointee.held) && x.pointee.held.hasRoomForChunk() ? .some : .none
  }

  /// The input of the turn is used up: what there is of the response is held, begun, or sent.
  mutating func responseTurnEnded(_ u: UpstreamPointer, _ x: ExchangePointer) -> Bool {
    let bulk = u.transport.pointee.mode == .once
    guard perform(x, x.pointee.state.responseTurnEnded(bulk: bulk)) else { return false }
    // What waits for a slow disk pins no hot buffer while they are few.
    if loop.engine.isLowOnBuffers && !x.pointee.held.isEmpty { x.pointee.held.evacuate() }
    if x.pointee.state.mode == .tunnel { notePassing(response: x, u) }
    return true
  }

  // MARK: The end

  /// The response has been read whole. - Parameter clean: nothing came behind it.
  private mutating func responseEnded(_ x: ExchangePointer, clean: Bool) -> Bool {
    let before = x.pointee.held.count
    guard
      downstreams.endContent(
        x.pointee.downstream, &x.pointee.response.body, &x.pointee.request,
        into: &x.pointee.held, &loop)
    else { return perform(x, x.pointee.state.outputExhausted()) }
    return perform(
      x,
      x.pointee.state.responseEnd(
        buffered: x.pointee.held.count - before,
        reusable: clean && x.pointee.response.persists))
  }

  /// The server's stream has ended. - Parameter result: 0, or a negated errno.
  mutating func responseStreamEnded(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ result: Int32
  ) -> Bool {
    let response = x.pointee.state.response
    if response == .relaying, result == 0, x.pointee.response.body.endOfInput() {
      guard loop.prepare(&x.pointee.held) else {
        return perform(x, x.pointee.state.fail(.resourcesExhausted))
      }
      return responseEnded(x, clean: false)
    }
    if x.pointee.state.isUntouched {
      let now = loop.engine.now
      let moment = u.pointee.phase == .assigned ? now : x.pointee.times.connected
      upstreams.noteIdleEnd(u, at: moment, now: now)
    }
    let canResend = x.pointee.state.hasCopy && loop.prepare(&carried)
    let isThere = perform(
      x, x.pointee.state.upstreamClosed(reset: result != 0, canResend: canResend))
    carried.clear()
    return isThere
  }

  /// How the server's stream has ended: 0, or a negated errno. Under TLS an end without close_notify is
  /// a truncation (RFC 9112 9.8).
  @inline(__always)
  func upstreamEnd(_ u: UpstreamPointer) -> Int32 {
    let t = u.transport
    if t.pointee.peerHasFinished { return 0 }
    let result = t.pointee.endResult
    return t.pointee.tls != nil && result == 0 ? -ECONNRESET : result
  }

  /// Whether a TLS session that waits may hold ciphertext from before the end of the server's stream;
  /// `resumeDecrypting` comes back then. Behind close_notify there is none.
  func isEndHeldBack(_ u: UpstreamPointer) -> Bool {
    u.transport.pointee.isStalled && !u.transport.pointee.peerHasFinished
  }

  /// The client has room again for response content.
  mutating func resumeResponse(_ x: ExchangePointer) -> Bool {
    guard let u = upstream(of: x) else { return true }
    if u.pointee.kind == .stream { return resumeServerResponse(u, x) }
    let t = u.transport
    t.pointee.paused = x.pointee.bulk.response.step == .draining
    setResponseDeadline(u, x)
    guard useUnread(u, x) else { return false }
    // The response may be whole by now, or have failed.
    guard x.pointee.upstream >= 0, t.pointee.closing == .open else { return true }
    if t.pointee.readClosed && t.pointee.unread.isEmpty {
      return isEndHeldBack(u) || responseStreamEnded(u, x, upstreamEnd(u))
    }
    upstreams.arm(u, &loop)
    return true
  }
}
