// Random sequences of events with real amounts, given to the machine and to the reference: each event has
// to ask for the same of both.

import Testing

@testable import Exchange

/// SplitMix64: small, seeded, the same everywhere.
struct Dice {
  private var state: UInt64
  /// Mixed first: neighbouring seeds would else give the same numbers, one step apart.
  init(_ seed: UInt64) {
    state = ~seed
    state = next()
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z &>> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z &>> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z &>> 31)
  }
  /// From 0 to below `bound`.
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

@Suite("Random sequences of an exchange's events")
struct RandomSequenceTests {
  @Test("The machine asks for what the reference asks for", arguments: 0..<4 as Range<UInt64>)
  func sequences(_ block: UInt64) {
    var steps = 0
    var ends: [Failure.Kind: Int] = [:]
    var seen = Actions.Effects.none
    for seed in block * 2500..<(block + 1) * 2500 {
      var run = RandomRun(seed)
      while run.broken == nil, run.reference.active, run.trace.count < 400 { run.step() }
      steps += run.trace.count
      seen = seen | run.seen
      if let broken = run.broken {
        Issue.record("seed \(seed): \(broken)\n\(run.trace.suffix(30).joined(separator: " "))")
        return
      }
      if !run.reference.active { ends[run.reference.ending, default: 0] += 1 }
    }
    // What only tunnels, refusals and requests that wait for room ask for is not in the reference.
    let other: Actions.Effects =
      .count | .countAuditReject | .claimRefusalRoom | .waitForRoom | .halfCloseUpstream
      | .halfCloseDownstream | .close
    #expect(seen.rawValue | other.rawValue == (1 << 41) - 1, "an effect was never asked for")
    print(
      "seeds from \(block * 2500): \(steps) events, ends: \(ends.map { "\($0.key) \($0.value)" })")
    #expect(ends.count > 15, "too few kinds of ends: \(ends)")
    #expect(steps > 20_000)
  }
}

struct RandomRun {
  var dice: Dice
  var reference: Reference
  var state: ExchangeState
  var trace: [String] = []
  var broken: String?
  /// Waits for the driver's answer.
  var attaches = false
  var replies = false
  var bulk = false
  var failurePercent: Int
  /// Effects that were asked for so far.
  var seen = Actions.Effects.none

  init(_ seed: UInt64) {
    var dice = Dice(seed)
    let audits = dice.chance(70)
    let waits = audits && dice.chance(70)
    let idempotent = dice.chance(60)
    let hasContent = dice.chance(50)
    bulk = dice.chance(40)
    failurePercent = dice.chance(50) ? 2 : 20
    reference = Reference(
      audits: audits, waits: waits, idempotent: idempotent, hasContent: hasContent)
    var options = ExchangeState.Options.hasDownstream | .takesInterims
    if audits { options = options | .audits }
    if waits { options = options | .awaitsRecords }
    if idempotent { options = options | .isIdempotent }
    state = ExchangeState(options, hasContent: hasContent)
    self.dice = dice
    start()
  }

  private mutating func start() {
    let actions = state.requestHead()
    if reference.audits {
      expect(actions, .claimRoom, "head")
      let claim = dice.below(10)
      if claim == 0 {
        reference.out = .none
        reference.metrics = .auditRejects
        reference.refuse(.auditFull)
        expect(state.roomRefused(), reference.out | .countRequest, "refused")
        replies = true
        return
      }
      reference.reserved = claim > 1
      expect(
        state.roomGranted(recorded: reference.reserved), .countRequest | .route, "granted")
    } else {
      expect(actions, .countRequest | .route, "head")
    }
    reference.metrics = .none
    if dice.chance(5) {
      reference.out = .none
      reference.refuse(.noRoute)
      expect(state.replyLocally(.noRoute), reference.out, "no route")
      replies = true
      return
    }
    reference.attemptsLeft = dice.below(3)
    expect(
      state.routed(RetryBudget(attempts: UInt8(reference.attemptsLeft))), .attach, "routed")
    attaches = true
  }

  /// Compares what was asked for.
  private mutating func expect(_ actions: Actions, _ effects: Actions.Effects, _ name: String) {
    trace.append(name)
    seen = seen | actions.effects
    let told = Actions.Effects(rawValue: actions.effects.rawValue & ~Actions.Effects.count.rawValue)
    let metrics = actions.has(.count) ? Failure(actions.failure).metrics : .none
    if told != effects {
      note("\(name) asks for \(Self.bits(told)) where \(Self.bits(effects)) is right")
    }
    if metrics != reference.metrics { note("\(name) counts \(metrics.rawValue)") }
    if actions.has(.reply), actions.status != reference.status { note("\(name): status") }
    if told == effects, actions.has(.attach) { attaches = true }
    if actions.has(.reply) { replies = true }
  }

  private mutating func note(_ text: String) { if broken == nil { broken = text } }

  private static func bits(_ effects: Actions.Effects) -> [Int] {
    (0..<64).filter { effects.rawValue >> UInt64($0) & 1 == 1 }
  }

  /// One event of both.
  private mutating func both(
    _ name: String, _ machine: (inout ExchangeState) -> Actions,
    _ model: (inout Reference) -> Void
  ) {
    reference.out = .none
    reference.metrics = .none
    model(&reference)
    let effects = reference.out
    expect(machine(&state), effects, name)
    compare(name)
  }

  private mutating func compare(_ name: String) {
    guard broken == nil else { return }
    if state.hasEnded == reference.active { return note("\(name): one has ended") }
    guard reference.active else {
      if state.ending != reference.ending { note("\(name): ends by \(state.ending)") }
      return
    }
    if Int(state.responseFlow.waiting) != reference.waiting { note("\(name): response waiting") }
    if state.audit.heldBytes != reference.heldBytes { note("\(name): held") }
    if state.mayLeave != reference.mayLeave && !replies { note("\(name): may leave") }
    if (state.delivery == .committed) != reference.committed { note("\(name): committed") }
    if state.audit.gate != reference.gate { note("\(name): gate") }
    let takes =
      !reference.requestComplete && !reference.requestBlocked && reference.phase != .complete
      && reference.upstream != .none
    if state.takesRequestContent != takes { note("\(name): takes request content") }
    if reference.upstream != .none && Int(state.requestFlow.waiting) != reference.requestWaiting {
      note("\(name): request waiting")
    }
  }

  mutating func step() {
    if attaches { return attach() }
    if replies {
      replies = false
      if dice.chance(5) {
        return both("no memory", { $0.outputExhausted() }, { $0.abort(.resourcesExhausted) })
      }
      let size = 200 + dice.below(100)
      return both(
        "reply", { $0.replyWritten(content: 20, buffered: size) }, { $0.answerWritten(size) })
    }
    if dice.chance(failurePercent) { return disturb() }
    switch dice.below(4) {
    case 0: request()
    case 1: response()
    default: move()
    }
  }

  private mutating func attach() {
    attaches = false
    let percent = dice.below(100)
    if percent < 3 {
      return both(
        "attach failed", { $0.attachFailed(.resourcesExhausted) }, { $0.fail(.resourcesExhausted) })
    }
    let isPooled = percent < 50
    both(
      isPooled ? "assigned" : "connecting",
      { isPooled ? $0.upstreamAssigned() : $0.upstreamConnecting() },
      { $0.upstream = isPooled ? .assigned : .connecting })
    if reference.requestWaiting == 0 {
      let size = 100 + dice.below(2000)
      state.requestWritten(size)
      reference.requestWaiting += size
    }
  }

  private mutating func request() {
    switch dice.below(4) {
    case 0, 1:
      guard state.takesRequestContent else { return }
      let size = 1 + dice.below(dice.chance(50) ? 1000 : 100_000)
      let hasFrame = dice.chance(95)
      let fits = hasFrame && state.requestFlow.hasRoom
      both(
        "content \(size)",
        {
          guard fits else { return $0.requestBlocked() }
          $0.requestContent(size, buffered: size + 6)
          return Actions()
        }, { $0.forwardContent(size + 6, hasFrame: hasFrame) })
      guard reference.active, fits, reference.upstream != .none else { return }
      let bulk = self.bulk
      both(
        "request turn", { $0.requestTurnEnded(bulk: bulk) }, { $0.requestProgressed(bulk: bulk) })
    case 2:
      guard state.takesRequestContent, dice.chance(30) else { return }
      both(
        "request end", { $0.requestEnd(buffered: 5) },
        {
          $0.requestComplete = true
          $0.requestWaiting += 5
        })
    default:
      guard reference.upstream != .none, reference.phase == .request, reference.requestComplete,
        !reference.hasReplay, reference.attemptsLeft > 0, reference.idempotent,
        reference.interimCount == 0, !reference.halfHead
      else { return }
      if !state.wantsCopy { note("a copy is wanted") }
      both(
        "copy",
        {
          $0.requestCopied()
          return Actions()
        }, { $0.hasReplay = true })
    }
  }

  private mutating func response() {
    guard reference.upstream == .busy, !reference.responseBlocked else { return }
    let bulk = self.bulk
    if reference.phase == .request {
      if dice.chance(15) {
        return both(
          "half a head",
          {
            $0.responseBegan()
            return Actions()
          }, { $0.halfHead = true })
      }
      if dice.chance(20) {
        both("interim", { $0.interimHead(103) }, { $0.interim() })
        guard reference.active, !replies, dice.chance(80) else { return }
        state.responseWritten(80)
        reference.heldBytes += 80
        return both(
          "turn", { $0.responseTurnEnded(bulk: bulk) }, { $0.finishTurn(bulk: bulk) })
      }
      let mayHold = dice.chance(60)
      both(
        "head \(mayHold)", { $0.responseHead(200, mayBeHeld: mayHold) },
        { $0.head(mayHold: mayHold) })
      state.responseWritten(150)
      reference.heldBytes += 150
    }
    for _ in 0..<dice.below(4) {
      let size = 1 + dice.below(dice.chance(50) ? 1000 : 100_000)
      let hasFrame = dice.chance(97)
      let fits = hasFrame && state.responseFlow.hasRoom
      both(
        "body \(size)",
        {
          guard fits else { return $0.responseBlocked() }
          $0.responseContent(size, buffered: size)
          return Actions()
        }, { $0.content(size, hasFrame: hasFrame) })
      guard reference.active, !replies else { return }
      if !fits { break }
    }
    if !reference.responseBlocked, dice.chance(30) {
      let keeps = dice.chance(50)
      return both(
        "end", { $0.responseEnd(buffered: 5, reusable: keeps) },
        { $0.responseCompleted(5, reusable: keeps) })
    }
    both("turn", { $0.responseTurnEnded(bulk: bulk) }, { $0.finishTurn(bulk: bulk) })
  }

  private mutating func move() {
    switch dice.below(6) {
    case 0:
      guard reference.upstream == .connecting || reference.upstream == .assigned else { return }
      both("ready", { $0.upstreamReady() }, { $0.upstream = .busy })
    case 1:
      guard reference.upstream == .busy, reference.requestWaiting > 0 else { return }
      let size =
        dice.chance(60) ? reference.requestWaiting : 1 + dice.below(reference.requestWaiting)
      both("request taken", { $0.requestTaken(size) }, { $0.upstreamSent(size) })
    case 2:
      guard reference.heldBytes > 0, reference.mayLeave else { return }
      let size = dice.chance(60) ? reference.heldBytes : 1 + dice.below(reference.heldBytes)
      let wire = size + (dice.chance(50) ? 22 : 0)
      both(
        "left \(size)",
        {
          $0.responseLeft(size, as: wire)
          return Actions()
        }, { $0.left(size, wire: wire) })
    case 3:
      guard reference.outstanding > 0 else { return }
      let size = dice.chance(60) ? reference.outstanding : 1 + dice.below(reference.outstanding)
      both("taken \(size)", { $0.responseTaken(size) }, { $0.taken(size) })
    case 4:
      guard reference.gate != .none else { return }
      let record = reference.gate
      both("durable", { $0.recordDurable(record) }, { $0.durable() })
    default:
      guard reference.inHolds, dice.chance(40) else { return }
      let bulk = self.bulk
      both("hold over", { $0.holdExpired(bulk: bulk) }, { $0.holdEnded(bulk: bulk) })
    }
  }

  private mutating func disturb() {
    switch dice.below(14) {
    case 0, 1:
      guard reference.upstream == .busy || reference.upstream == .assigned else { return }
      let reset = dice.chance(50)
      both(
        "closed \(reset)", { $0.upstreamClosed(reset: reset) }, { $0.upstreamEnded(reset: reset) })
    case 2, 3:
      guard reference.upstream == .connecting else { return }
      let byTimer = dice.chance(50)
      let inHandshake = dice.chance(50)
      let kind: Failure.Kind =
        byTimer
        ? (inHandshake ? .tlsHandshakeTimeout : .connectTimeout)
        : (inHandshake ? .tlsExpired : .connectRefused)
      both(
        "connect failed",
        { byTimer ? $0.connectTimedOut(kind) : $0.connectFailed(kind) },
        { $0.connectFailed(kind, byTimer: byTimer) })
    case 4:
      guard reference.upstream == .busy else { return }
      both("response late", { $0.responseTimedOut() }, { $0.responseTimedOut() })
    case 5:
      guard reference.upstream == .busy else { return }
      both("malformed", { $0.fail(.upstreamMalformed) }, { $0.malformed() })
    case 6:
      guard state.takesRequestContent else { return }
      both("bad body", { $0.fail(.requestBodyMalformed) }, { $0.requestMalformed() })
    case 7:
      guard dice.chance(25) else { return }
      both("reset", { $0.downstreamGone() }, { $0.gone(.downstreamReset, .downstreamAborts) })
    case 8:
      guard dice.chance(50) else { return }
      both("half-closed", { $0.downstreamHalfClosed() }, { $0.halfClosed() })
    case 9: both("body late", { $0.bodyTimedOut() }, { $0.bodyTimedOut() })
    case 10:
      guard reference.outstanding > 0 else { return }
      both("send late", { $0.sendTimedOut() }, { $0.gone(.downstreamTimeout, .timeouts) })
    case 11: both("drain", { $0.drainBegan() }, { $0.announceClose() })
    case 12:
      guard dice.chance(15) else { return }
      both("deadline", { $0.drainDeadline() }, { $0.abort(.drainDeadline) })
    default:
      guard reference.gate != .none else { return }
      both("record lost", { $0.recordFailed() }, { $0.recordFailed() })
    }
  }
}
