// Requests that go to no server by what their head says: methods that are not forwarded, protocols
// that are not spoken, loops, and OPTIONS that asks this hop. And the refusal of a connection that
// speaks HTTP/2 unasked, or plain HTTP to TLS.

import Configuration
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import TLS
import Transport

extension Worker where E: ~Copyable {
  /// Own pseudonyms in Via from which a request is taken to go in circles. Every instance has the
  /// same pseudonym unless it is configured, so one or two of them are an edge in front of a
  /// sidecar; ten hops through one proxy are no architecture.
  static var viaLoopLimit: Int { 10 }

  /// How an exchange ends before it is routed, or nil.
  @inline(__always)
  func localReply(_ request: RequestView) -> Ending? {
    if request.presentFields.isDisjoint(with: [.via, .upgrade, .maxForwards]) { return nil }
    return localReplySlow(request)
  }

  @inline(never)
  private func localReplySlow(_ request: RequestView) -> Ending? {
    if request.offersWebSocket { return .upgradeNotSupported }
    if plan.via.count > 0, request.presentFields.has(.via),
      request.viaCount(of: plan.via.raw) >= Self.viaLoopLimit
    {
      return .loopDetected
    }
    // RFC 9110 7.6.2: for TRACE and OPTIONS; TRACE is refused.
    if request.method == .options, request.maxForwards == 0 {
      return .maxForwards
    }
    return nil
  }

  // MARK: Other protocols

  /// SETTINGS, which a server's connection preface is (RFC 9113 3.4), and GOAWAY with
  /// HTTP_1_1_REQUIRED (0xd) and the last stream 0: no stream was or will be looked at.
  private static var http2Refusal: StaticString {
    "\0\0\0\u{4}\0\0\0\0\0\0\0\u{8}\u{7}\0\0\0\0\0\0\0\0\0\0\0\0\u{d}"
  }

  /// Answers a client with prior knowledge of HTTP/2 in its own protocol, and ends the connection.
  mutating func refuseHTTP2(_ d: DownstreamPointer) {
    guard let x = beginRefusal(d) else { return }
    x.pointee.status = HeadRejection.http2Preface.status
    x.pointee.phase = .complete
    guard ensureHeld(x), x.pointee.held.append(Self.http2Refusal) else {
      return abortExchange(x, .resourcesExhausted)
    }
    if audits { recordEnd(x) }
    pushHeld(x, d)
    flushDownstream(d)
  }

  /// Answers plain HTTP on a TLS port in plain text, as nginx does, and ends the connection. Only
  /// before the session has sent anything: what follows its bytes would be no status line.
  mutating func refusePlainHTTP(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    // An alert that the session has put there would stand before the status line.
    t.pointee.unsent.clear()
    channels.close(&t.pointee)
    counters.badRequests += 1
    rejectRequest(d, status: 400, label: "plain_http_on_tls_port")
  }

  /// Logs why a TLS session failed. What an operator has to mend, since clients that are in order
  /// fail by it, is told at `info`, with a bound on the lines; the rest at `debug`.
  mutating func logTLSFailure(_ d: DownstreamPointer, _ failure: TLSFailure) {
    guard failure.isPlainHTTP || failure.kind == .noApplicationProtocol else {
      let client = clientName(d)
      logger.debug("tls failed reason=\(failure.label) client=\(client) detail=\"\(failure)\"")
      return
    }
    let (admitted, suppressed) = tlsFailureLog.admit(now: engine.now)
    guard admitted else { return }
    let client = clientName(d)
    logger.info(
      """
      tls failed reason=\(failure.label) client=\(client) detail=\"\(failure)\" \
      suppressed=\(suppressed)
      """)
  }
}
