// The audit's part of an exchange: room claimed before the upstream sees the request, records
// written as the response takes shape, responses released when their records are durable. It gathers
// the facts for `AuditDriver` and does to exchanges and connections what its results say.

import AuditLog
import Configuration
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import TLS
import Transport

extension Worker where E: ~Copyable {
  // MARK: Claims

  /// Writes the request's part of the record and claims room for all records that the exchange may
  /// need.
  mutating func reserveAudit(_ x: ExchangePointer, _ facts: RequestFacts) -> AuditClaim {
    let memory = UnsafeMutableRawBufferPointer(
      start: requestPartMemory(x), count: ExchangeScratch.requestPart)
    var length = RecordWriter.writeRequestPart(facts, into: memory)
    if length < 0 {
      let cold = engine.coldMemory(-length)
      length = RecordWriter.writeRequestPart(facts, into: cold.mutableBytes)
      x.pointee.requestPartCold = consume cold
    }
    x.pointee.requestPartLength = length
    let bytes = RecordWriter.exchangeMaximum(requestPart: length)
    let d = downstreams[x.pointee.downstream]
    let now = engine.now
    let claim = audit.claim(
      bytes: bytes, waitingSince: d.pointee.auditWaitSince, now: now, &x.pointee.reservation)
    switch claim {
    case .blocked:
      if d.pointee.auditWaitSince == 0 { d.pointee.auditWaitSince = now }
      d.pointee.auditWaitBytes = bytes
    case .unrecorded:
      counters.auditDrops += 1
      d.pointee.auditWaitSince = 0
    case .granted, .refused, .tooLarge:
      d.pointee.auditWaitSince = 0
    }
    return claim
  }

  /// Claims room for the record of a refusal, which says who was refused and no more. It tells nothing
  /// and did nothing, so it is not held back, but counted, where there is no room.
  mutating func reserveAuditOfRefusal(_ x: ExchangePointer, _ d: DownstreamPointer) {
    var facts = RequestFacts()
    fillConnectionFacts(d, &facts)
    switch reserveAudit(x, facts) {
    case .granted, .unrecorded: break
    case .blocked, .refused, .tooLarge:
      counters.auditRejects += 1
      d.pointee.auditWaitSince = 0
    }
  }

  @inline(__always)
  private func requestPartMemory(_ x: ExchangePointer) -> UnsafeMutableRawPointer {
    scratch + Int(x.pointee.slot) * ExchangeScratch.bytes
  }

  /// Tries the requests again that waited for room.
  mutating func retryBlockedByAudit() {
    guard audit.beginRetries() else { return }
    while let slot = audit.takeWaiting() {
      let d = downstreams[slot]
      let t = Self.transport(d)
      guard t.pointee.socket.isValid, t.pointee.closing == .open, d.pointee.exchange < 0 else {
        continue
      }
      guard
        audit.mayHaveRoom(
          d.pointee.auditWaitBytes, waitingSince: d.pointee.auditWaitSince, now: engine.now)
      else {
        audit.wait(slot)
        continue
      }
      t.pointee.paused = false
      useHeldInput(d)
      flushDownstream(d)
      armDownstream(d)
    }
  }

  func fillConnectionFacts(_ d: DownstreamPointer, _ facts: inout RequestFacts) {
    facts.client = UnsafeRawBufferPointer(
      start: clientText + Int(d.pointee.slot) * 64, count: d.pointee.clientLength)
    facts.listener = plan.listeners[Int(d.pointee.listener)].name.raw
    guard let channel = Self.transport(d).pointee.tls, channel.pointee.isEstablished else { return }
    // SAFETY: the names belong to the session or are static; both outlive the writing of the
    // request part, which follows at once.
    facts.tlsVersion = staticBytes(channel.pointee.session.version.label)
    facts.tlsCipher = channel.pointee.session.withCipherName { $0 }
    facts.sni = channel.pointee.session.withServerName { $0 }
  }

  // MARK: Records

  private func responseFacts(_ x: ExchangePointer) -> ResponseFacts {
    var facts = ResponseFacts(
      status: x.pointee.status, requestBytes: x.pointee.requestBytes,
      responseBytes: x.pointee.responseBytes, ending: x.pointee.ending.label)
    let started = x.pointee.started
    if x.pointee.server >= 0 {
      facts.upstream =
        plan.upstreams[Int(x.pointee.group)].servers[Int(x.pointee.server)].text.raw
    }
    if x.pointee.connected > 0 {
      facts.queueMicroseconds = (x.pointee.connected - started) / 1000
    }
    facts.connectMicroseconds = x.pointee.connectMicroseconds
    if x.pointee.firstByte > 0 {
      facts.firstByteMicroseconds = (x.pointee.firstByte - started) / 1000
    }
    facts.totalMicroseconds = (engine.now - started) / 1000
    return facts
  }

  private mutating func append(
    _ kind: RecordKind, _ x: ExchangePointer, withRequest: Bool, _ response: ResponseFacts?,
    isLast: Bool
  ) -> UInt64 {
    var part = UnsafeRawBufferPointer(start: nil, count: 0)
    let cold = x.pointee.requestPartCold.take()
    if withRequest {
      part = UnsafeRawBufferPointer(
        start: requestPartMemory(x), count: x.pointee.requestPartLength)
      if x.pointee.requestPartLength > ExchangeScratch.requestPart { part = Self.bytes(cold) }
    }
    let sequence = audit.append(
      kind, exchangeID: x.pointee.id, requestPart: part, response, isLast: isLast,
      wallMicroseconds: engine.wallMicroseconds, charging: &x.pointee.reservation)
    x.pointee.requestPartCold = cold
    return sequence
  }

  private static func bytes(_ slice: borrowing BufferSlice?) -> UnsafeRawBufferPointer {
    switch slice {
    case .some(let slice): slice.bytes
    case .none: UnsafeRawBufferPointer(start: nil, count: 0)
    }
  }

  /// A streamed response is about to begin.
  mutating func recordBegin(_ x: ExchangePointer) {
    x.pointee.hasBegun = true
    audit.endHold(x.pointee.slot)
    guard !x.pointee.reservation.isEmpty else { return }
    gate(x, .begin, append(.begin, x, withRequest: true, nil, isLast: false))
  }

  /// The response is whole: its only record, or the one that ends it.
  mutating func recordEnd(_ x: ExchangePointer) {
    guard !x.pointee.reservation.isEmpty, !x.pointee.hasRecord else { return }
    x.pointee.hasRecord = true
    let begun = x.pointee.hasBegun
    let sequence = append(
      begun ? .end : .exchange, x, withRequest: !begun, responseFacts(x), isLast: true)
    if waitsForAudit { gate(x, begun ? .end : .exchange, sequence) }
  }

  /// The exchange was cut off: what was recorded before did not come true, or nothing was.
  mutating func recordAbort(_ x: ExchangePointer) {
    guard !x.pointee.reservation.isEmpty else { return }
    let known = x.pointee.hasBegun || x.pointee.hasRecord
    _ = append(
      known ? .abort : .exchange, x, withRequest: !known, responseFacts(x),
      isLast: !x.pointee.hasRecord)
    x.pointee.hasRecord = true
    x.pointee.gate = .none
  }

  private mutating func gate(_ x: ExchangePointer, _ gate: AuditGate, _ sequence: UInt64) {
    x.pointee.gate = gate
    x.pointee.gateSequence = sequence
    audit.gate(
      x.pointee.slot, generation: exchanges.generation(x.pointee.slot), until: sequence)
  }

  /// Lets the responses leave whose records are durable, in the order of the records.
  mutating func releaseAudited() {
    while let settled = audit.takeSettled() {
      guard exchanges.generation(settled.slot) == settled.generation else { continue }
      let x = exchanges[settled.slot]
      let d = downstreams[x.pointee.downstream]
      if settled.isLost {
        // A record is lost, be it only the first of two: the response must not be seen.
        counters.unansweredByAudit += 1
        x.pointee.ending = .auditFailed
        dropExchange(x, d)
        abortDownstream(d)
        continue
      }
      guard x.pointee.gate != .none, x.pointee.gateSequence == settled.sequence else { continue }
      x.pointee.gate = .none
      responseProgressed(x, d)
    }
  }

  // MARK: The journal

  /// Runs the journal until it can take a first exchange, so that a proxy that says it is ready
  /// does not turn its first requests away.
  mutating func prepareJournal() {
    guard audits else { return }
    engine.refreshClocks()
    let deadline = engine.now + AuditDriver.startNanoseconds
    while audit.isPreparing(requestPart: ExchangeScratch.requestPart), engine.now < deadline {
      driveJournal()
      engine.wait(until: min(deadline, audit.nextDeadline(now: engine.now)))
      while let completion = engine.next() { dispatch(completion) }
    }
  }

  /// Submits what the journal wants done; asked once per turn, before waiting.
  mutating func driveJournal() {
    guard audits else { return }
    if audit.commit(&engine) { releaseAudited() }
    audit.maintain(&engine)
  }

  mutating func journalCompleted(_ lane: UInt32, _ completion: Completion) {
    if audit.completed(lane, completion, &engine) { releaseAudited() }
  }

  /// Says where the chain stands, for `millrace audit verify --anchor`.
  mutating func logAnchor() {
    guard let text = audit.anchor(workers: workerCount) else { return }
    logger.info("audit anchor \(text)")
  }

  @inline(__always) var audits: Bool { audit.isOn }
  /// True when responses wait for their records.
  @inline(__always) var waitsForAudit: Bool { audit.waitsForRecords }
}
