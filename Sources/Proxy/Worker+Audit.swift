// The audit's part of an exchange: room claimed before the upstream sees the request, records
// written as the response takes shape, responses released when their records are durable. The
// journal decides what is written where; this file runs its file operations on the engine.
//
// TRAP: (file) `journal` is set from the worker's making to its end where `audits` is true, and
// nothing here is reached otherwise.

import AuditLog
import Configuration
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import TLS
import Transport

/// The answer to a claim on the audit log.
enum AuditClaim {
  case granted
  /// `when_full: reject`.
  case refused
  /// The log can never take its record.
  case tooLarge
  /// `when_full: block`: not now.
  case blocked
}

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
    switch journal!.reserve(bytes: bytes, records: RecordWriter.exchangeRecords) {
    case .granted(let reservation):
      x.pointee.reservation = reservation
      d.pointee.auditWaitSince = 0
      return .granted
    case .full(let reason):
      return auditIsFull(d, reason, bytes)
    }
  }

  /// How long a request waits for room while the log is only behind, whatever `when_full` says: a
  /// segment takes some milliseconds to make, and a log that is about to have room is not full.
  private static var auditPatience: Int64 { 2_000_000_000 }

  private mutating func auditIsFull(
    _ d: DownstreamPointer, _ reason: JournalFullReason, _ bytes: Int
  ) -> AuditClaim {
    let policy = plan.audit?.whenFull ?? .reject
    // Whatever `when_full` says: no client can avoid its record by what it sends.
    if reason == .recordTooLarge { return .tooLarge }
    if reason != .shuttingDown {
      let now = engine.now
      if d.pointee.auditWaitSince == 0 { d.pointee.auditWaitSince = now }
      d.pointee.auditWaitBytes = bytes
      let behind =
        journal!.prepareError() == 0
        && now - d.pointee.auditWaitSince < Self.auditPatience
      if policy == .block || behind { return .blocked }
    }
    d.pointee.auditWaitSince = 0
    // The log has room for all but large requests: to send many of them is no way around it either.
    guard policy == .drop && reason != .large else { return .refused }
    counters.auditDrops += 1
    journal!.countDropped()
    return .granted
  }

  /// Claims room for the record of a refusal, which says who was refused and no more. It tells nothing
  /// and did nothing, so it is not held back, but counted, where there is no room.
  mutating func reserveAuditOfRefusal(_ x: ExchangePointer, _ d: DownstreamPointer) {
    var facts = RequestFacts()
    fillConnectionFacts(d, &facts)
    switch reserveAudit(x, facts) {
    case .granted: break
    case .blocked, .refused, .tooLarge:
      counters.auditRejects += 1
      d.pointee.auditWaitSince = 0
    }
  }

  @inline(__always)
  private func requestPartMemory(_ x: ExchangePointer) -> UnsafeMutableRawPointer {
    scratch + Int(x.pointee.slot) * ExchangeScratch.bytes
  }

  mutating func releaseReservation(_ x: ExchangePointer) {
    if !x.pointee.reservation.isEmpty { journal!.release(&x.pointee.reservation) }
  }

  /// Tries the requests again that waited for room.
  mutating func retryBlockedByAudit() {
    var waiting: [UInt32] = []
    swap(&waiting, &auditBlocked)
    let impatient = engine.now - Self.auditPatience
    for slot in waiting {
      let d = downstreams[slot]
      let t = Self.transport(d)
      guard t.pointee.socket.isValid, t.pointee.closing == .open, d.pointee.exchange < 0 else {
        continue
      }
      // First come, first served; who has waited for long is looked at in any case.
      if d.pointee.auditWaitSince > impatient, journal!.prepareError() == 0,
        !journal!.hasSpace(d.pointee.auditWaitBytes)
      {
        auditBlocked.append(slot)
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
    _ kind: RecordKind, _ x: ExchangePointer, withRequest: Bool, _ response: ResponseFacts?
  ) -> UInt64 {
    var part = UnsafeRawBufferPointer(start: nil, count: 0)
    let cold = x.pointee.requestPartCold.take()
    if withRequest {
      part = UnsafeRawBufferPointer(
        start: requestPartMemory(x), count: x.pointee.requestPartLength)
      if x.pointee.requestPartLength > ExchangeScratch.requestPart { part = Self.bytes(cold) }
    }
    let sequence = journal!.append(
      kind, exchangeID: x.pointee.id, requestPart: part, response: response,
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
    holds.remove(x.pointee.slot)
    guard !x.pointee.reservation.isEmpty else { return }
    gate(x, .begin, append(.begin, x, withRequest: true, nil))
  }

  /// The response is whole: its only record, or the one that ends it.
  mutating func recordEnd(_ x: ExchangePointer) {
    guard !x.pointee.reservation.isEmpty, !x.pointee.hasRecord else { return }
    x.pointee.hasRecord = true
    exchangesRecorded += 1
    let begun = x.pointee.hasBegun
    let sequence = append(
      begun ? .end : .exchange, x, withRequest: !begun, responseFacts(x))
    if waitsForAudit { gate(x, begun ? .end : .exchange, sequence) }
  }

  /// The exchange was cut off: what was recorded before did not come true, or nothing was.
  mutating func recordAbort(_ x: ExchangePointer) {
    guard !x.pointee.reservation.isEmpty else { return }
    let known = x.pointee.hasBegun || x.pointee.hasRecord
    if !x.pointee.hasRecord { exchangesRecorded += 1 }
    _ = append(known ? .abort : .exchange, x, withRequest: !known, responseFacts(x))
    x.pointee.hasRecord = true
    x.pointee.gate = .none
  }

  private mutating func gate(_ x: ExchangePointer, _ gate: AuditGate, _ sequence: UInt64) {
    x.pointee.gate = gate
    x.pointee.gateSequence = sequence
    gated.append(
      GateQueue.Entry(
        sequence: sequence, slot: x.pointee.slot,
        generation: exchanges.generation(x.pointee.slot)))
  }

  /// Lets the responses leave whose records are durable, in the order of the records.
  mutating func releaseAudited() {
    guard waitsForAudit, !gated.isEmpty else { return }
    let (durable, failedFirst, failedThrough) = journal!.marks()
    while let entry = gated.popFirst(through: max(durable, failedThrough)) {
      guard exchanges.generation(entry.slot) == entry.generation else { continue }
      let x = exchanges[entry.slot]
      let d = downstreams[x.pointee.downstream]
      if entry.sequence >= failedFirst && entry.sequence <= failedThrough {
        // A record is lost, be it only the first of two: the response must not be seen.
        counters.unansweredByAudit += 1
        x.pointee.ending = .auditFailed
        dropExchange(x, d)
        abortDownstream(d)
        continue
      }
      guard x.pointee.gate != .none, x.pointee.gateSequence == entry.sequence else { continue }
      x.pointee.gate = .none
      responseProgressed(x, d)
    }
  }

  /// Runs the journal until it can take a first exchange, so that a proxy that says it is ready
  /// does not turn its first requests away.
  mutating func prepareJournal() {
    guard audits else { return }
    engine.refreshClocks()
    let deadline = engine.now + Self.auditPatience
    let bytes = RecordWriter.exchangeMaximum(requestPart: ExchangeScratch.requestPart)
    while !journal!.hasSpace(bytes), journal!.prepareError() == 0, engine.now < deadline {
      driveJournal()
      engine.wait(until: min(deadline, journalDeadline))
      while let completion = engine.next() { dispatch(completion) }
    }
  }

  // MARK: The journal's file operations

  /// Submits what the journal wants done; asked once per turn, before waiting.
  mutating func driveJournal() {
    guard audits else { return }
    drive(.commit)
    if journal!.takeFailure() { releaseAudited() }
    drive(.prepare)
    drive(.retire)
    drive(.fill)
    drive(.watch)
    if journal!.hasCandidate() { adoptAuditDirectory() }
    journalDeadline = journal!.deadline() ?? .max
    while let notice = journal!.takeNotice() { logNotice(notice) }
  }

  @inline(__always)
  private mutating func drive(_ lane: JournalLane) {
    if let operation = journal!.nextOperation(lane, now: engine.now) { submit(operation, lane) }
  }

  private mutating func submit(_ operation: consuming JournalOperation, _ lane: JournalLane) {
    let token = Token(
      kind: TokenKind.journal.rawValue, generation: 0, slot: UInt32(lane.rawValue))
    switch consume operation {
    case .open(let path, let flags, let mode):
      engine.open(String(cString: path), flags: flags, mode: mode, token)
    case .allocate(let file, let offset, let length):
      engine.allocate(
        Descriptor(rawValue: file), offset: Int64(offset), length: Int64(length),
        keepsSize: true, token)
    case .write(let file, let buffer, let count, let offset, let durable):
      engine.write(
        Descriptor(rawValue: file), from: buffer, count: count, offset: Int64(offset),
        durable: durable, token)
    case .sync(let file, let dataOnly):
      engine.synchronize(Descriptor(rawValue: file), dataOnly: dataOnly, token)
    case .truncate(let file, let length):
      engine.truncate(Descriptor(rawValue: file), length: Int64(length), token)
    case .rename(let from, let to):
      engine.rename(String(cString: from), to: String(cString: to), token)
    case .unlink(let path):
      engine.unlink(String(cString: path), token)
    case .close(let file):
      engine.closeFile(Descriptor(rawValue: file), token)
    case .status(let path):
      engine.status(path: String(cString: path), token)
    }
  }

  mutating func journalCompleted(_ lane: UInt32, _ completion: Completion) {
    guard let lane = JournalLane(rawValue: Int(lane)) else { return }
    if lane == .watch {
      let status = completion.hasStatus ? engine.takeStatus(completion) : nil
      return journal!.completedWatch(result: completion.result, status: status)
    }
    var buffer: FileBuffer?
    if completion.hasFileBuffer { buffer = engine.takeFileBuffer(completion) }
    journal!.completed(lane, result: completion.result, buffer: buffer, now: engine.now)
    // At once: a later failure must not cover this one's range.
    _ = journal!.takeFailure()
    releaseAudited()
  }

  /// The directory of the audit log was replaced. One blocking look, as at the start: nothing can be
  /// recorded before.
  private mutating func adoptAuditDirectory() {
    let problem = auditDirectory?.takeAgain()
    if let problem, problem != auditDirectoryProblem {
      logger.error(
        """
        audit directory could not be used again worker=\(index) cause="\(problem)" \
        hint="see that no other millrace uses it and that it is writable"
        """)
    }
    auditDirectoryProblem = problem
    journal!.adoptDirectory(problem == nil)
  }

  private func logNotice(_ notice: JournalNotice) {
    func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
    switch notice {
    case .directIOUnavailable(let code):
      logger.notice(
        "audit writes are buffered worker=\(index) cause=\"O_DIRECT: \(reason(code))\"")
    case .durableWriteUnavailable(let code):
      logger.notice(
        "audit writes are synced apart worker=\(index) cause=\"RWF_DSYNC: \(reason(code))\"")
    case .commitFailed(let code, let first, let last):
      logger.error(
        """
        audit commit failed worker=\(index) first=\(first) last=\(last) \
        cause="\(reason(code))" consequence="these exchanges are closed unanswered"
        """)
    case .prepareFailed(let code):
      logger.error(
        """
        audit segment could not be made worker=\(index) cause="\(reason(code))" \
        consequence="tried again; requests get what when_full says once the log is full"
        """)
    case .retireFailed(let code):
      logger.warning(
        "audit segment could not be closed worker=\(index) cause=\"\(reason(code))\"")
    case .logLost(let code, let isDirectory, let last):
      let directory = plan.audit?.directory ?? ""
      logger.error(
        """
        audit log is gone worker=\(index) directory=\(directory) \
        missing=\(isDirectory ? "directory" : "segment") last=\(last) cause="\(reason(code))" \
        effect="\(isDirectory ? "requests get what when_full says" : "a new segment is begun")" \
        hint="\(isDirectory ? "create the directory again or mount it; " : "")records up to last may \
        be lost; do not delete or move files of a running proxy's log"
        """)
    case .logFound:
      logger.notice("audit log is back worker=\(index) directory=\(plan.audit?.directory ?? "")")
    }
  }

  /// Says where the chain stands, for `millrace audit verify --anchor`.
  mutating func logAnchor() {
    guard audits, let text = journal!.anchorLine(workers: workerCount) else { return }
    logger.info("audit anchor \(text)")
  }
}

extension Journal {
  // For a journal that is stored in an optional, which can only be mutated in place.
  @inline(__always)
  mutating func marks() -> (durable: UInt64, failedFirst: UInt64, failedThrough: UInt64) {
    (durableSequence, failedFirst, failedThrough)
  }
  mutating func deadline() -> Int64? { nextDeadline }
  mutating func hasCandidate() -> Bool { wantsDirectory }
  mutating func hasShutDown() -> Bool { isShutDown }
  mutating func prepareError() -> Int32 { lastPrepareError }
  @inline(__always)
  mutating func hasSpace(_ bytes: Int) -> Bool {
    spaceAvailable(bytes: bytes, records: RecordWriter.exchangeRecords)
  }
  mutating func anchorLine(workers: Int) -> String? { anchor(workers: workers) }
}
