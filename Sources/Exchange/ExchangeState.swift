// One request and its response as a state machine: what happened goes in as events, what is to be
// done comes out as `Actions`. It has no engine, no clock and no memory of its own, and content never
// passes through it: it is told counts of bytes. Events are in the files beside this one, by topic.
//
// Whatever a peer, a disk or a timer can bring about is legal in every state in which it can reach
// the exchange. What only the driver can do wrong is a precondition.

/// The state of one exchange.
public struct ExchangeState: BitwiseCopyable, Hashable, Sendable {
  public internal(set) var options: Options
  public internal(set) var stage = Stage.start
  public internal(set) var mode = Mode.message
  public internal(set) var request: RequestStep
  public internal(set) var expectation: Expectation
  public internal(set) var upstream = UpstreamStep.none
  public internal(set) var response = ResponseStep.none
  public internal(set) var delivery: Delivery
  public internal(set) var audit = AuditState()
  public internal(set) var retries = RetryBudget(attempts: 0)
  /// True while a copy of the whole request is kept as it was sent.
  public internal(set) var hasCopy = false
  /// Interim responses that came.
  public internal(set) var interims: UInt8 = 0
  /// How the exchange ended, or would if it ended now.
  public internal(set) var ending = Failure.Kind.complete
  /// Of the final response; 0 before its head.
  public internal(set) var status: UInt16 = 0
  /// Content, in bytes, without framing.
  public internal(set) var requestBytes: UInt64 = 0
  public internal(set) var responseBytes: UInt64 = 0
  public internal(set) var requestFlow: Flow
  public internal(set) var responseFlow: Flow
  public let limits: Limits

  /// - Parameter hasContent: the request's framing announces content, be it of unknown length.
  public init(_ options: Options, hasContent: Bool, limits: Limits = .standard) {
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
  public struct Options: BitwiseCopyable, Hashable, Sendable {
    public let rawValue: UInt8
    @inlinable @inline(__always)
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    @inlinable @inline(__always)
    public static func | (a: Options, b: Options) -> Options {
      Options(rawValue: a.rawValue | b.rawValue)
    }
    @inlinable
    public static var none: Options { Options(rawValue: 0) }
    @inlinable @inline(__always)
    public func has(_ option: Options) -> Bool { rawValue & option.rawValue != 0 }
    /// Somebody waits for the response; not so for a mirrored or an authentication request.
    @inlinable
    public static var hasDownstream: Options { Options(rawValue: 1) }
    /// Exchanges are recorded.
    @inlinable
    public static var audits: Options { Options(rawValue: 2) }
    /// With `audits`: responses wait for their records (`durability: before_response`).
    @inlinable
    public static var awaitsRecords: Options { Options(rawValue: 4) }
    /// The method is idempotent, RFC 9110 9.2.2.
    @inlinable
    public static var isIdempotent: Options { Options(rawValue: 8) }
    /// The downstream understands interim responses (not HTTP/1.0).
    @inlinable
    public static var takesInterims: Options { Options(rawValue: 16) }
    /// The request expects 100 (Continue) before it sends content.
    @inlinable
    public static var expectsContinue: Options { Options(rawValue: 32) }
    /// An upgrade was asked for and passed on, or the request is a CONNECT that is forwarded.
    @inlinable
    public static var asksUpgrade: Options { Options(rawValue: 64) }
    /// The upstream's protocol tells which streams were not processed (HTTP/2).
    @inlinable
    public static var tellsUnprocessed: Options { Options(rawValue: 128) }
  }

  /// How far an exchange has got on its way to a server; each step but `waiting` is left by its answer.
  public enum Stage: UInt8, BitwiseCopyable, Hashable, Sendable {
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

  public enum Mode: UInt8, BitwiseCopyable, Hashable, Sendable {
    case message
    /// Bytes without framing in both directions.
    case tunnel
  }

  public enum RequestStep: UInt8, BitwiseCopyable, Hashable, Sendable {
    case open
    case whole
    /// Its rest is never read.
    case abandoned
  }

  public enum Expectation: UInt8, BitwiseCopyable, Hashable, Sendable {
    case none, awaited, settled
  }

  public enum UpstreamStep: UInt8, BitwiseCopyable, Hashable, Sendable {
    case none
    /// A connection was asked for.
    case attaching
    /// In the queue for one.
    case queued
    /// A connection is being made whose protocol is not known before it is (ALPN): it has no buffer.
    case dialing
    /// A connection is being made, and its buffer may be filled.
    case connecting
    /// A pooled connection of which nothing has left in this turn.
    case assigned
    case busy
    /// The server takes no more of the request; what it sends is still read.
    case deaf
    case released

    /// Whether there is a connection.
    @inlinable @inline(__always)
    public var isAttached: Bool { rawValue >= 3 && rawValue <= 7 }

    /// Whether there is a buffer to fill.
    @inlinable @inline(__always)
    public var hasBuffer: Bool { rawValue >= 4 && rawValue <= 7 }
  }

  public enum ResponseStep: UInt8, BitwiseCopyable, Comparable, Hashable, Sendable {
    case none
    /// The server has begun to answer: a part of a head, or an interim response.
    case begun
    /// The final head has come.
    case relaying
    /// A local reply is about to be written.
    case replying
    /// All of it is in the downstream's buffer.
    case whole

    @inlinable @inline(__always)
    public static func < (a: ResponseStep, b: ResponseStep) -> Bool { a.rawValue < b.rawValue }
  }

  public enum Delivery: UInt8, BitwiseCopyable, Hashable, Sendable {
    /// There is no downstream.
    case none
    /// Nothing of the final response has left.
    case open
    /// A byte of it may have reached the downstream.
    case committed
  }

  /// The bounds that an exchange keeps.
  public struct Limits: BitwiseCopyable, Hashable, Sendable {
    public var flow: Flow.Limits
    /// Content above which a response is not held for its end, in bytes: half of the low mark, so
    /// that with any head what is held does not pause the server.
    public var heldContent: UInt32
    /// The same for content with its head and framing.
    public var heldBytes: UInt32
    /// Interim responses that are passed on; a server that sends more is broken.
    public var interims: UInt8

    public init(flow: Flow.Limits, heldContent: UInt32, heldBytes: UInt32, interims: UInt8) {
      self.flow = flow
      self.heldContent = heldContent
      self.heldBytes = heldBytes
      self.interims = interims
    }

    public static var standard: Limits {
      Limits(flow: .standard, heldContent: 65_536, heldBytes: 131_072, interims: 32)
    }
  }
}

/// How often, and after what, a request may be sent again.
public struct RetryBudget: BitwiseCopyable, Hashable, Sendable {
  /// Attempts that are left beside the first.
  public var attempts: UInt8
  public var onConnectFailure: Bool
  public var onReset: Bool

  public init(attempts: UInt8, onConnectFailure: Bool = true, onReset: Bool = true) {
    self.attempts = attempts
    self.onConnectFailure = onConnectFailure
    self.onReset = onReset
  }
}

// MARK: What the driver asks

extension ExchangeState {
  @inlinable @inline(__always)
  public var hasEnded: Bool { stage == .ended }

  @inlinable @inline(__always)
  public var isTunnel: Bool { mode == .tunnel }

  /// Whether request content may be given to the upstream's buffer now.
  @inlinable @inline(__always)
  public var takesRequestContent: Bool {
    request == .open && upstream.hasBuffer && !requestFlow.isPaused
      && (response < .replying || isTunnel)
  }

  /// Whether response content may be given to the downstream's buffer now.
  @inlinable @inline(__always)
  public var takesResponseContent: Bool { response == .relaying && !responseFlow.isPaused }

  /// Whether the request should be copied before it leaves, where it fits: it may be sent again.
  @inlinable @inline(__always)
  public var wantsCopy: Bool {
    request == .whole && response == .none && !hasCopy && retries.attempts > 0 && !isTunnel
      && (options.has(.isIdempotent) || options.has(.tellsUnprocessed))
  }

  /// Whether the server has sent nothing: an end is that of an idle connection, and its age tells
  /// how long the server keeps one.
  @inlinable @inline(__always)
  public var isUntouched: Bool { response == .none }

  /// Whether the server owes something, so that its response timeout runs. While the downstream is
  /// slow it owes nothing; before the request's end only that it takes what waits.
  @inlinable @inline(__always)
  public var awaitsServer: Bool {
    guard upstream == .busy || upstream == .deaf, !responseFlow.isPaused, !isTunnel else {
      return false
    }
    // A request that is paused with nothing on its way waits for the server's window.
    return request == .whole || response >= .relaying || !requestFlow.isEmpty
      || requestFlow.isPaused || upstream == .deaf
  }

  /// Whether the downstream owes request content, so that its body timeout runs.
  @inlinable @inline(__always)
  public var awaitsRequest: Bool {
    request == .open && !requestFlow.isPaused && response < .replying && !isTunnel
      && stage == .running && upstream.isAttached
  }

  /// Whether all of the response is in the downstream's transport: its end may be sent quietly,
  /// since the next thing that is heard is the next request.
  @inlinable @inline(__always)
  public var isLeaving: Bool { response == .whole && audit.heldBytes == 0 }

  /// The same state with its counts from zero: of two that behave alike one is kept. Not for the driver.
  mutating func rebase() {
    requestFlow.rebase()
    responseFlow.rebase()
    requestBytes = 0
    responseBytes = min(responseBytes, UInt64(limits.heldContent) + 1)
    if stage != .claimingRefusal { status = 0 }
  }
}
