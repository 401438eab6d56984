// From a client's bytes to the content of a request: input used as it comes or kept for later, heads
// parsed, content passed on to the server. Bytes that cannot be used yet are kept, and their sender
// pauses.

import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

/// How much of a piece of request content was used.
private enum ContentUse {
  /// All of it, or all up to the request's end.
  case used
  /// There is no connection or no room; the rest waits.
  case blocked
  /// The exchange has failed; the rest is dropped.
  case failed
}

extension Relay where E: ~Copyable {
  // MARK: Input

  /// New plaintext from a client.
  @inline(__always)
  mutating func input(_ d: DownstreamPointer, _ slice: consuming BufferSlice) {
    if d.pointee.isHTTP2 { return http2Input(d, slice) }
    let t = d.transport
    if t.pointee.unread.isEmpty {
      use(d, slice)
    } else {
      t.pointee.unread.append(slice.bytes, &loop.engine)
      // A paused connection without an exchange has a turn to come.
      if t.pointee.paused && d.pointee.http1.exchange < 0 { return }
      useUnread(d)
    }
  }

  /// Uses unread bytes as far as they can be used, and then the end of the stream that came after.
  mutating func useUnread(_ d: DownstreamPointer) {
    let t = d.transport
    if !t.pointee.unread.isEmpty && t.pointee.closing == .open { useUnreadBytes(d) }
    if t.pointee.readClosed { settleEnd(d) }
  }

  private mutating func useUnreadBytes(_ d: DownstreamPointer) {
    if let x = exchange(of: d) {
      guard x.pointee.state.takesRequestContent else {
        return downstreams.pauseInput(d, &loop)
      }
    } else if d.pointee.http1.isScanning {
      switch downstreams.http1.search(d, &loop) {
      case .incomplete: return
      // It is looked at once more, as a whole.
      case .rejected(.http2Preface) where mayBeginHTTP2(d): break
      case .rejected(let rejection):
        let isOfNeither = isOfNeither(d, d.transport.pointee.unread.peek(), rejection)
        return reject(d, rejection, inHTTP2: isOfNeither)
      case .found: break
      }
    }
    if let slice = d.transport.pointee.unread.takeAll() { use(d, slice) }
  }

  /// The loop over one piece of input. Nothing is unread when it is entered.
  private mutating func use(_ d: DownstreamPointer, _ input: consuming BufferSlice) {
    var slice = input
    let t = d.transport
    while slice.count > 0 && t.pointee.closing == .open {
      if let x = exchange(of: d) {
        var use = ContentUse.blocked
        if x.pointee.state.takesRequestContent { use = forward(x, &slice) }
        switch use {
        case .used: continue
        case .failed: return
        case .blocked:
          // Content that the server cannot take yet, or the next request of a pipeline.
          t.pointee.unread.putBack(slice, &loop.engine)
          downstreams.pauseInput(d, &loop)
          return requestTurnEnded(x, d)
        }
      }
      if d.pointee.http1.closeAfterResponse {
        if d.pointee.awaitsHello {
          // It is looked at once this turn's input is there.
          t.pointee.unread.putBack(slice, &loop.engine)
          downstreams.addResumable(d)
        }
        return
      }
      switch downstreams.http1.parse(slice.bytes) {
      case .complete(let length):
        start(d, slice.bytes)
        slice.dropPrefix(length)
      case .incomplete:
        let method = Self.method(begunBy: slice.bytes)
        if let rejection = downstreams.http1.keepIncompleteHead(d, slice, &loop) {
          reject(d, rejection, method)
        }
        return
      case .rejected(.http2Preface) where mayBeginHTTP2(d):
        d.pointee.http1.isScanning = false
        if beginHTTP2(d) { http2Input(d, slice) }
        return
      case .rejected(let rejection):
        return reject(
          d, rejection, Self.method(begunBy: slice.bytes),
          inHTTP2: isOfNeither(d, slice.bytes, rejection))
      }
    }
    if let x = exchange(of: d) { requestTurnEnded(x, d) }
  }

  // MARK: Content

  /// Passes request content on to the server.
  private mutating func forward(
    _ x: ExchangePointer, _ slice: inout BufferSlice
  ) -> ContentUse {
    guard let u = upstream(of: x) else { return .blocked }
    let framing = x.pointee.request.framing
    var offset = 0
    while true {
      // With all bytes used the decoder is still asked: it may know that this was the end.
      guard loop.prepare(&u.pointee.outgoing),
        offset == slice.count || x.pointee.request.body.isComplete
          || (u.pointee.outgoing.hasRoomForChunk() && x.pointee.state.requestFlow.hasRoom)
      else {
        slice.dropPrefix(offset)
        guard perform(x, x.pointee.state.requestBlocked()) else { return .failed }
        // Behind its response a request is not wanted any more; the two directions of a tunnel end alone.
        let isWanted = x.pointee.state.response < .replying || x.pointee.state.mode == .tunnel
        return isWanted ? .blocked : .failed
      }
      var end = slice.count
      if offset < end && !x.pointee.request.body.isComplete {
        let limit = upstreams.contentLimit(u)
        if limit == 0 {
          slice.dropPrefix(offset)
          return waitForWindow(x, u) ? .blocked : .failed
        }
        end = limit < end - offset ? offset + limit : end
      }
      let before = u.pointee.outgoing.count
      let piece = UnsafeRawBufferPointer(rebasing: slice.bytes[..<end])
      switch x.pointee.request.body.next(piece, at: &offset) {
      case .content(let start, let count):
        let isAdded = upstreams.content(
          u, slice.subslice(start: start, count: count), framing)
        guard isAdded else { return failRequest(x, .resourcesExhausted) }
        x.pointee.state.requestContent(count, buffered: u.pointee.outgoing.count - before)
      case .needsMore:
        if offset < slice.count { continue }
        slice.dropPrefix(slice.count)
        return .used
      case .complete:
        slice.dropPrefix(offset)
        loop.counters.fieldsDropped += x.pointee.request.body.ambiguousTrailers
        guard upstreams.endContent(u, &x.pointee.request.body, framing) else {
          return failRequest(x, .resourcesExhausted)
        }
        let end = x.pointee.state.requestEnd(buffered: u.pointee.outgoing.count - before)
        return perform(x, end) ? .used : .failed
      case .rejected: return failRequest(x, .requestBodyMalformed)
      }
    }
  }

  /// The server has no window for more of a request: it says when it has. - Returns: whether the exchange
  /// goes on.
  mutating func waitForWindow(_ x: ExchangePointer, _ u: UpstreamPointer) -> Bool {
    u.pointee.http2.awaitsWindow = true
    guard perform(x, x.pointee.state.requestWindowClosed()) else { return false }
    // A window that never opens must not keep the exchange for ever.
    if u.pointee.phase == .busy { setResponseDeadline(u, x) }
    return true
  }

  private mutating func failRequest(_ x: ExchangePointer, _ kind: Failure.Kind) -> ContentUse {
    _ = perform(x, x.pointee.state.fail(kind))
    return .failed
  }

  /// All input of the turn is with the server's transport: sends it, and says what is waited for.
  mutating func requestTurnEnded(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let t = d.transport
    if let u = upstream(of: x) {
      flush(u)
      // What waits behind a send or a connect pins no hot buffer while they are few.
      if !u.pointee.outgoing.isEmpty && u.pointee.phase != .assigned
        && loop.engine.isLowOnBuffers
      {
        u.pointee.outgoing.evacuate()
      }
      if x.pointee.state.requestTurnEnded(bulk: t.pointee.mode == .once).has(.pauseRequest) {
        downstreams.pause(d, &loop)
      }
      if x.pointee.state.mode == .tunnel { notePassing(request: x, d) }
    }
    if x.pointee.state.awaitsRequest {
      d.pointee.phase = .body
      setSendDeadline(d)
    } else if d.pointee.phase == .body {
      d.pointee.phase = .response
      if !t.pointee.sending { t.pointee.deadline = .max }
    }
  }

  /// The server has room again for request content. - Returns: whether the exchange is still there.
  mutating func resumeRequest(_ x: ExchangePointer) -> Bool {
    if x.pointee.request.isHTTP2 { return resumeHTTP2Request(x) }
    let d = downstream(of: x)
    let t = d.transport
    guard t.pointee.closing == .open else { return true }
    t.pointee.paused = x.pointee.bulk.request.step == .draining
    let slot = Int32(bitPattern: x.pointee.slot)
    useUnread(d)
    let isThere = d.pointee.http1.exchange == slot
    guard t.pointee.closing == .open else { return isThere }
    if isThere && x.pointee.state.takesRequestContent { requestTurnEnded(x, d) }
    // What was unread may have been refused: the answer leaves now.
    flush(d)
    downstreams.arm(d, &loop)
    return isThere
  }

  // MARK: The end of the client's stream

  /// What the end of the client's stream means, once all that came before it has been used as far as
  /// it can be: a client may shut its sending side down and still read the answers.
  mutating func settleEnd(_ d: DownstreamPointer) {
    let t = d.transport
    // A TLS session that waits holds ciphertext from before the end; `resumeDecrypting` comes back.
    guard t.pointee.readClosed, t.pointee.closing == .open, !t.pointee.isStalled else { return }
    if d.pointee.isHTTP2 { return http2HalfClosed(d) }
    guard let x = exchange(of: d) else {
      if d.pointee.awaitsHello { return downstreams.close(d, linger: false, &loop) }
      // Unread and not a piece of a head: a request that waits for its turn.
      if !t.pointee.unread.isEmpty && !d.pointee.http1.isScanning { return }
      return downstreams.close(d, linger: false, &loop)
    }
    // Requests that are unread came before the end: each is answered, then the connection closes.
    guard t.pointee.unread.isEmpty else { return }
    if x.pointee.state.mode == .tunnel, t.pointee.tls != nil, !t.pointee.peerHasFinished {
      // Without close_notify what came may be cut (RFC 8446 6.1), and nothing else would tell.
      _ = perform(x, x.pointee.state.downstreamGone())
      return
    }
    if x.pointee.state.mode == .tunnel, let u = upstream(of: x), u.pointee.kind == .stream {
      return endTunnelRequest(u, x)
    }
    _ = perform(x, x.pointee.state.downstreamHalfClosed())
  }
}
