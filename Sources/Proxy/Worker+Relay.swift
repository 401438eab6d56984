// Response content on its way: gathered in `held`, moved to the transport when the audit allows and
// the client has room, with the server paused in between; and the orderly end of an exchange.
//
import AuditLog
import Glibc
import HTTP1
import Logging
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  // MARK: Content

  @inline(__always)
  mutating func ensureHeld(_ x: ExchangePointer) -> Bool {
    prepare(&x.pointee.held)
  }

  /// Moves content from the server's bytes into the response.
  mutating func relayContent(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ d: DownstreamPointer,
    _ input: consuming BufferSlice
  ) {
    var slice = input
    var offset = 0
    while x.pointee.phase == .response {
      // With all bytes used the decoder is still asked: it may know that this was the end.
      if offset < slice.count && !hasRoom(x, d) {
        // Making room may have ended the exchange: what it sent could not be encrypted.
        guard isActive(x, d) else { return }
        if Self.transport(d).pointee.outstanding == 0 && x.pointee.heldBytes == 0 {
          // Nothing waits to leave, so nothing would ever make room: there is no frame to be had.
          return failExchange(x, .resourcesExhausted)
        }
        slice.dropPrefix(offset)
        Self.transport(u).pointee.unread.putBack(slice, &engine)
        return block(u, x)
      }
      switch x.pointee.responseBody.next(slice.bytes, at: &offset) {
      case .content(let start, let count):
        x.pointee.responseBytes += UInt64(count)
        let isAdded = appendContent(
          &x.pointee.held, slice.subslice(start: start, count: count),
          chunked: x.pointee.chunked)
        guard isAdded else { return failExchange(x, .resourcesExhausted) }
      case .needsMore: return
      case .complete:
        responseCompleted(x, d, clean: offset == slice.count)
      case .rejected(let rejection):
        logger.debug("upstream malformed reason=\(rejection.label)")
        counters.upstreamFailures += 1
        return failExchange(x, .upstreamMalformed)
      }
    }
  }

  /// Room for another piece of content: in bytes for the client, in pieces for the frame.
  mutating func hasRoom(_ x: ExchangePointer, _ d: DownstreamPointer) -> Bool {
    let t = Self.transport(d)
    if t.pointee.outstanding + x.pointee.heldBytes >= Watermark.high { return false }
    guard ensureHeld(x) else { return false }
    if x.pointee.held.hasRoomForChunk() { return true }
    if mayHoldOn(x) {
      x.pointee.held.compact()
      return true
    }
    pushHeld(x, d)
    return isActive(x, d) && ensureHeld(x) && x.pointee.held.hasRoomForChunk()
  }

  /// Stops reading from the server until the client has taken what it has.
  mutating func block(_ u: UpstreamPointer, _ x: ExchangePointer) {
    let t = Self.transport(u)
    x.pointee.responseBlocked = true
    t.pointee.paused = true
    t.pointee.deadline = .max
    // From here on in pieces, as in `pauseInput`.
    t.pointee.setMode(.once, &engine)
  }

  // MARK: Its end

  /// The response has been read whole. - Parameter clean: nothing came behind it.
  mutating func responseCompleted(
    _ x: ExchangePointer, _ d: DownstreamPointer, clean: Bool
  ) {
    x.pointee.phase = .complete
    audit.endHold(x.pointee.slot)
    if x.pointee.chunked {
      guard ensureHeld(x), appendContentEnd(&x.pointee.held, &x.pointee.responseBody) else {
        return abortExchange(x, .resourcesExhausted)
      }
    }
    releaseUpstream(
      x, keep: clean && x.pointee.upstreamPersists && x.pointee.requestComplete)
    if audits { recordEnd(x) }
  }

  /// After a piece of the response: the audit's part, then out with what may leave.
  mutating func finishTurn(_ x: ExchangePointer, _ d: DownstreamPointer) {
    if waitsForAudit && x.pointee.phase == .response && !x.pointee.hasBegun && !hold(x) {
      recordBegin(x)
    }
    pushHeld(x, d)
    flushDownstream(d)
    guard isActive(x, d) else { return }
    // All of it may have left before its end was known.
    if x.pointee.phase == .complete { return completeIfDelivered(x, d) }
    let waiting = Self.transport(d).pointee.outstanding + x.pointee.heldBytes
    if waiting > Watermark.low, x.pointee.upstream >= 0 {
      let u = upstreams[UInt32(x.pointee.upstream)]
      // Reading in large buffers is paused before the next one comes, not after.
      if Self.transport(u).pointee.mode == .once { block(u, x) }
    }
  }

  /// Moves the response to the transport, if the audit allows and the transport has room.
  mutating func pushHeld(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard x.pointee.heldBytes > 0, mayLeave(x), t.pointee.unsent.isEmpty,
      t.pointee.closing == .open
    else {
      if x.pointee.heldBytes > 0 && engine.isLowOnBuffers { evacuateHeld(x) }
      return
    }
    if x.pointee.phase != .request { x.pointee.committed = true }
    if let channel = t.pointee.tls {
      guard let frame = x.pointee.held.take() else { return }
      if let ending = encrypt(d, channel, frame) {
        counters.downstreamAborts += 1
        abortExchange(x, ending)
      }
    } else {
      t.pointee.unsent.replace(with: &x.pointee.held)
    }
    if t.pointee.sending && !t.pointee.unsent.isEmpty && engine.isLowOnBuffers {
      t.pointee.unsent.evacuate()
    }
  }

  /// Whether the audit lets the response leave: no record is awaited, and none is still to be
  /// written before the first byte of the content.
  @inline(__always)
  func mayLeave(_ x: ExchangePointer) -> Bool {
    guard waitsForAudit else { return true }
    return x.pointee.gate == .none && (x.pointee.phase != .response || x.pointee.hasBegun)
  }

  /// What waits for a slow disk or a slow peer pins no hot buffer while they are few.
  mutating func evacuateHeld(_ x: ExchangePointer) {
    x.pointee.held.evacuate()
  }

  /// A send has ended: the next part leaves, the server is read again, or the exchange is over.
  @inline(__always)
  mutating func responseProgressed(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let t = Self.transport(d)
    if x.pointee.heldBytes > 0 {
      pushHeld(x, d)
      flushDownstream(d)
    }
    if d.pointee.exchange < 0 { return }
    if x.pointee.responseBlocked
      && t.pointee.outstanding + x.pointee.heldBytes <= Watermark.low
    {
      responseUnblocked(x, d)
      if d.pointee.exchange < 0 { return }
    }
    if x.pointee.phase == .complete { return completeIfDelivered(x, d) }
    if !t.pointee.sending && d.pointee.phase == .response { t.pointee.deadline = .max }
  }

  mutating func responseUnblocked(_ x: ExchangePointer, _ d: DownstreamPointer) {
    x.pointee.responseBlocked = false
    guard x.pointee.upstream >= 0 else { return }
    let u = upstreams[UInt32(x.pointee.upstream)]
    let t = Self.transport(u)
    t.pointee.paused = false
    t.pointee.deadline = engine.now + plan.upstreams[Int(u.pointee.group)].responseTimeout
    useHeldResponse(u, x)
    guard t.pointee.closing == .open, u.pointee.exchange >= 0 else { return }
    if t.pointee.readClosed && t.pointee.unread.isEmpty {
      return upstreamEnded(u, t.pointee.endResult)
    }
    armUpstream(u)
  }

  /// Ends an exchange whose last byte has left.
  @inline(__always)
  mutating func completeIfDelivered(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let t = Self.transport(d)
    guard x.pointee.heldBytes == 0, x.pointee.gate == .none, t.pointee.isIdle else { return }
    finishExchange(x, d)
  }

  mutating func finishExchange(_ x: ExchangePointer, _ d: DownstreamPointer) {
    counters.responses += 1
    let linger = !x.pointee.requestComplete || x.pointee.ending == .badRequest
    let large = x.pointee.requestBytes > Watermark.largeBody
    dropExchange(x, d)
    if d.pointee.closeAfterResponse {
      closeDownstream(d, linger: linger || !Self.transport(d).pointee.unread.isEmpty)
    } else {
      becomeIdle(d, largeRequest: large)
    }
  }

  /// Ends an exchange's slot; its connection and its record are settled.
  mutating func dropExchange(_ x: ExchangePointer, _ d: DownstreamPointer) {
    countEnd(x)
    releaseUpstream(x, keep: false)
    audit.endHold(x.pointee.slot)
    audit.release(&x.pointee.reservation)
    d.pointee.exchange = -1
    let slot = x.pointee.slot
    x.deinitialize(count: 1)
    exchanges.release(slot)
  }
}
