// The rules of an exchange a second time, as a proxy with flags has them: what it was before there was a
// state machine, function by function, with counts in place of bytes. Random sequences are given to both.

@testable import Exchange

struct Reference {
  enum Phase { case request, response, complete }
  enum Upstream { case none, connecting, assigned, busy }

  static let low = 131_072
  static let high = 262_144

  let audits: Bool
  let waits: Bool
  let idempotent: Bool
  var active = true
  var phase = Phase.request
  var upstream = Upstream.none
  var requestComplete: Bool
  var requestBlocked = false
  var requestWaiting = 0
  var hasReplay = false
  var attemptsLeft = 0
  var interimCount = 0
  var halfHead = false
  var committed = false
  var mayBeHeld = false
  var inHolds = false
  var responseBlocked = false
  var heldBytes = 0
  var outstanding = 0
  var responseBytes = 0
  var reserved = false
  var gate = AuditState.Gate.none
  var hasBegun = false
  var hasRecord = false
  var ending = Failure.Kind.complete
  /// What the last event asked for.
  var out = Actions.Effects.none
  var metrics = Failure.Metrics.none
  var status: UInt16 = 0

  init(audits: Bool, waits: Bool, idempotent: Bool, hasContent: Bool) {
    self.audits = audits
    self.waits = waits
    self.idempotent = idempotent
    requestComplete = !hasContent
  }

  var waiting: Int { outstanding + heldBytes }
  var mayLeave: Bool {
    !waits || gate == .none && (phase != .response || hasBegun)
  }

  private mutating func emit(_ effect: Actions.Effects) { out = out | effect }
  private mutating func count(_ metric: Failure.Metrics) { metrics = metrics | metric }

  static func status(_ kind: Failure.Kind) -> UInt16 {
    switch kind {
    case .noRoute: 404
    case .requestBodyMalformed: 400
    case .requestBodyTimeout: 408
    case .auditRecordTooLarge: 431
    case .auditFull, .resourcesExhausted: 503
    case .connectTimeout, .tlsHandshakeTimeout, .responseTimeout: 504
    default: 502
    }
  }

  // MARK: The beginning

  mutating func refuse(_ kind: Failure.Kind) {
    ending = kind
    answer(kind)
  }

  mutating func attach(_ how: Actions.Effects) {
    emit(.attach | how)
    upstream = .none
  }

  // MARK: The request

  mutating func forwardContent(_ count: Int, hasFrame: Bool) {
    guard hasFrame && requestWaiting < Self.high else {
      if requestWaiting == 0 && upstream == .busy { return fail(.resourcesExhausted) }
      requestBlocked = true
      emit(.pauseRequest)
      return
    }
    requestWaiting += count
  }

  mutating func requestProgressed(bulk: Bool) {
    if bulk && !requestComplete && requestWaiting > Self.low && !requestBlocked {
      requestBlocked = true
      emit(.pauseRequest)
    }
  }

  mutating func upstreamSent(_ count: Int) {
    requestWaiting -= count
    if requestBlocked && requestWaiting <= Self.low {
      requestBlocked = false
      emit(.resumeRequest)
    }
  }

  mutating func connectFailed(_ kind: Failure.Kind, byTimer: Bool) {
    count(.upstreamFailures)
    if byTimer { emit(.countTimeout) }
    if attemptsLeft > 0 && phase == .request {
      attemptsLeft -= 1
      emit(.countRetry | .releaseUpstream | .avoidServer | .carryUnsent)
      return attach(.none)
    }
    fail(kind)
  }

  mutating func upstreamEnded(reset: Bool) {
    if upstream == .assigned {
      emit(.countStale | .releaseUpstream)
      return attach(.carryUnsent)
    }
    switch phase {
    case .complete: releaseUpstream(keep: false)
    case .request:
      if !halfHead && interimCount == 0 && hasReplay && attemptsLeft > 0 {
        attemptsLeft -= 1
        hasReplay = false
        requestWaiting = 0
        emit(.countRetry | .releaseUpstream)
        return attach(.newConnection | .avoidServer | .carryCopy)
      }
      count(.upstreamFailures)
      fail(reset ? .upstreamReset : .upstreamClosedEarly)
    case .response:
      count(.upstreamFailures)
      fail(reset ? .upstreamReset : .upstreamTruncated)
    }
  }

  // MARK: The response

  mutating func interim() {
    interimCount += 1
    guard interimCount <= 32 else {
      count(.upstreamFailures)
      return fail(.upstreamMalformed)
    }
    emit(.writeInterim)
  }

  mutating func head(mayHold: Bool) {
    phase = .response
    mayBeHeld = mayHold
    if !requestComplete { emit(.last) }
  }

  mutating func content(_ count: Int, hasFrame: Bool) {
    guard hasFrame && waiting < Self.high else {
      if waiting == 0 { return fail(.resourcesExhausted) }
      return block()
    }
    responseBytes += count
    heldBytes += count
  }

  private mutating func block() {
    if !responseBlocked { emit(.pauseResponse) }
    responseBlocked = true
  }

  mutating func responseCompleted(_ framing: Int, reusable: Bool) {
    phase = .complete
    removeHold()
    heldBytes += framing
    releaseUpstream(keep: reusable && requestComplete)
    recordEnd()
    pushHeld()
    completeIfDelivered()
  }

  var mayHoldOn: Bool {
    mayBeHeld && !hasBegun && !responseBlocked && responseBytes <= 65_536 && heldBytes <= 131_072
  }

  mutating func finishTurn(bulk: Bool) {
    if waits && phase == .response && !hasBegun {
      if mayHoldOn {
        inHolds = true
        emit(.hold)
      } else {
        recordBegin()
      }
    }
    pushHeld()
    guard active, phase == .response else { return }
    if bulk && waiting > Self.low && upstream != .none { block() }
  }

  private mutating func pushHeld() {
    if heldBytes > 0 && mayLeave { emit(.send) }
  }

  mutating func left(_ count: Int, wire: Int) {
    heldBytes -= count
    outstanding += wire
    if phase != .request { committed = true }
  }

  mutating func taken(_ count: Int) {
    outstanding -= count
    responseProgressed()
  }

  private mutating func responseProgressed() {
    pushHeld()
    if responseBlocked && waiting <= Self.low {
      responseBlocked = false
      if upstream != .none { emit(.resumeResponse) }
    }
    if phase == .complete { completeIfDelivered() }
  }

  private mutating func completeIfDelivered() {
    guard heldBytes == 0, gate == .none, outstanding == 0 else { return }
    emit(.finish)
    if !requestComplete || ending == .badRequest { emit(.linger) }
    drop()
  }

  // MARK: Early ends

  mutating func fail(_ kind: Failure.Kind) {
    emit(.log)
    releaseUpstream(keep: false)
    if committed || hasBegun || phase == .complete { return abort(kind) }
    ending = kind
    if phase == .response {
      emit(.discardResponse)
      heldBytes = 0
    }
    answer(kind)
  }

  mutating func answer(_ kind: Failure.Kind) {
    releaseUpstream(keep: false)
    status = Self.status(kind)
    phase = .complete
    removeHold()
    if !requestComplete { emit(.last) }
    emit(.reply)
  }

  mutating func answerWritten(_ count: Int) {
    heldBytes += count
    recordEnd()
    pushHeld()
  }

  mutating func abort(_ kind: Failure.Kind) {
    ending = kind
    if reserved {
      emit(hasBegun || hasRecord ? .recordAbort : .recordExchange)
    }
    emit(.cut)
    drop()
  }

  private mutating func drop() {
    releaseUpstream(keep: false)
    removeHold()
    if reserved { emit(.releaseRoom) }
    active = false
  }

  private mutating func releaseUpstream(keep: Bool) {
    guard upstream != .none else { return }
    upstream = .none
    emit(.releaseUpstream)
    if keep { emit(.keepUpstream) }
  }

  private mutating func removeHold() {
    if inHolds { emit(.unhold) }
    inHolds = false
  }

  // MARK: Records

  private mutating func recordBegin() {
    hasBegun = true
    removeHold()
    guard reserved else { return }
    gate = .begin
    emit(.recordBegin | .awaitRecord)
  }

  private mutating func recordEnd() {
    guard reserved, !hasRecord else { return }
    hasRecord = true
    emit(hasBegun ? .recordEnd : .recordExchange)
    guard waits else { return }
    gate = hasBegun ? .end : .exchange
    emit(.awaitRecord)
  }

  mutating func durable() {
    gate = .none
    responseProgressed()
  }

  mutating func recordFailed() {
    count(.unansweredByAudit)
    ending = .auditFailed
    emit(.cut)
    drop()
  }

  mutating func holdEnded(bulk: Bool) {
    inHolds = false
    mayBeHeld = false
    finishTurn(bulk: bulk)
  }

  // MARK: The downstream

  mutating func halfClosed() {
    emit(.last)
    guard !requestComplete else { return }
    count(.downstreamAborts)
    abort(.downstreamClosed)
  }

  mutating func bodyTimedOut() {
    guard !requestComplete else { return }
    count(.timeouts)
    if phase == .request { fail(.requestBodyTimeout) } else { abort(.requestBodyTimeout) }
  }

  mutating func gone(_ kind: Failure.Kind, _ metric: Failure.Metrics) {
    count(metric)
    abort(kind)
  }

  mutating func announceClose() {
    if phase == .request { emit(.last) }
  }

  mutating func responseTimedOut() {
    count(.upstreamFailures | .timeouts)
    fail(.responseTimeout)
  }

  mutating func malformed() {
    count(.upstreamFailures)
    fail(.upstreamMalformed)
  }

  mutating func requestMalformed() {
    count(.badRequests)
    fail(.requestBodyMalformed)
  }
}
