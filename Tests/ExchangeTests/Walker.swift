// An exchange with the ledger of its driver: what it holds, has written, counted and promised, kept apart
// from the machine so that the two can disagree. Each rule that is broken is noted by its name.

@testable import Exchange

/// What the driver has of an exchange.
struct Ledger: Hashable {
  enum End: UInt8 { case none, finished, cut, closed }

  struct Records: OptionSet, Hashable {
    let rawValue: UInt8
    static let begin = Records(rawValue: 1)
    static let exchange = Records(rawValue: 2)
    static let end = Records(rawValue: 4)
    static let abort = Records(rawValue: 8)
  }

  var requestCounted = false
  var hasRoom = false
  var routes = false
  var hasUpstream = false
  var hasPlace = false
  var carriesUnsent = false
  var serverSpoke = false
  var heads: UInt8 = 0
  var replied = false
  var finalLeft = false
  var isHeld = false
  var requestPaused = false
  var responsePaused = false
  /// What is paused waits for a window of the other side's protocol.
  var awaitsServerWindow = false
  var awaitsClientWindow = false
  var records: Records = []
  var awaitsBegin = false
  var awaitsLast = false
  var toldLast = false
  var end = End.none

  /// Records are durable in their order.
  var isRecordDurable: Bool {
    !records.isDisjoint(with: [.begin, .exchange]) && !awaitsBegin
      && !(records.contains(.exchange) && awaitsLast)
  }

  /// All of it in bits.
  var bits: UInt64 {
    var bits: UInt64 = 0
    func add(_ flag: Bool) { bits = bits << 1 | (flag ? 1 : 0) }
    add(requestCounted)
    add(awaitsServerWindow)
    add(awaitsClientWindow)
    add(hasRoom)
    add(routes)
    add(hasUpstream)
    add(hasPlace)
    add(carriesUnsent)
    add(serverSpoke)
    add(replied)
    add(finalLeft)
    add(isHeld)
    add(requestPaused)
    add(responsePaused)
    add(awaitsBegin)
    add(awaitsLast)
    add(toldLast)
    return ((bits << 4 | UInt64(records.rawValue)) << 2 | UInt64(min(heads, 3))) << 2
      | UInt64(end.rawValue)
  }
}

struct Walker {
  var state: ExchangeState
  var ledger = Ledger()
  /// The first rule that was broken.
  var broken: String?

  init(_ state: ExchangeState) { self.state = state }

  /// Bytes of these that were not said to be in a shared buffer.
  var handable: Int { Int(state.responseFlow.buffered) - state.audit.heldBytes }

  /// Bytes of the response that its transport has.
  var inTransport: Int { Int(state.responseFlow.waiting) - state.audit.heldBytes }

  struct Key: Hashable {
    let state: UInt64
    let rest: UInt64
  }

  /// What two states have to share to behave alike from now on. Left out is what nothing can depend on
  /// any more: the reason of a reply that is written, attempts and a copy without a connection, interim
  /// responses behind the final head, and what a whole request has still to send behind it.
  var key: Key {
    let s = state
    let isAnswered = s.response >= .relaying
    let isReleased = s.upstream == .released
    let mayHold = s.awaitsRecords && s.audit.hold != .begun
    var bits = UInt64(s.stage.rawValue)
    func add(_ value: UInt64, _ width: UInt64) { bits = bits &<< width | value }
    add(UInt64(s.mode.rawValue), 1)
    add(UInt64(s.request.rawValue), 2)
    add(s.expectation == .awaited ? 1 : 0, 1)
    add(UInt64(s.upstream.rawValue), 4)
    add(UInt64(s.response.rawValue), 3)
    add(UInt64(s.delivery.rawValue), 2)
    add(UInt64(s.audit.record.rawValue), 2)
    add(UInt64(s.audit.gate.rawValue), 2)
    // What is cut and not answered is told by it too.
    add(s.awaitsRecords || s.audit.hold == .begun ? UInt64(s.audit.hold.rawValue) : 0, 3)
    add(UInt64(min(s.audit.heldBytes, 15)), 4)
    add(isReleased ? 0 : UInt64(s.retries.attempts), 2)
    add(s.hasCopy && !isReleased ? 1 : 0, 1)
    add(isAnswered ? 0 : UInt64(s.interims), 2)
    add(s.response == .whole ? (s.ending == .complete ? 0 : lingers ? 1 : 2) : reason, 5)
    let isSent = isAnswered && s.request != .open && !s.isTunnel
    add(isSent ? 0 : min(s.requestFlow.waiting, 15), 4)
    add(s.requestFlow.isPaused ? 1 : 0, 1)
    add(min(s.responseFlow.waiting, 15), 4)
    add(s.responseFlow.isPaused ? 1 : 0, 1)
    add(mayHold ? s.responseBytes : 0, 3)
    return Key(state: bits, rest: ledger.bits)
  }

  private var lingers: Bool { state.ending == .badRequest || state.ending == .headTimeout }
  private var reason: UInt64 { UInt64(state.ending.rawValue) }

  mutating func require(_ holds: Bool, _ rule: String) {
    if !holds && broken == nil { broken = rule }
  }

  // MARK: Effects

  /// Executes what an event asks for, and notes what must not have been asked.
  mutating func execute(_ actions: Actions, after before: ExchangeState, _ event: Event) {
    require(actions.isLast == state.hasEnded, "an exchange ends with an effect that says so")
    executeFlows(actions)
    if actions.isEmpty { return }
    if actions.has(.countRequest) {
      require(!ledger.requestCounted, "a request is counted once")
      ledger.requestCounted = true
    }
    if actions.has(Self.claims) {
      require(!ledger.hasRoom, "room is claimed while none is held")
    }
    if actions.has(.route) {
      require(!ledger.routes && ledger.requestCounted, "a request is routed once, and counted")
      ledger.routes = true
    }
    executeUpstream(actions, before, event)
    executeResponse(actions, before)
    executeRecords(actions)
    executeEnd(actions)
    if actions.has(.log) {
      require(
        Failure(actions.failure).log != .never, "only failures that are to be told are logged")
    }
  }

  private static let howToAttach: Actions.Effects =
    .avoidServer | .newConnection | .carryUnsent | .carryCopy
  private static let claims: Actions.Effects = .claimRoom | .claimRefusalRoom
  private static let writing: Actions.Effects =
    .reply | .cut | .send | .pauseResponse | .hold | .writeInterim | .last | .discardResponse

  private mutating func executeUpstream(
    _ actions: Actions, _ before: ExchangeState, _ event: Event
  ) {
    if actions.has(.releaseUpstream) {
      require(ledger.hasUpstream || ledger.hasPlace, "what is released was held")
      ledger.hasUpstream = false
      ledger.hasPlace = false
    }
    if actions.has(.keepUpstream) {
      require(
        actions.has(.releaseUpstream) && state.request == .whole && state.response == .whole
          && !state.isTunnel && before.upstream == .busy,
        "a connection is kept only behind two whole messages")
    }
    guard actions.has(.attach) else {
      require(!actions.has(Self.howToAttach), "how to attach is said with attach")
      return
    }
    require(ledger.routes, "no server is asked before the request is routed")
    require(!ledger.hasUpstream && !ledger.hasPlace, "one connection at a time")
    require(state.upstream == .attaching, "attach is answered")
    require(
      state.retries.attempts <= before.retries.attempts || before.stage == .routing,
      "attempts only fall")
    ledger.carriesUnsent = actions.has(.carryUnsent)
    if actions.has(.carryUnsent) {
      require(
        before.upstream == .assigned || before.upstream == .connecting || event == .upstreamUnsent,
        "unsent is unsent")
    }
    if actions.has(.carryCopy) {
      require(!ledger.serverSpoke, "no second try behind a byte of a response")
      require(before.hasCopy && before.request == .whole, "only a kept request is sent again")
      require(
        before.options.has(.isIdempotent) || event == .streamRefused,
        "only an idempotent request is sent again after it may have been processed")
      require(
        before.retries.attempts == state.retries.attempts + 1, "a second try costs an attempt")
    }
  }

  private mutating func executeResponse(_ actions: Actions, _ before: ExchangeState) {
    if state.delivery == .none {
      require(!actions.has(Self.writing), "nothing is written where nobody reads")
    }
    // Of a drain it may be told at any time, which changes nothing.
    if actions.has(.last), before.request != .whole || state.request != .whole {
      ledger.toldLast = true
    }
    if actions.has(.discardResponse) {
      require(!ledger.finalLeft, "what has left cannot be dropped")
      ledger.heads = 0
    }
    if actions.has(.reply) {
      require(!ledger.finalLeft && ledger.heads == 0, "a local reply stands alone")
      require(!ledger.replied, "one local reply")
      require(
        Failure(actions.failure).isAnswerable && (actions.status >= 400 || actions.status == 200),
        "a local reply has a status of the table")
      ledger.replied = true
    }
    if actions.has(.writeInterim) {
      require(ledger.heads == 0 && actions.status / 100 == 1, "interim heads come before the final")
      require(
        state.options.has(.takesInterims) || state.expectation == .settled,
        "interim heads go to who understands them")
    }
    if actions.has(.send) {
      require(state.mayLeave && state.audit.heldBytes > 0, "what is sent is there and may leave")
    }
    if actions.has(.unhold) {
      require(ledger.isHeld, "what leaves the queue of held responses was in it")
      ledger.isHeld = false
    }
    if actions.has(.hold) {
      require(
        state.awaitsRecords && state.response == .relaying && !ledger.finalLeft,
        "what is held is incomplete and has not begun")
      ledger.isHeld = true
    }
  }

  private mutating func executeRecords(_ actions: Actions) {
    if actions.has(.recordBegin) {
      require(ledger.hasRoom && ledger.records.isEmpty, "begin is the first record")
      ledger.records.insert(.begin)
      ledger.awaitsBegin = actions.has(.awaitRecord)
      require(ledger.awaitsBegin == state.awaitsRecords, "begin is waited for where records are")
    }
    if actions.has(.recordExchange) {
      require(ledger.hasRoom && ledger.records.isEmpty, "an only record is the only one")
      ledger.records.insert(.exchange)
      ledger.awaitsLast = actions.has(.awaitRecord)
    }
    if actions.has(.recordEnd) {
      require(ledger.hasRoom && ledger.records == .begin, "an end has one begin, and one end it")
      ledger.records.insert(.end)
      ledger.awaitsLast = actions.has(.awaitRecord)
    }
    if actions.has(.recordAbort) {
      require(
        ledger.hasRoom && !ledger.records.isEmpty && !ledger.records.contains(.abort),
        "an abort takes back a record, once")
      ledger.records.insert(.abort)
    }
  }

  private mutating func executeFlows(_ actions: Actions) {
    if !state.requestFlow.isPaused { ledger.awaitsServerWindow = false }
    if !state.responseFlow.isPaused { ledger.awaitsClientWindow = false }
    let isOver = state.upstream == .released
    if isOver || state.isTunnel && state.request != .open { ledger.requestPaused = false }
    if isOver || state.response == .whole { ledger.responsePaused = false }
    if actions.has(.pauseRequest) {
      require(!ledger.requestPaused, "a request is paused once")
      ledger.requestPaused = true
    }
    if actions.has(.resumeRequest) {
      require(ledger.requestPaused, "a request is resumed that was paused")
      ledger.requestPaused = false
    }
    if actions.has(.pauseResponse) {
      require(!ledger.responsePaused, "a response is paused once")
      ledger.responsePaused = true
    }
    if actions.has(.resumeResponse) {
      require(ledger.responsePaused && ledger.hasUpstream, "a response is resumed that was paused")
      ledger.responsePaused = false
    }
  }

  private mutating func executeEnd(_ actions: Actions) {
    if actions.has(.releaseRoom) {
      require(ledger.hasRoom, "room is given back once")
      require(
        !ledger.records.isDisjoint(with: [.exchange, .end, .abort]) || state.ending == .auditFailed,
        "an exchange with room ends with a record")
      ledger.hasRoom = false
    }
    guard actions.isLast else { return }
    require(ledger.end == .none, "an exchange ends once")
    require(!ledger.hasRoom, "room is given back at the end")
    require(!ledger.hasUpstream && !ledger.hasPlace, "the upstream is released at the end")
    require(!ledger.isHeld, "nothing is held behind the end")
    ledger.end = actions.has(.finish) ? .finished : actions.has(.cut) ? .cut : .closed
    if actions.has(.close) { require(!ledger.requestCounted, "only what never began is closed") }
    if actions.has(.finish) && state.delivery != .none {
      require(state.audit.heldBytes == 0 && state.responseFlow.isEmpty, "all is delivered")
      require(ledger.heads == 1 && ledger.finalLeft, "one final head was delivered")
      require(ledger.replied == (state.ending != .complete), "a reply is a failure, and no other")
      require(actions.has(.linger) || state.request == .whole, "an unread request lingers")
    }
    if actions.has(.cut) { require(state.ending != .complete, "a cut has a reason") }
  }

  // MARK: States

  /// What holds of every state that is not the last.
  mutating func check(after before: ExchangeState, _ event: Event) {
    let s = state
    require(s.upstream.isAttached == ledger.hasUpstream, "the connection is the driver's")
    require((s.upstream == .queued) == ledger.hasPlace, "the place in the queue is the driver's")
    require((s.audit.record != .none) == ledger.hasRoom, "the room is the driver's")
    require((s.audit.hold == .held) == ledger.isHeld, "the held response is the driver's")
    require(s.requestFlow.isPaused == ledger.requestPaused, "the paused request is the driver's")
    require(s.responseFlow.isPaused == ledger.responsePaused, "the paused response is the driver's")
    require(
      !s.requestFlow.isPaused || !s.requestFlow.isEmpty || !s.upstream.hasBuffer
        || s.upstream == .deaf || ledger.awaitsServerWindow,
      "a paused request has someone who resumes it")
    require(
      !s.responseFlow.isPaused
        || (!s.responseFlow.isEmpty || ledger.awaitsClientWindow) && s.upstream.isAttached,
      "a paused response has someone who resumes it")
    require(
      s.audit.gate == .none
        || s.awaitsRecords && (ledger.awaitsBegin || ledger.awaitsLast),
      "a closed gate has a record that opens it")
    require(
      s.audit.gate == .none || s.isTunnel
        || (s.audit.gate == .begin) == (s.audit.record == .begun) && s.audit.record != .claimed,
      "the gate is the record's")
    require(s.audit.heldBytes >= 0 && inTransport >= 0, "counts of bytes are counts")
    require(
      s.delivery != .committed || s.response >= .relaying, "what has left is of a final response")
    require(
      (s.response < .replying) || s.isTunnel || s.upstream == .released,
      "a whole response needs no server")
    require(
      s.request != .open || s.response < .replying || s.isTunnel, "no request without a reader")
    require(
      s.stage == .running || s.upstream == .none, "a server is asked when all else is settled")
    require(!s.isTunnel || s.response >= .relaying, "a tunnel has been accepted")
    if event == .upstreamAssigned || event == .upstreamConnecting || event == .upstreamReady {
      require(
        !(before.requestFlow.isPaused && before.requestFlow.isEmpty && s.requestFlow.isPaused),
        "content that waited for a buffer is asked for when there is one")
    }
    require(s.response >= before.response || before.isTunnel, "a response only moves on")
    require(
      s.awaitsServer == false || s.upstream == .busy || s.upstream == .deaf,
      "only a server that was asked can be late")
    require(
      !s.isLeaving || s.audit.gate == .none || s.audit.heldBytes == 0, "a gate holds bytes")
  }
}
