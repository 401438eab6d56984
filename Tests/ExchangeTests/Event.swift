// Everything that can happen to an exchange, with amounts of one unit: a flow of a low mark of 1 and a high
// one of 2 is empty, partial or full.

@testable import Exchange

/// One event, or what a driver does in one step with it.
enum Event: UInt8, CaseIterable, Sendable {
  case requestHead, requestRejected, connectionTaken
  case roomGranted, roomDropped, roomRefused, roomTooLarge, roomDelayed, roomTimedOut
  case routed, routedOnce, replyLocally
  case contentWanted
  case requestContent, requestBlocked, requestWindowClosed, requestWindowOpened
  case requestTurnEnded, requestTurnEndedBulk, requestEnd
  case requestCopied, requestTaken, requestTakenAll, requestSendFailed
  case requestDropped, upstreamUnfit
  case upstreamQueued, upstreamDialing, upstreamConnecting, upstreamAssigned, upstreamReady
  case attachFailed, connectFailed, connectFailedEmpty, connectTimedOut, handshakeFailed
  case handshakeTimedOut, upstreamStale, upstreamUnsent
  case upstreamEOF, upstreamReset, upstreamEOFWithoutMemory, streamRefused, responseTimedOut
  case responseBegan, interim, interimUnwritten, continueHead
  case responseHead, responseHeadOfStream, upgradeAccepted
  case responseContent, responseBlocked, turnEnded, turnEndedBulk
  case responseWindowClosed, responseWindowOpened
  case responseEnd, responseEndReusable, replyWritten
  case responseLeft, responseLeftAll, responseHandedOver, responseTaken, responseTakenAll
  case beginDurable, lastDurable, recordFailed
  case holdRefused, holdExpired
  case halfClosed, downstreamReset, downstreamUnsendable, bodyTimedOut, sendTimedOut
  case outputExhausted, drainBegan, drainDeadline, tunnelTimedOut
  case malformedResponse, malformedRequest, noMemory, cancelled

  static let all = Event.allCases

  /// Whether it leads on: what happens when all peers behave and the disk works.
  var isProgress: Bool {
    switch self {
    case .requestHead, .roomGranted, .routed, .upstreamAssigned, .upstreamReady, .requestEnd,
      .requestTakenAll, .responseHead, .turnEnded, .responseEndReusable, .replyWritten,
      .responseLeftAll, .responseTakenAll, .beginDurable, .lastDurable, .holdExpired:
      true
    default: false
    }
  }
}

extension Walker {
  /// Whether the event can occur: peers do what they like, the driver keeps to its contract.
  func isPossible(_ event: Event) -> Bool {
    let s = state
    let asked = s.upstream == .busy || s.upstream == .deaf
    let hasDownstream = s.delivery != .none
    switch event {
    case .requestHead: return s.stage == .start
    case .requestRejected: return s.stage == .start && hasDownstream
    case .connectionTaken:
      return s.stage == .start && s.options.has(.asksUpgrade) && s.request == .whole
    default: if s.stage == .start { return false }
    }
    switch event {
    case .requestHead, .requestRejected, .connectionTaken: return false
    // What is recorded of a connection fits any log.
    case .roomTooLarge where s.audit.hold == .begun: return false
    case .roomGranted, .roomDropped, .roomRefused, .roomTooLarge, .roomDelayed:
      return s.stage == .claiming || s.stage == .waiting || s.stage == .claimingRefusal
    case .roomTimedOut: return s.stage == .waiting
    case .routed, .routedOnce, .replyLocally: return s.stage == .routing
    case .contentWanted: return true
    case .requestContent: return s.takesRequestContent && s.requestFlow.hasRoom
    case .requestBlocked:
      return s.request == .open && !s.requestFlow.isPaused
        && (s.stage == .routing || s.stage == .running)
    case .requestWindowClosed: return s.takesRequestContent
    case .requestWindowOpened: return true
    case .requestTurnEnded, .requestTurnEndedBulk: return s.upstream.isAttached
    case .requestEnd:
      return s.request == .open && s.upstream.hasBuffer && (s.response < .replying || s.isTunnel)
    case .requestCopied: return s.wantsCopy && s.upstream.hasBuffer
    case .requestTaken: return s.upstream == .busy && s.requestFlow.waiting > 1
    case .requestTakenAll: return s.upstream == .busy && !s.requestFlow.isEmpty
    case .requestSendFailed: return asked && !s.requestFlow.isEmpty
    case .requestDropped: return s.upstream == .attaching && ledger.carriesUnsent
    case .upstreamUnfit: return s.upstream == .dialing
    case .upstreamQueued: return s.upstream == .attaching
    case .upstreamDialing, .upstreamConnecting, .upstreamAssigned, .attachFailed:
      return s.upstream == .attaching || s.upstream == .queued
    case .upstreamReady:
      return s.upstream == .connecting || s.upstream == .assigned || s.upstream == .dialing
    case .connectFailed, .connectFailedEmpty, .connectTimedOut, .handshakeFailed,
      .handshakeTimedOut:
      return s.upstream == .connecting || s.upstream == .dialing
    case .upstreamStale: return s.upstream == .assigned
    case .upstreamUnsent:
      return s.upstream == .busy && s.response == .none && !s.isTunnel && !s.requestFlow.isEmpty
    case .upstreamEOF, .upstreamReset, .upstreamEOFWithoutMemory:
      return asked || s.upstream == .assigned
    case .streamRefused, .responseTimedOut: return asked
    case .responseBegan, .interim, .interimUnwritten, .continueHead, .responseHead,
      .responseHeadOfStream:
      return asked && s.response < .relaying && !s.responseFlow.isPaused
    case .upgradeAccepted: return asked && s.response < .relaying && !s.responseFlow.isPaused
    case .responseContent:
      return s.takesResponseContent && (s.responseFlow.hasRoom || !hasDownstream)
    case .responseBlocked:
      return s.response == .relaying && hasDownstream && !s.responseFlow.isPaused
    case .responseWindowClosed: return s.takesResponseContent && hasDownstream
    case .responseWindowOpened: return hasDownstream
    case .turnEnded, .turnEndedBulk: return s.stage == .running
    case .responseEnd, .responseEndReusable: return s.response == .relaying
    case .replyWritten: return s.response == .replying
    case .responseLeft: return s.audit.heldBytes > 1 && s.mayLeave
    case .responseLeftAll: return s.audit.heldBytes > 0 && s.mayLeave
    case .responseHandedOver: return handable > 0
    case .responseTaken: return inTransport > 1
    case .responseTakenAll: return inTransport > 0
    case .beginDurable: return ledger.awaitsBegin
    case .lastDurable: return ledger.awaitsLast && !ledger.awaitsBegin
    case .recordFailed: return s.audit.gate != .none
    case .holdRefused, .holdExpired: return ledger.isHeld
    case .halfClosed, .downstreamReset, .downstreamUnsendable, .bodyTimedOut:
      return hasDownstream
    case .sendTimedOut: return inTransport > 0
    case .outputExhausted:
      return s.response == .replying || s.response == .relaying && hasDownstream
    case .drainBegan, .drainDeadline: return true
    case .tunnelTimedOut: return s.isTunnel
    case .malformedResponse: return asked
    case .malformedRequest: return s.takesRequestContent
    case .noMemory: return s.stage == .routing || s.stage == .running
    case .cancelled: return !hasDownstream
    }
  }

  /// Feeds an event as the driver does, and executes what it asks for.
  mutating func apply(_ event: Event) {
    let before = state
    execute(feed(event), after: before, event)
    if ledger.end == .none { check(after: before, event) }
    state.rebase()
  }

  private mutating func feed(_ event: Event) -> Actions {
    switch event {
    case .requestHead: return state.requestHead()
    case .connectionTaken: return state.connectionTaken()
    case .requestRejected: return state.requestRejected(.badRequest, status: 414)
    case .roomGranted:
      ledger.hasRoom = true
      return state.roomGranted()
    case .roomDropped: return state.roomGranted(recorded: false)
    case .roomRefused: return state.roomRefused()
    case .roomTooLarge: return state.roomTooLarge()
    case .roomDelayed: return state.roomDelayed()
    case .roomTimedOut: return state.roomTimedOut()
    case .routed: return state.routed(RetryBudget(attempts: 0))
    case .routedOnce: return state.routed(RetryBudget(attempts: 1))
    case .replyLocally: return state.replyLocally(.noRoute)
    case .contentWanted: return state.contentWanted()
    case .requestContent:
      state.requestContent(1, buffered: 1)
      return Actions()
    case .requestBlocked: return state.requestBlocked()
    case .requestWindowClosed:
      ledger.awaitsServerWindow = true
      return state.requestWindowClosed()
    case .requestWindowOpened: return state.requestWindowOpened()
    case .requestTurnEnded: return state.requestTurnEnded(bulk: false)
    case .requestTurnEndedBulk: return state.requestTurnEnded(bulk: true)
    case .requestEnd: return state.requestEnd(buffered: 1)
    case .requestCopied:
      state.requestCopied()
      return Actions()
    case .requestTaken: return state.requestTaken(1)
    case .requestTakenAll: return state.requestTaken(Int(state.requestFlow.waiting))
    case .requestSendFailed: return state.requestSendFailed()
    case .upstreamQueued:
      ledger.hasPlace = true
      return state.upstreamQueued()
    case .upstreamConnecting: return attach(state.upstreamConnecting())
    case .upstreamAssigned: return attach(state.upstreamAssigned())
    case .upstreamDialing:
      ledger.hasPlace = false
      ledger.hasUpstream = true
      return state.upstreamDialing()
    case .upstreamReady:
      let isDialed = state.upstream == .dialing
      let actions = state.upstreamReady()
      return isDialed ? attach(actions) : actions
    case .attachFailed: return state.attachFailed(.resourcesExhausted)
    case .connectFailed: return state.connectFailed(.connectRefused)
    case .connectFailedEmpty: return state.connectFailed(.connectRefused, keepsUnsent: false)
    case .connectTimedOut: return state.connectTimedOut()
    case .handshakeFailed: return state.connectFailed(.tlsUntrusted)
    case .handshakeTimedOut: return state.connectTimedOut(.tlsHandshakeTimeout)
    default: return feedAnswer(event)
    }
  }

  private mutating func feedAnswer(_ event: Event) -> Actions {
    switch event {
    case .upstreamStale: return state.upstreamStale()
    case .upstreamUnsent: return state.upstreamUnsent()
    case .upstreamUnfit: return state.upstreamUnfit()
    case .requestDropped:
      state.requestDropped()
      ledger.carriesUnsent = false
      return Actions()
    case .upstreamEOF: return state.upstreamClosed(reset: false)
    case .upstreamReset: return state.upstreamClosed(reset: true)
    case .upstreamEOFWithoutMemory: return state.upstreamClosed(reset: false, canResend: false)
    case .streamRefused: return state.streamRefused()
    case .responseTimedOut: return state.responseTimedOut()
    case .responseBegan:
      ledger.serverSpoke = true
      state.responseBegan()
      return Actions()
    case .interim, .interimUnwritten, .continueHead:
      ledger.serverSpoke = true
      let actions = state.interimHead(event == .continueHead ? 100 : 103)
      // A client that does not read loses it.
      if actions.has(.writeInterim), event != .interimUnwritten, state.responseFlow.hasRoom {
        state.responseWritten(1)
      }
      return actions
    case .responseHead, .responseHeadOfStream:
      ledger.serverSpoke = true
      let actions = state.responseHead(200, mayBeHeld: event == .responseHead)
      ledger.heads += 1
      if state.delivery != .none { state.responseWritten(1) }
      return actions
    case .upgradeAccepted:
      ledger.serverSpoke = true
      let actions = state.upgradeAccepted(101)
      guard state.isTunnel else { return actions }
      ledger.heads += 1
      state.responseWritten(1)
      return actions
    case .responseContent:
      state.responseContent(1, buffered: state.delivery == .none ? 0 : 1)
      return Actions()
    case .responseWindowClosed:
      ledger.awaitsClientWindow = true
      return state.responseWindowClosed()
    case .responseWindowOpened: return state.responseWindowOpened()
    case .responseBlocked: return state.responseBlocked()
    case .turnEnded: return state.responseTurnEnded(bulk: false)
    case .turnEndedBulk: return state.responseTurnEnded(bulk: true)
    case .responseEnd: return state.responseEnd(buffered: 0, reusable: false)
    case .responseEndReusable:
      return state.responseEnd(buffered: state.delivery == .none ? 0 : 1, reusable: true)
    case .replyWritten:
      ledger.heads += 1
      return state.replyWritten(content: 1, buffered: 1)
    default: return feedRest(event)
    }
  }

  private mutating func feedRest(_ event: Event) -> Actions {
    switch event {
    case .responseLeft: return leave(1)
    case .responseLeftAll: return leave(state.audit.heldBytes)
    case .responseHandedOver: return state.responseHandedOver(handable)
    case .responseTaken: return state.responseTaken(1)
    case .responseTakenAll: return state.responseTaken(inTransport)
    case .beginDurable:
      ledger.awaitsBegin = false
      return state.recordDurable(.begin)
    case .lastDurable:
      ledger.awaitsLast = false
      return state.recordDurable(ledger.records.contains(.begin) ? .end : .exchange)
    case .recordFailed: return state.recordFailed()
    case .holdRefused:
      ledger.isHeld = false
      return state.holdRefused(bulk: false)
    case .holdExpired:
      ledger.isHeld = false
      return state.holdExpired(bulk: true)
    case .halfClosed: return state.downstreamHalfClosed()
    case .downstreamReset: return state.downstreamGone()
    case .downstreamUnsendable: return state.downstreamGone(.downstreamUnsendable)
    case .bodyTimedOut: return state.bodyTimedOut()
    case .sendTimedOut: return state.sendTimedOut()
    case .outputExhausted: return state.outputExhausted()
    case .drainBegan: return state.drainBegan()
    case .drainDeadline: return state.drainDeadline()
    case .tunnelTimedOut: return state.tunnelTimedOut()
    case .malformedResponse: return state.fail(.upstreamMalformed)
    case .malformedRequest: return state.fail(.requestBodyMalformed)
    case .noMemory: return state.fail(.resourcesExhausted)
    case .cancelled: return state.fail(.cancelled)
    default: preconditionFailure("an event that is not fed")
    }
  }

  /// A connection is there, or will be: what it is to send first is put into its buffer.
  private mutating func attach(_ actions: Actions) -> Actions {
    ledger.hasPlace = false
    ledger.hasUpstream = true
    if !ledger.carriesUnsent { state.requestWritten(1) }
    ledger.carriesUnsent = false
    return actions
  }

  private mutating func leave(_ count: Int) -> Actions {
    if state.response == .relaying || state.response == .whole {
      ledger.finalLeft = true
      require(
        !state.awaitsRecords || !ledger.hasRoom || ledger.isRecordDurable,
        "a byte of the response leaves before its record is durable")
      require(ledger.heads == 1, "exactly one final head leaves")
      require(
        state.request == .whole || ledger.toldLast, "a head leaves without having said close")
    }
    state.responseLeft(count, as: count)
    return Actions()
  }
}
