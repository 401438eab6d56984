// What is counted and logged of an exchange, and the refusal of one for which there is no room.

import Exchange
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import TLS
import Transport

extension Relay where E: ~Copyable {
  // MARK: Counting

  /// Counts and logs what the state asks for.
  @inline(__always)
  mutating func count(_ x: ExchangePointer, _ actions: Actions) {
    if actions.has(.countRequest) {
      loop.counters.requests += 1
      loop.counters[listener: row(ofListenerOf: x), .requests] += 1
    }
    if actions.has(
      .count | .countTimeout | .countRetry | .countStale | .countAuditReject | .log)
    {
      countFailure(x, actions)
    }
  }

  private mutating func countFailure(_ x: ExchangePointer, _ actions: Actions) {
    let server = row(ofServerOf: x)
    if actions.has(.count) {
      let failure = Failure(actions.failure)
      // Not a failed connect that another one follows.
      if failure.source == .upstream, server >= 0, !actions.has(.countRetry) {
        loop.counters[server: server, .failures] += 1
      }
      let metrics = failure.metrics
      if metrics.has(.badRequests) { loop.counters.badRequests += 1 }
      if metrics.has(.upstreamFailures) { loop.counters.upstreamFailures += 1 }
      if metrics.has(.timeouts) { loop.counters.timeouts += 1 }
      if metrics.has(.downstreamAborts) { loop.counters.downstreamAborts += 1 }
      if metrics.has(.auditRejects) { loop.counters.auditRejects += 1 }
      if metrics.has(.unansweredByAudit) { loop.counters.unansweredByAudit += 1 }
    }
    if actions.has(.countTimeout) { loop.counters.timeouts += 1 }
    if actions.has(.countRetry) {
      loop.counters.retries += 1
      if server >= 0 { loop.counters[server: server, .retries] += 1 }
    }
    if actions.has(.countStale) { loop.counters.upstreamStale += 1 }
    if actions.has(.countAuditReject) { loop.counters.auditRejects += 1 }
    if actions.has(.log) { logFailure(x, actions.failure) }
  }

  /// The end of an exchange, however it came.
  @inline(__always)
  mutating func countEnd(_ x: ExchangePointer) {
    let state = x.pointee.state
    loop.counters.countResponse(
      listener: row(ofListenerOf: x),
      // Without a first byte of a server the response was the proxy's own.
      server: x.pointee.times.firstByte == 0 ? -1 : row(ofServerOf: x),
      status: state.status, requestBytes: state.requestBytes, responseBytes: state.responseBytes)
    loop.counters.countEnding(state.ending)
    guard x.pointee.group >= 0 else { return }
    let times = x.pointee.times
    loop.counters.countTimes(
      upstream: loop.plan.upstreams[Int(x.pointee.group)].row,
      total: state.mode == .tunnel ? -1 : loop.engine.now - times.started,
      firstByte: times.firstByte == 0 ? -1 : times.firstByte - times.started,
      connectMicroseconds: times.connectMicroseconds)
    if x.pointee.route >= 0, state.status >= 200 {
      loop.counters.countRoute(x.pointee.route, status: state.status)
    }
  }

  /// The end of a tunnel. One that was no request has no status to be counted by.
  @inline(never)
  mutating func countTunnelEnd(_ x: ExchangePointer, isCut: Bool) {
    openTunnels -= 1
    if isCut { loop.counters.tunnelsCut += 1 }
    guard x.pointee.upgrade.isConnection else { return }
    loop.counters.countTunnel(
      listener: row(ofListenerOf: x), server: row(ofServerOf: x), x.pointee.state.requestBytes,
      x.pointee.state.responseBytes)
  }

  /// Where the figures of an exchange's listener are in the worker's block of metrics.
  @inline(__always)
  private func row(ofListenerOf x: ExchangePointer) -> Int32 {
    loop.plan.row(ofListener: downstream(of: x).pointee.listener)
  }

  /// The same for its server; -1: none was chosen.
  @inline(__always)
  private func row(ofServerOf x: ExchangePointer) -> Int32 {
    guard x.pointee.group >= 0, x.pointee.server >= 0 else { return -1 }
    return upstreams.pools.row(x.pointee.group, x.pointee.server)
  }

  /// - Parameters:
  ///   - row: of the server.
  ///   - kind: what the connect has failed of.
  mutating func countHandshakeFailure(_ row: Int32, _ kind: Failure.Kind) {
    loop.counters.upstreamHandshakeFailures += 1
    loop.counters[server: row, ServerMetric(ofHandshake: kind)] += 1
  }

  // MARK: Logging

  private mutating func logFailure(_ x: ExchangePointer, _ kind: Failure.Kind) {
    let (admitted, withheld) = failureLog.admit(now: loop.engine.now)
    guard admitted else { return }
    var server = "-"
    if x.pointee.group >= 0 && x.pointee.server >= 0 {
      let upstream = loop.plan.upstreams[Int(x.pointee.group)]
      server = String(
        decoding: upstream.servers[Int(x.pointee.server)].text.raw, as: UTF8.self)
    }
    let state = x.pointee.state
    let cut = state.delivery == .committed || state.audit.hold == .begun
    let failure = Failure(kind)
    let client = downstreams.clientName(downstream(of: x))
    loop.logger.warning(
      """
      exchange failed reason=\(failure.label) status=\(cut ? state.status : failure.status) \
      upstream=\(server) client=\(client) id=\(exchangeText(x.pointee.id)) response_started=\(cut) \
      suppressed=\(withheld)
      """)
  }

  /// Logs why a TLS session failed. What an operator has to mend, since clients that are in order
  /// fail by it, is told at `info`, with a bound on the lines; the rest at `debug`.
  mutating func logTLSFailure(_ d: DownstreamPointer, _ failure: TLSFailure) {
    let client = downstreams.clientName(d)
    guard failure.isPlainHTTP || failure.kind == .noApplicationProtocol else {
      loop.logger.debug(
        "tls failed reason=\(failure.label) client=\(client) detail=\"\(failure)\"")
      return
    }
    let (admitted, suppressed) = tlsFailureLog.admit(now: loop.engine.now)
    guard admitted else { return }
    loop.logger.info(
      """
      tls failed reason=\(failure.label) client=\(client) detail=\"\(failure)\" \
      suppressed=\(suppressed)
      """)
  }

  /// The same for a server's: an operator has to mend it in any case.
  mutating func logTLSFailure(_ u: UpstreamPointer, _ reason: StaticString, _ detail: String) {
    let (admitted, suppressed) = tlsFailureLog.admit(now: loop.engine.now)
    guard admitted else { return }
    let upstream = loop.plan.upstreams + Int(u.pointee.group)
    let text = upstream.pointee.servers[Int(u.pointee.server)].text
    loop.logger.warning(
      """
      upstream tls failed reason=\(reason) \
      upstream=\(String(decoding: text.raw, as: UTF8.self)) detail=\"\(detail)\" \
      suppressed=\(suppressed)
      """)
  }

  // MARK: No room for an exchange

  /// Answers a request beyond `limits.streams`, which gets no exchange and so no record, and ends
  /// the connection.
  mutating func refuseStream(_ d: DownstreamPointer, isHead: Bool) {
    noteRefusedStream(d, status: 503)
    let stream = StreamReference(connection: d.pointee.slot, stream: 0)
    downstreams.announceLast(stream)
    // What TLS has said goes first.
    flush(d)
    var output = SendBuffer()
    var message = ServerStream(framing: .none, version: .http11)
    guard loop.prepare(&output),
      downstreams.reply(
        stream, status: 503, label: "streams_exhausted", &message, isHead: isHead,
        into: &output, &loop) != nil,
      case .given = downstreams.send(stream, &output, &message, &loop)
    else { return downstreams.reset(stream, &message, isPeers: false, &loop) }
    downstreams.finish(stream, &message, linger: true, isLarge: false, &loop)
  }

  /// Counts and logs a request beyond `limits.streams`. - Parameter status: of the reply; 0: there is none.
  mutating func noteRefusedStream(_ d: DownstreamPointer, status: UInt16 = 0) {
    loop.counters.streamsRefused += 1
    logRefused(d, status: status)
    let (admitted, suppressed) = failureLog.admit(now: loop.engine.now)
    if admitted {
      loop.logger.warning(
        """
        request refused reason=streams_exhausted client=\(downstreams.clientName(d)) \
        limit=\(exchanges.capacity) suppressed=\(suppressed)
        """)
    }
  }
}
