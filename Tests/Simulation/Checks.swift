// What must be true of a run when it is over. Each check has a name of its own, which a report and a
// deliberate break of the product can be held against.

import AuditLog
import Configuration
import MillraceEngine
import Proxy

extension ProxyRun {
  func check() {
    checkScripts()
    if let stillAccount { checkNothingIsHeld(stillAccount, "still", keepsListeners: true) }
    if let account {
      checkNothingIsHeld(account, "end", keepsListeners: false)
      checkCounters(account)
    }
  }

  // MARK: Every request

  private func checkScripts() {
    for script in scripts where !script.isRaw {
      switch script.outcome {
      case .unsent: break
      case .waiting:
        // The client is still there although the worker has ended.
        if !isDead { fail("answer", "\(script.id) was neither answered nor ended") }
      case .served: break
      case .refused(let label): checkRefusal(script, label)
      case .cut:
        if script.excuses.isEmpty {
          fail("served", "\(script.id) was cut off although nothing was in its way")
        }
      }
    }
  }

  private func checkRefusal(_ script: RequestScript, _ label: String) {
    if let expected = script.expectedLabel, label == expected || label == "head" { return }
    // A client that opens streams and reads nothing has room in the log for each of them.
    let mayBeCrowdedOut =
      totals.streamAttacks > 0 && script.status == 503 && ["audit_full", "head"].contains(label)
    if script.excuses.isEmpty && !mayBeCrowdedOut {
      fail("served", "\(script.id) got \(script.status) (\(label)) although nothing was in its way")
    }
    if label == "streams_exhausted", runConditions.configuration.limits.streams == nil,
      !runConditions.mayHTTP2
    {
      fail("served", "\(script.id) was refused for a limit that is not set")
    }
    if label != "head", let status = Self.statuses[label], status != script.status {
      fail("reason", "\(script.id) got \(script.status) for \(label)")
    }
    if label != "head", Self.statuses[label] == nil {
      fail(
        "reason", "\(script.id) got \(script.status) for \(label), which a good request never is")
    }
  }

  /// What a well-formed request may be refused for, and how.
  private static let statuses: [String: Int] = [
    "no_route": 404, "too_many_fields": 431, "method_refused": 405,
    "request_body_timeout": 408, "head_timeout": 408,
    "tls_upstream_failed": 502, "tls_upstream_handshake_timeout": 504,
    "connect_refused": 502, "connect_unreachable": 502,
    "connect_failed": 502,
    "upstream_reset": 502, "upstream_closed_early": 502, "upstream_malformed": 502,
    "upstream_truncated": 502, "upstream_stream_refused": 502, "upstream_upgrade": 502,
    "audit_full": 503, "streams_exhausted": 503,
    "audit_record_too_large": 431,
    "resources_exhausted": 503,
    "connect_timeout": 504, "response_timeout": 504, "upstream_ping_timeout": 504,
  ]

  // MARK: What is held

  private static let coldBytesPerClient = 2 << 20
  private static let coldBytesPerStream = 512 << 10

  private func checkNothingIsHeld(_ a: WorkerAccount, _ when: String, keepsListeners: Bool) {
    func zero(_ value: Int, _ name: String) {
      if value != 0 { failAnyway("leak", "\(when): \(value) \(name)") }
    }
    zero(a.connections, "connections")
    zero(a.exchanges, "exchanges")
    zero(a.upstreamConnections, "upstream connections")
    zero(a.upstreamIdle, "idle upstream connections")
    zero(a.timers, "timers")
    zero(a.counted, "connections counted against the limit")
    zero(a.active, "requests that a server is thought to serve")
    zero(a.engine.leasedBuffers, "leased buffers")
    zero(a.engine.framesInUse, "frames")
    zero(a.engine.coldBytes, "bytes of cold memory")
    if a.isGated { failAnyway("leak", "\(when): exchanges wait for records") }
    if !keepsListeners { zero(a.engine.operationsInFlight, "operations in flight") }
  }

  private func checkCounters(_ a: WorkerAccount) {
    let c = a.counters
    if c.responses > c.requests {
      failAnyway("counters", "\(c.responses) responses to \(c.requests) requests")
    }
    if c.upstreamConnects + c.upstreamReuses + c.responses < totals.arrivals {
      failAnyway("counters", "\(totals.arrivals) requests reached servers over too few connections")
    }
    let seen = scripts.filter { $0.outcome == .served }.count
    if seen > c.responses + c.requests { failAnyway("counters", "more answers than requests") }
    // Held input and waiting output, both ways, on both sides: at most a few times `Flow.Limits.high` and
    // a large buffer each. A client that sends and does not read must not get more.
    let clients = min(c.accepted, runConditions.configuration.limits.connections)
    // With HTTP/2 a stream costs what a client does otherwise, less what the connection has.
    let bound =
      clients * Self.coldBytesPerClient
      + (runConditions.mayHTTP2 ? totals.streamRequests * Self.coldBytesPerStream : 0)
    if a.engine.coldBytesHighest > bound {
      failAnyway("memory", "\(a.engine.coldBytesHighest) bytes of cold memory, \(clients) clients")
    }
    // FrameBudget counts the most frames that a worker can hold.
    if runConditions.conditions.frames == nil && c.framesExhausted > 0 {
      failAnyway("frames", "\(c.framesExhausted) times no frame was left")
    }
    guard runConditions.configuration.audit != nil, !isDead, !a.hasAbandonedJournal else { return }
    // Each exchange is recorded, refused a record and counted, dropped and counted, or closed
    // because a record of it was lost, be it the first of two or the only one.
    let told = Int(a.exchangesRecorded) + c.auditRejects + c.auditDrops
    if told > c.requests || told + c.unansweredByAudit < c.requests {
      failAnyway(
        "counters",
        "\(c.requests) requests, but \(a.exchangesRecorded) recorded, \(c.auditRejects) rejected, "
          + "\(c.auditDrops) dropped")
    }
  }

  // MARK: The audit log

  /// Holds the log on the disk against what clients saw.
  /// - Parameter log: the log after this run, recovered.
  func checkAudit(_ log: AuditReading) {
    guard let audit = runConditions.configuration.audit else { return }
    if log.nameless > 0 { failAnyway("address", "\(log.nameless) records without a client") }
    if let account, wreck == nil, !account.hasAbandonedJournal, account.journal.failedRecords == 0 {
      let finished = log.finished(run: run.hexadecimal)
      if finished != Int(account.exchangesRecorded) {
        failAnyway(
          "audit", "\(account.exchangesRecorded) exchanges were recorded, the log has \(finished)")
      }
    }
    guard audit.durability == .beforeResponse else { return }
    var missing: [String] = []
    var pathless = log.pathless
    for script in scripts where !script.isRaw {
      let path = String(script.target.prefix { $0 != "?" })
      let entry = log.entry(path: path)
      // More fields than are read: the record does not say of what.
      if entry == nil, script.sawHead, script.outcome == .refused(label: "too_many_fields") {
        pathless[script.status, default: 0] -= 1
        if pathless[script.status]! < 0 {
          missing.append(
            "the client of \(script.id) saw \(script.status), and no record tells of it")
        }
        continue
      }
      if let text = contradiction(script, entry) { missing.append(text) }
    }
    // `when_full: drop` may have let some go unrecorded, which are counted.
    let drops = account?.counters.auditDrops ?? 0
    if let account, drops > account.journal.refusedMemory + account.journal.refusedDisk {
      failAnyway("audit", "\(drops) requests went unrecorded, and not for want of room")
    }
    if missing.count > drops {
      for text in missing.prefix(5) { failAnyway("audit", text) }
    }
  }

  /// What the log says wrong of an request script; nil if nothing.
  private func contradiction(_ script: RequestScript, _ entry: AuditEntry?) -> String? {
    // A request that was not understood, or came too late to be, is recorded without its path.
    if script.outcome == .refused(label: "head_timeout") { return nil }
    guard script.sawHead else { return nil }
    if case .refused(let label) = script.outcome,
      ["audit_full", "audit_record_too_large", "streams_exhausted"].contains(label)
        || (label == "head" && script.status == 503)
    {
      return nil
    }
    if script.outcome == .cut && script.status >= 400 && script.arrivals == 0 { return nil }
    guard let entry else {
      return "the client of \(script.id) saw a response (\(script.outcome)) that no record tells of"
    }
    if entry.hasAbort && (entry.ending == "complete" || entry.ending.isEmpty) {
      return "\(script.id) was aborted, and its record says no reason"
    }
    if script.outcome == .cut {
      return entry.hasExchange || entry.hasBegin
        ? nil : "the client of \(script.id) saw a response begin that no record tells of"
    }
    guard script.outcome == .served || script.isSettled else { return nil }
    if !entry.hasExchange && !(entry.hasBegin && entry.hasEnd) {
      return "the client of \(script.id) saw a whole response whose end no record tells of: "
        + "begin=\(entry.hasBegin) abort=\(entry.hasAbort) ending=\(entry.ending)"
    }
    if entry.status != script.status {
      return "\(script.id) was answered \(script.status), its record says \(entry.status)"
    }
    return nil
  }

  /// Verifies what a crash left, before recovery: torn it may be, and no damage.
  func checkWreck(_ disk: SimulatedDisk) {
    guard runConditions.configuration.audit != nil, !runConditions.isUnordered else { return }
    do {
      let report = try Verification(
        directory: RunConditions.directory, files: SimulatedFiles(disk, from: judgedFrom.segment)
      ).run()
      if report.verdict == .broken { failAnyway("wreck", "\(report)") }
    } catch {
      failAnyway("wreck", "\(error)")
    }
  }

  /// Verifies the chain. - Parameter files: the disk after recovery, or after an orderly end.
  func checkChain(_ disk: SimulatedDisk, afterRecovery: Bool) {
    guard runConditions.configuration.audit != nil else { return }
    // With `none` nothing orders the writes of a crashed machine.
    if runConditions.isUnordered && wreck != nil { return }
    var anchors = self.anchors
    if wreck == nil, let last = account?.anchor { anchors.append(last) }
    // An anchor that a journal without durability gave may be of what a crash took.
    do {
      let report = try Verification(
        directory: RunConditions.directory, files: SimulatedFiles(disk, from: judgedFrom.segment)
      ).run(anchors: anchors.compactMap(Anchor.init).filter { $0.sequence >= judgedFrom.sequence })
      let allowed: Verdict =
        afterRecovery || (account?.hasAbandonedJournal == false && wreck == nil)
        ? .intact : .unsealedTail
      // What a failed commit left behind the last seal of its segment stays there.
      let isDeclared = report.chains.allSatisfy { $0.unsealedTails.isEmpty || $0.lost > 0 }
      let isTroubled =
        isDeclared || (account?.journal.failedCommits ?? 0) > 0 && !afterRecovery
      if report.verdict > (isTroubled ? .unsealedTail : allowed) {
        failAnyway("chain", "\(report.verdict) \(report)")
      }
    } catch {
      failAnyway("chain", "\(error)")
    }
  }
}
