// One request and its response as a state machine: what happened goes in as events, what is to be
// done comes out as `Actions`. It has no engine, no clock and no memory of its own, and content never
// passes through it: it is told counts of bytes. Events are in the files beside this one, by topic.
//
// Whatever a peer, a disk or a timer can bring about is legal in every state in which it can reach
// the exchange. What only the driver can do wrong is a precondition.

/// The state of one exchange.
package struct ExchangeState: BitwiseCopyable, Hashable, Sendable {
  package internal(set) var options: Options
  package internal(set) var stage = Stage.start
  package internal(set) var mode = Mode.message
  package internal(set) var request: RequestStep
  package internal(set) var expectation: Expectation
  package internal(set) var upstream = UpstreamStep.none
  package internal(set) var response = ResponseStep.none
  package internal(set) var delivery: Delivery
  package internal(set) var audit = AuditState()
  package internal(set) var retries = RetryBudget(attempts: 0)
  /// True while a copy of the whole request is kept as it was sent.
  package internal(set) var hasCopy = false
  /// Interim responses that came.
  package internal(set) var interims: UInt8 = 0
  /// How the exchange ended, or would if it ended now.
  package internal(set) var ending = Failure.Kind.complete
  /// Of the final response; 0 before its head.
  package internal(set) var status: UInt16 = 0
  /// Content, in bytes, without framing.
  package internal(set) var requestBytes: UInt64 = 0
  package internal(set) var responseBytes: UInt64 = 0
  package internal(set) var requestFlow: Flow
  package internal(set) var responseFlow: Flow
  package let limits: Limits

  /// - Parameter hasContent: the request's framing announces content, be it of unknown length.
  package init(_ options: Options, hasContent: Bool, limits: Limits = .standard) {
    self.options = options
    self.limits = limits
    request = hasContent ? .open : .whole
    expectation = hasContent && options.has(.expectsContinue) ? .awaited : .none
    delivery = options.has(.hasDownstream) ? .open : .none
    requestFlow = Flow(limits.flow)
    responseFlow = Flow(limits.flow)
  }
}

extension ExchangeState {
  /// What is known of an exchange when it begins.
  package struct Options: OptionSet, BitwiseCopyable, Hashable, Sendable {
    package let rawValue: UInt8
    @inline(__always)
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    @inline(__always)
    package func has(_ option: Options) -> Bool { rawValue & option.rawValue != 0 }
    /// Somebody waits for the response; not so for a mirrored or an authentication request.
    package static var hasDownstream: Options { Options(rawValue: 1) }
    /// Exchanges are recorded.
    package static var audits: Options { Options(rawValue: 2) }
    /// With `audits`: responses wait for their records (`durability: before_response`).
    package static var awaitsRecords: Options { Options(rawValue: 4) }
    /// The method is idempotent, RFC 9110 9.2.2.
    package static var isIdempotent: Options { Options(rawValue: 8) }
    /// The downstream understands interim responses (not HTTP/1.0).
    package static var takesInterims: Options { Options(rawValue: 16) }
    /// The request expects 100 (Continue) before it sends content.
    package static var expectsContinue: Options { Options(rawValue: 32) }
    /// An upgrade was asked for and passed on, or the request is a CONNECT that is forwarded.
    package static var asksUpgrade: Options { Options(rawValue: 64) }
    /// The upstream's protocol tells which streams were not processed (HTTP/2).
    package static var tellsUnprocessed: Options { Options(rawValue: 128) }
  }

  /// How far an exchange has got on its way to a server; each step but `waiting` is left by its answer.
  package enum Stage: UInt8, BitwiseCopyable, Hashable, Sendable {
    case start
    /// Room in the audit log is claimed.
    case claiming
    /// There was none; it is claimed again later.
    case waiting
    /// Room for the record of a refusal is claimed.
    case claimingRefusal
    /// Policies and router are asked; a sub-request may take its time.
    case routing
    /// A server is asked, or a reply is under way.
    case running
    case ended
  }

  package enum Mode: UInt8, BitwiseCopyable, Hashable, Sendable {
    case message
    /// Bytes without framing in both directions.
    case tunnel
  }

  package enum RequestStep: UInt8, BitwiseCopyable, Hashable, Sendable {
    case open
    case whole
    /// Its rest is never read.
    case abandoned
  }

  package enum Expectation: UInt8, BitwiseCopyable, Hashable, Sendable {
    case none, awaited, settled
  }

  package enum UpstreamStep: UInt8, BitwiseCopyable, Hashable, Sendable {
    case none
    /// A connection was asked for.
    case attaching
    /// In the queue for one.
    case queued
    case connecting
    /// A pooled connection of which nothing has left in this turn.
    case assigned
    case busy
    /// The server takes no more of the request; what it sends is still read.
    case deaf
    case released

    /// Whether there is a connection.
    @inline(__always)
    package var isAttached: Bool { rawValue >= 3 && rawValue <= 6 }
  }

  package enum ResponseStep: UInt8, BitwiseCopyable, Comparable, Hashable, Sendable {
    case none
    /// The server has begun to answer: a part of a head, or an interim response.
    case begun
    /// The final head has come.
    case relaying
    /// A local reply is about to be written.
    case replying
    /// All of it is in the downstream's buffer.
    case whole

    @inline(__always)
    package static func < (a: ResponseStep, b: ResponseStep) -> Bool { a.rawValue < b.rawValue }
  }

  package enum Delivery: UInt8, BitwiseCopyable, Hashable, Sendable {
    /// There is no downstream.
    case none
    /// Nothing of the final response has left.
    case open
    /// A byte of it may have reached the downstream.
    case committed
  }

  /// The bounds that an exchange keeps.
  package struct Limits: BitwiseCopyable, Hashable, Sendable {
    package var flow: Flow.Limits
    /// Content above which a response is not held for its end, in bytes: half of the low mark, so
    /// that with any head what is held does not pause the server.
    package var heldContent: UInt32
    /// The same for content with its head and framing.
    package var heldBytes: UInt32
    /// Interim responses that are passed on; a server that sends more is broken.
    package var interims: UInt8

    package init(flow: Flow.Limits, heldContent: UInt32, heldBytes: UInt32, interims: UInt8) {
      self.flow = flow
      self.heldContent = heldContent
      self.heldBytes = heldBytes
      self.interims = interims
    }

    package static var standard: Limits {
      Limits(flow: .standard, heldContent: 65_536, heldBytes: 131_072, interims: 32)
    }
  }
}

/// How often, and after what, a request may be sent again.
package struct RetryBudget: BitwiseCopyable, Hashable, Sendable {
  /// Attempts that are left beside the first.
  package var attempts: UInt8
  package var onConnectFailure: Bool
  package var onReset: Bool

  package init(attempts: UInt8, onConnectFailure: Bool = true, onReset: Bool = true) {
    self.attempts = attempts
    self.onConnectFailure = onConnectFailure
    self.onReset = onReset
  }
}

// MARK: What the driver asks

extension ExchangeState {
  @inline(__always)
  package var hasEnded: Bool { stage == .ended }

  @inline(__always)
  var isTunnel: Bool { mode == .tunnel }

  /// Whether request content may be given to the upstream's buffer now.
  @inline(__always)
  package var takesRequestContent: Bool {
    request == .open && upstream.isAttached && !requestFlow.isPaused
      && (response < .replying || isTunnel)
  }

  /// Whether response content may be given to the downstream's buffer now.
  @inline(__always)
  package var takesResponseContent: Bool { response == .relaying && !responseFlow.isPaused }

  /// Whether the request should be copied before it leaves, where it fits: it may be sent again.
  @inline(__always)
  package var wantsCopy: Bool {
    request == .whole && response == .none && !hasCopy && retries.attempts > 0 && !isTunnel
      && (options.has(.isIdempotent) || options.has(.tellsUnprocessed))
  }

  /// Whether the server has sent nothing: an end is that of an idle connection, and its age tells
  /// how long the server keeps one.
  package var isUntouched: Bool { response == .none }

  /// Whether the server owes something, so that its response timeout runs. While the downstream is
  /// slow it owes nothing; before the request's end only that it takes what waits.
  @inline(__always)
  package var awaitsServer: Bool {
    guard upstream == .busy || upstream == .deaf, !responseFlow.isPaused, !isTunnel else {
      return false
    }
    return request == .whole || response >= .relaying || !requestFlow.isEmpty
      || upstream == .deaf
  }

  /// Whether the downstream owes request content, so that its body timeout runs.
  package var awaitsRequest: Bool {
    request == .open && !requestFlow.isPaused && response < .replying && !isTunnel
      && stage == .running && upstream.isAttached
  }

  /// Whether all of the response is in the downstream's transport: its end may be sent quietly,
  /// since the next thing that is heard is the next request.
  package var isLeaving: Bool { response == .whole && audit.heldBytes == 0 }

  /// The same state with its counts from zero: of two that behave alike one is kept. Not for the driver.
  mutating func rebase() {
    requestFlow.rebase()
    responseFlow.rebase()
    requestBytes = 0
    responseBytes = min(responseBytes, UInt64(limits.heldContent) + 1)
    if stage != .claimingRefusal { status = 0 }
  }
}
