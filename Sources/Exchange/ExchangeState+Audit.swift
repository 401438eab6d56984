// The audit's part: room claimed before a server sees the request, records written as the response
// takes shape, and the gate between a record and the bytes that wait for it.

/// What the audit log has of an exchange, and what the response waits for.
public struct AuditState: BitwiseCopyable, Hashable, Sendable {
  public internal(set) var record = Record.none
  public internal(set) var gate = Gate.none
  public internal(set) var hold = Hold.undecided
  /// Bytes in the downstream's buffer that have not gone to its transport.
  public internal(set) var heldBytes = 0

  public enum Record: UInt8, BitwiseCopyable, Hashable, Sendable {
    /// Not recorded: no audit log, or no room in it.
    case none
    /// Room is claimed for all records that the exchange may need.
    case claimed
    /// A `begin` is written.
    case begun
    /// Its only record is written, or the one behind `begin`.
    case ended
  }

  /// The record that the response waits for.
  public enum Gate: UInt8, BitwiseCopyable, Hashable, Sendable {
    case none
    /// The only record.
    case exchange
    /// The record before the first byte of a streamed response.
    case begin
    /// The record before its last bytes.
    case end
  }

  /// Whether an incomplete response is held for its end.
  public enum Hold: UInt8, BitwiseCopyable, Hashable, Sendable {
    /// There is no response yet.
    case undecided
    case eligible
    case held
    case ineligible
    /// The response has begun, with a record where it has one.
    case begun
  }
}

extension ExchangeState {
  @inlinable @inline(__always)
  var awaitsRecords: Bool { options.has(.awaitsRecords) && options.has(.hasDownstream) }

  // MARK: Room

  /// There is room in the log. - Parameter recorded: false if the request is served without a record
  /// (`when_full: drop`).
  public mutating func roomGranted(recorded: Bool = true) -> Actions {
    if recorded { audit.record = .claimed }
    if stage == .claimingRefusal { return replyToRefusal(.none) }
    expectClaim()
    stage = .routing
    return Actions(.countRequest | .route)
  }

  /// There is none, and the request may not be served without (`when_full: reject`).
  public mutating func roomRefused() -> Actions {
    if stage == .claimingRefusal { return replyToRefusal(.countAuditReject) }
    expectClaim()
    var actions = Actions(.auditFull, .countRequest | .count)
    reply(.auditFull, status: Failure(.auditFull).status, &actions)
    return actions
  }

  /// The log can never take this record: the request is refused, and that is recorded.
  public mutating func roomTooLarge() -> Actions {
    if stage == .claimingRefusal { return replyToRefusal(.countAuditReject) }
    expectClaim()
    stage = .claimingRefusal
    ending = .auditRecordTooLarge
    status = Failure(.auditRecordTooLarge).status
    return Actions(.auditRecordTooLarge, .countRequest | .count | .claimRefusalRoom)
  }

  /// There is none now. A refusal does not wait: it tells nothing and did nothing.
  public mutating func roomDelayed() -> Actions {
    if stage == .claimingRefusal { return replyToRefusal(.countAuditReject) }
    expectClaim()
    stage = .waiting
    return Actions(.waitForRoom)
  }

  /// It has waited for as long as an idle connection may; the request was never begun.
  public mutating func roomTimedOut() -> Actions {
    // TRAP: a timer that is set by `.waitForRoom`.
    precondition(stage == .waiting, "a wait that was not begun")
    ending = .auditFull
    return close()
  }

  private func expectClaim() {
    // TRAP: the answer to a claim, or to one that is repeated while the exchange waits.
    precondition(stage == .claiming || stage == .waiting, "room that was not requested")
  }

  private mutating func replyToRefusal(_ effects: Actions.Effects) -> Actions {
    var actions = Actions(ending, effects)
    reply(ending, status: status, &actions)
    return actions
  }

  // MARK: Holding

  /// Holds an incomplete response, or holds it on: many servers write a head and its content apart, and
  /// one record says what two would. - Returns: false if it has to begin now.
  mutating func hold(_ actions: inout Actions) -> Bool {
    guard canHoldOn else { return false }
    audit.hold = .held
    actions.insert(.hold)
    return true
  }

  /// Whether an incomplete response is still small; where that is so the driver makes room in a
  /// frame of many pieces by joining them. A paused one waits for room that only a response that
  /// leaves can make.
  public var canHoldOn: Bool {
    (audit.hold == .eligible || audit.hold == .held) && !responseFlow.isPaused
      && responseBytes <= UInt64(limits.heldContent)
      && audit.heldBytes <= Int(limits.heldBytes)
  }

  /// The worker holds too much already.
  public mutating func holdRefused(bulk: Bool) -> Actions { stopHolding(bulk: bulk) }

  /// The response has been held for as long as it may be; the queue no longer has it.
  public mutating func holdExpired(bulk: Bool) -> Actions { stopHolding(bulk: bulk) }

  private mutating func stopHolding(bulk: Bool) -> Actions {
    // TRAP: the queue has what `.hold` gave it and `.unhold` did not take out.
    precondition(audit.hold == .held, "a response that was not held")
    audit.hold = .ineligible
    return responseTurnEnded(bulk: bulk)
  }

  @inline(__always)
  mutating func unhold(_ actions: inout Actions) {
    guard audit.hold == .held else { return }
    audit.hold = .ineligible
    actions.insert(.unhold)
  }

  // MARK: Records

  /// A streamed response is about to begin.
  mutating func begin(_ actions: inout Actions) {
    unhold(&actions)
    audit.hold = .begun
    guard audit.record == .claimed else { return }
    audit.record = .begun
    actions.insert(.recordBegin)
    guard awaitsRecords else { return }
    audit.gate = .begin
    actions.insert(.awaitRecord)
  }

  /// The response is whole: its only record, or the one that ends it.
  @inline(__always)
  mutating func recordEnd(_ actions: inout Actions) {
    guard audit.record == .claimed || audit.record == .begun else { return }
    let begun = audit.record == .begun
    audit.record = .ended
    actions.insert(begun ? .recordEnd : .recordExchange)
    // A tunnel's bytes have left by now.
    guard awaitsRecords, !isTunnel else { return }
    audit.gate = begun ? .end : .exchange
    actions.insert(.awaitRecord)
  }

  /// The exchange is cut: what was recorded before did not come true, or nothing was.
  mutating func recordAbort(_ actions: inout Actions) {
    guard audit.record != .none else { return }
    actions.insert(audit.record == .claimed ? .recordExchange : .recordAbort)
    audit.record = .ended
    audit.gate = .none
  }

  /// A record is durable. One that is no longer waited for, since a later one is, changes nothing.
  public mutating func recordDurable(_ record: AuditState.Gate) -> Actions {
    guard stage != .ended, record != .none, audit.gate == record else { return Actions() }
    audit.gate = .none
    return progress(0)
  }

  /// A record is lost, be it only the first of two: the response must not be seen.
  public mutating func recordFailed() -> Actions {
    // TRAP: only records that are waited for are told.
    precondition(stage != .ended && audit.gate != .none, "no record is pending")
    var actions = Actions(.auditFailed, .count)
    ending = .auditFailed
    audit.gate = .none
    release(keep: false, &actions)
    unhold(&actions)
    actions.insert(.cut)
    end(&actions)
    return actions
  }
}
