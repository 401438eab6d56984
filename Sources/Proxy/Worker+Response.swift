// From the server's bytes to a response: its head is parsed and written anew into `held`. What
// follows the head is Worker+Relay.swift's, and every early end is Worker+Endings.swift's.

import AuditLog
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  @inline(__always)
  mutating func upstreamBytes(_ u: UpstreamPointer, _ slice: consuming BufferSlice) {
    let t = Self.transport(u)
    guard u.pointee.exchange >= 0 else {
      // A server that speaks without being asked cannot be trusted with the next request.
      return closeUpstream(u)
    }
    // Nor with the one that it was just given.
    if u.pointee.phase == .assigned { return reassign(u) }
    let x = exchanges[UInt32(u.pointee.exchange)]
    if t.pointee.unread.isEmpty {
      useResponse(u, x, slice)
    } else {
      t.pointee.unread.append(slice.bytes, &engine)
      useHeldResponse(u, x)
    }
  }

  mutating func useHeldResponse(_ u: UpstreamPointer, _ x: ExchangePointer) {
    let t = Self.transport(u)
    guard !t.pointee.unread.isEmpty, t.pointee.closing == .open else { return }
    if x.pointee.responseBlocked { return }
    if u.pointee.isScanning {
      let bytes = t.pointee.unread.peek()
      switch u.pointee.scanner.scan(bytes, limits: responseLimits, isRequest: false) {
      case .incomplete: return
      case .rejected(let rejection): return responseMalformed(x, rejection.label)
      case .complete: u.pointee.isScanning = false
      }
    }
    if let slice = t.pointee.unread.takeAll() { useResponse(u, x, slice) }
  }

  /// The loop over one piece of the response. Nothing is held when it is entered.
  mutating func useResponse(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ input: consuming BufferSlice
  ) {
    var slice = input
    let t = Self.transport(u)
    let d = downstreams[x.pointee.downstream]
    t.pointee.deadline = engine.now + plan.upstreams[Int(u.pointee.group)].responseTimeout
    while x.pointee.phase == .request {
      switch responseHead.parse(slice.bytes, limits: responseLimits) {
      case .complete(let length):
        guard takeHead(u, x, d, slice.bytes) else { return flushDownstream(d) }
        slice.dropPrefix(length)
        if slice.count == 0 && x.pointee.phase == .request { return finishTurn(x, d) }
      case .incomplete:
        return holdIncompleteResponse(u, x, slice)
      case .rejected(let rejection):
        return responseMalformed(x, rejection.label)
      }
    }
    relayContent(u, x, d, slice)
    if isActive(x, d) { finishTurn(x, d) }
  }

  /// Whether the exchange is still the connection's: it may have ended inside a call.
  @inline(__always)
  func isActive(_ x: ExchangePointer, _ d: DownstreamPointer) -> Bool {
    d.pointee.exchange == Int32(bitPattern: x.pointee.slot)
  }

  mutating func holdIncompleteResponse(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ slice: consuming BufferSlice
  ) {
    let bytes = slice.bytes
    u.pointee.scanner = HeadScanner()
    if case .rejected(let rejection) = u.pointee.scanner.scan(
      bytes, limits: responseLimits, isRequest: false)
    {
      return responseMalformed(x, rejection.label)
    }
    u.pointee.isScanning = true
    Self.transport(u).pointee.unread.append(bytes, &engine)
    // An interim response may have come before it.
    if x.pointee.heldBytes > 0 { finishTurn(x, downstreams[x.pointee.downstream]) }
  }

  mutating func responseMalformed(_ x: ExchangePointer, _ label: StaticString) {
    let d = downstreams[x.pointee.downstream]
    counters.upstreamFailures += 1
    logger.debug("upstream malformed reason=\(label)")
    failExchange(x, .upstreamMalformed)
    flushDownstream(d)
  }

  // MARK: The head

  /// Takes an interim or final head. - Returns: false if the exchange has ended over it.
  mutating func takeHead(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ d: DownstreamPointer,
    _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    guard ensureHeld(x) else {
      failExchange(x, .resourcesExhausted)
      return false
    }
    if responseHead.isInterim {
      if responseHead.status == 101 {
        // Nobody asked for it: Upgrade was not passed on.
        counters.upstreamFailures += 1
        failExchange(x, .upstreamUpgrade)
        return false
      }
      return takeInterimHead(x, d, bytes)
    }
    x.pointee.firstByte = engine.now
    x.pointee.status = responseHead.status
    x.pointee.phase = .response
    let framing = responseHead.framing(for: x.pointee.method)
    x.pointee.responseBody = BodyDecoder(
      framing, trailerLimits: .trailers, toleratesPadding: true)
    if responseHead.nominatesFields, framing == .chunked,
      let names = responseHead.nominatedNames(in: bytes)
    {
      x.pointee.responseBody.leaveOutTrailers(named: names)
    }
    x.pointee.upstreamPersists = responseHead.isPersistent && framing != .untilClose
    x.pointee.mayBeHeld = mayHold(bytes, framing)
    let response = responseHead.view(in: bytes)
    if let line = response.first(.keepAlive) {
      u.pointee.keepAlive = KeepAlive.idleTime(response.slice(line.value))
    }
    switch framing {
    case .chunked, .untilClose:
      x.pointee.chunked = x.pointee.version == .http11
      if !x.pointee.chunked { d.pointee.closeAfterResponse = true }
    case .length(let size):
      if size > Watermark.largeBody { Self.transport(u).pointee.setMode(.once, &engine) }
    case .none: break
    }
    if !x.pointee.requestComplete {
      // An answer before the end of the request: what is left of it is not wanted.
      d.pointee.closeAfterResponse = true
    }
    guard writeResponseHead(x, d, bytes) else {
      counters.upstreamFailures += 1
      failExchange(x, .upstreamMalformed)
      return false
    }
    return true
  }

  /// Interim responses of one exchange that are passed on; a server that sends more is broken.
  static var interimLimit: Int { 32 }

  mutating func takeInterimHead(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    x.pointee.interimCount += 1
    guard x.pointee.interimCount <= Self.interimLimit else {
      counters.upstreamFailures += 1
      failExchange(x, .upstreamMalformed)
      return false
    }
    guard x.pointee.version == .http11 else { return true }
    if !x.pointee.held.hasRoomForChunk() {
      pushHeld(x, d)
      guard isActive(x, d) else { return false }
    }
    // An interim response is a courtesy: a client that does not read loses it.
    guard ensureHeld(x), x.pointee.held.hasRoomForChunk() else { return true }
    writeInterimHead(x, bytes)
    return true
  }

  mutating func writeResponseHead(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    let forwarding = ResponseForwarding(responseHead.view(in: bytes), pseudonym: plan.via.raw)
    let connection: HeadWriter.ConnectionField =
      d.pointee.closeAfterResponse ? .close : x.pointee.version == .http10 ? .keepAlive : .none
    if forwarding.addsDate { httpDate.refresh(wallMicroseconds: engine.wallMicroseconds) }
    let written = x.pointee.held.write(capacity: HeadWriter.capacity(for: forwarding)) { room in
      var w = HeadWriter(room)
      w.response(
        forwarding, method: x.pointee.method, chunked: x.pointee.chunked, connection: connection,
        date: httpDate)
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }

  mutating func writeInterimHead(_ x: ExchangePointer, _ bytes: UnsafeRawBufferPointer) {
    let response = responseHead.view(in: bytes)
    let forwarding = ResponseForwarding(response, pseudonym: plan.via.raw)
    _ = x.pointee.held.write(capacity: HeadWriter.capacity(for: forwarding)) { room in
      var w = HeadWriter(room)
      w.interimResponse(response)
      return w.overflowed ? -1 : w.count
    }
  }
}
