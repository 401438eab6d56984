// Exchanges that end early: an answer in the proxy's own name while none has begun, else a cut that
// cannot be mistaken for the end of the content. Each has a reason that log and record tell.

import AuditLog
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  // MARK: Early ends

  /// The server's stream has ended. - Parameter result: 0, or a negated errno.
  mutating func upstreamEnded(_ u: UpstreamPointer, _ result: Int32) {
    guard u.pointee.exchange >= 0 else {
      noteIdleEnd(u, at: engine.now)
      return closeUpstream(u)
    }
    let x = exchanges[UInt32(u.pointee.exchange)]
    let d = downstreams[x.pointee.downstream]
    if u.pointee.phase == .assigned {
      noteIdleEnd(u, at: engine.now)
      return reassign(u)
    }
    switch x.pointee.phase {
    case .complete:
      releaseUpstream(x, keep: false)
    case .request:
      // The first byte of an interim response says that the server is at work on the request, and
      // the client may have it: a second try would be a second execution, and its responses would be
      // taken for the first one's.
      let untouched = Self.transport(u).pointee.unread.isEmpty && x.pointee.interimCount == 0
      if untouched {
        noteIdleEnd(u, at: x.pointee.connected)
        if retry(x) { return }
      }
      counters.upstreamFailures += 1
      failExchange(x, result == 0 ? .upstreamClosedEarly : .upstreamReset)
      flushDownstream(d)
    case .response:
      if result == 0 && x.pointee.responseBody.endOfInput() {
        guard ensureHeld(x) else { return failExchange(x, .resourcesExhausted) }
        responseCompleted(x, d, clean: false)
        return finishTurn(x, d)
      }
      counters.upstreamFailures += 1
      failExchange(x, result == 0 ? .upstreamTruncated : .upstreamReset)
      flushDownstream(d)
    }
  }

  /// The exchange cannot go on: an answer if none has begun, else a cut that cannot be mistaken
  /// for the end of the content.
  mutating func failExchange(_ x: ExchangePointer, _ ending: Ending) {
    logFailure(x, ending)
    countFailure(x, ending)
    releaseUpstream(x, keep: false)
    if x.pointee.committed || x.pointee.hasBegun || x.pointee.phase == .complete {
      return abortExchange(x, ending)
    }
    x.pointee.ending = ending
    if x.pointee.phase == .response {
      // A head was prepared, and none of it has left.
      x.pointee.held.clear()
    }
    answer(x, status: ending.status, label: ending.label)
  }

  /// Ends an exchange and its connection at once.
  mutating func abortExchange(_ x: ExchangePointer, _ ending: Ending) {
    let d = downstreams[x.pointee.downstream]
    x.pointee.ending = ending
    if audits { recordAbort(x) }
    dropExchange(x, d)
    abortDownstream(d)
  }

  mutating func logFailure(_ x: ExchangePointer, _ ending: Ending) {
    let (admitted, withheld) = failureLog.admit(now: engine.now)
    guard admitted else { return }
    let d = downstreams[x.pointee.downstream]
    var server = "-"
    if x.pointee.group >= 0 && x.pointee.server >= 0 {
      let text = plan.upstreams[Int(x.pointee.group)].servers[Int(x.pointee.server)].text
      server = String(decoding: text.raw, as: UTF8.self)
    }
    let cut = x.pointee.committed || x.pointee.hasBegun
    let client = clientName(d)
    logger.warning(
      """
      exchange failed reason=\(ending.label) status=\(cut ? x.pointee.status : ending.status) \
      upstream=\(server) client=\(client) id=\(exchangeText(x.pointee.id)) cut=\(cut) withheld=\(withheld)
      """)
  }

  func clientName(_ d: DownstreamPointer) -> String {
    String(
      decoding: UnsafeRawBufferPointer(
        start: clientText + Int(d.pointee.slot) * 64, count: d.pointee.clientLength),
      as: UTF8.self)
  }

  // MARK: The proxy's own answers

  /// Answers an exchange in the proxy's own name: a short text with the reason.
  mutating func answer(_ x: ExchangePointer, status: UInt16, label: StaticString) {
    let d = downstreams[x.pointee.downstream]
    x.pointee.status = status
    x.pointee.phase = .complete
    audit.endHold(x.pointee.slot)
    // Content that nobody reads must never be taken for the next request.
    if !x.pointee.requestComplete { d.pointee.closeAfterResponse = true }
    guard ensureHeld(x) else { return abortExchange(x, .resourcesExhausted) }
    let reason = staticBytes(reasonPhrase(status))
    let labelBytes = staticBytes(label)
    let size = 4 + reason.count + 3 + labelBytes.count + 1
    let close = d.pointee.closeAfterResponse
    let old = x.pointee.version == .http10
    let head = x.pointee.method == .head
    let wall = engine.wallMicroseconds
    let written = httpDate.withBytes(wallMicroseconds: wall) { date in
      x.pointee.held.write(capacity: 640) { room in
        var w = HeadWriter(room)
        w.statusLine(status)
        w.field("Date", date)
        w.append("Content-Type: text/plain; charset=utf-8\r\n")
        w.field("Content-Length", decimal: UInt64(size))
        // 200 is the answer to OPTIONS for this hop.
        if status == 405 || status == 200 {
          w.append("Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n")
        }
        if status == 503 { w.append("Retry-After: 1\r\n") }
        if close {
          w.append("Connection: close\r\n")
        } else if old {
          w.append("Connection: keep-alive\r\n")
        }
        w.crlf()
        if !head {
          w.append(decimal: UInt64(status))
          w.append(" ")
          w.append(reason)
          w.append(" (")
          w.append(labelBytes)
          w.append(")\n")
        }
        return w.overflowed ? -1 : w.count
      }
    }
    guard written > 0 else { return abortExchange(x, .resourcesExhausted) }
    x.pointee.responseBytes = head ? 0 : UInt64(size)
    if audits { recordEnd(x) }
    pushHeld(x, d)
  }
}
