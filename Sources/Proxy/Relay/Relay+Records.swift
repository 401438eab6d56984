// The facts of an exchange for its audit records, and the records as the state asks for them.

import AuditLog
import Configuration
import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import TLS
import Transport

extension Relay where E: ~Copyable {
  // MARK: Claims

  /// Writes the request's part of the record. - Parameter request: nil for one that could not be
  /// understood, or that is too large to be recorded: then it says who was refused and no more.
  /// - Parameter name: that a connection asks for which is passed on as it is.
  mutating func writeRequestPart(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ request: RequestView?,
    name: UnsafeRawBufferPointer? = nil
  ) {
    var facts = RequestFacts()
    fillConnectionFacts(d, &facts)
    if let name { facts.sni = name }
    if x.pointee.request.isHTTP2 { facts.stream = x.pointee.request.http2.id }
    if let request { fillRequestFacts(request, &facts) }
    x.pointee.record.requestPartCold = nil
    var length = RecordWriter.writeRequestPart(facts, into: exchanges.requestPart(x))
    if length < 0 {
      let cold = loop.engine.coldMemory(-length)
      length = RecordWriter.writeRequestPart(facts, into: cold.mutableBytes)
      x.pointee.record.requestPartCold = consume cold
    }
    x.pointee.record.requestPartLength = length
  }

  /// Claims room for all records that the exchange may need, and tells its state the answer.
  mutating func claimRoom(_ x: ExchangePointer) -> Actions {
    let claim = audit.claim(
      bytes: recordBytes(x), waitingSince: x.pointee.record.waitingSince, now: loop.engine.now,
      &x.pointee.record.reservation)
    switch claim {
    case .granted: return x.pointee.state.roomGranted()
    case .unrecorded:
      loop.counters.auditDrops += 1
      return x.pointee.state.roomGranted(recorded: false)
    case .refused: return x.pointee.state.roomRefused()
    case .tooLarge: return x.pointee.state.roomTooLarge()
    case .blocked: return x.pointee.state.roomDelayed()
    }
  }

  /// Claims room for the record of a refusal. It tells nothing and did nothing, so it is not held
  /// back, but counted, where there is no room.
  mutating func claimRefusalRoom(_ x: ExchangePointer) -> Actions {
    writeRequestPart(x, downstream(of: x), nil)
    return claimRoom(x)
  }

  /// Bytes that all records of an exchange may take.
  func recordBytes(_ x: ExchangePointer) -> Int {
    RecordWriter.exchangeMaximum(requestPart: x.pointee.record.requestPartLength)
  }

  // MARK: Facts

  private func fillConnectionFacts(_ d: DownstreamPointer, _ facts: inout RequestFacts) {
    facts.client = downstreams.client(d)
    facts.listener = loop.plan.listeners[Int(d.pointee.listener)].name.raw
    guard let channel = d.transport.pointee.tls, channel.pointee.isEstablished else { return }
    // SAFETY: the names belong to the session or are static; both outlive the writing of the
    // request part, which follows at once.
    facts.tlsVersion = staticBytes(channel.pointee.session.version.label)
    facts.tlsCipher = channel.pointee.session.withCipherName { $0 }
    facts.sni = channel.pointee.session.withServerName { $0 }
  }

  private func fillRequestFacts(_ request: RequestView, _ facts: inout RequestFacts) {
    facts.version = staticBytes(request.version.name)
    facts.method = request.methodName
    facts.host = request.authority
    facts.path = Self.recordedPath(request)
    if request.hasQuery { facts.query = request.query }
    facts.redactsQuery = loop.plan.audit?.redactQuery ?? false
    if let line = request.first(.xRequestID) { facts.requestID = request.slice(line.value) }
    if let line = request.first(.traceparent), line.value.count >= 35 {
      // version "-" trace-id "-" parent-id "-" flags, W3C Trace Context 3.2.
      facts.traceID = request.slice(ByteRange(start: line.value.start + 3, count: 32))
    }
  }

  private func responseFacts(_ x: ExchangePointer) -> ResponseFacts {
    let state = x.pointee.state
    var facts = ResponseFacts(
      status: state.status, requestBytes: state.requestBytes, responseBytes: state.responseBytes,
      ending: Failure(state.ending).label)
    let times = x.pointee.times
    if x.pointee.server >= 0 {
      let upstream = loop.plan.upstreams[Int(x.pointee.group)]
      facts.upstream = upstream.servers[Int(x.pointee.server)].text.raw
    }
    if times.connected > 0 {
      facts.queueMicroseconds = (times.connected - times.started) / 1000
    }
    facts.connectMicroseconds = times.connectMicroseconds
    if times.firstByte > 0 {
      facts.firstByteMicroseconds = (times.firstByte - times.started) / 1000
    }
    facts.totalMicroseconds = (loop.engine.now - times.started) / 1000
    return facts
  }

  // MARK: Records

  /// Writes the record that the state asks for.
  mutating func record(_ x: ExchangePointer, _ actions: Actions) {
    let sequence: UInt64
    if actions.has(.recordBegin) {
      sequence = append(.begin, x, withRequest: true, nil, isLast: false)
    } else {
      let kind: RecordKind =
        actions.has(.recordExchange) ? .exchange : actions.has(.recordEnd) ? .end : .abort
      sequence = append(
        kind, x, withRequest: kind == .exchange, responseFacts(x),
        isLast: !x.pointee.record.isComplete)
      x.pointee.record.isComplete = true
    }
    guard actions.has(.awaitRecord) else { return }
    x.pointee.record.gateSequence = sequence
    let slot = x.pointee.slot
    audit.gate(slot, generation: exchanges.generation(slot), until: sequence)
    // What waits for a slow disk pins no hot buffer while they are few.
    if loop.engine.isLowOnBuffers { x.pointee.held.evacuate() }
  }

  private mutating func append(
    _ kind: RecordKind, _ x: ExchangePointer, withRequest: Bool, _ response: ResponseFacts?,
    isLast: Bool
  ) -> UInt64 {
    var part = UnsafeRawBufferPointer(start: nil, count: 0)
    let cold = x.pointee.record.requestPartCold.take()
    if withRequest {
      let length = x.pointee.record.requestPartLength
      part =
        length > Exchanges.requestPartBytes
        ? Self.bytes(cold)
        : UnsafeRawBufferPointer(rebasing: exchanges.requestPart(x)[..<length])
    }
    let sequence = audit.append(
      kind, exchangeID: x.pointee.id, requestPart: part, response, isLast: isLast,
      wallMicroseconds: loop.engine.wallMicroseconds,
      charging: &x.pointee.record.reservation)
    x.pointee.record.requestPartCold = cold
    return sequence
  }

  private static func bytes(_ slice: borrowing BufferSlice?) -> UnsafeRawBufferPointer {
    switch slice {
    case .some(let slice): slice.bytes
    case .none: UnsafeRawBufferPointer(start: nil, count: 0)
    }
  }
}
