// Why an exchange ended. One row per reason says where it came from, whether the request may be
// sent again, what is counted, whether it is logged, and what log, audit record and client read.

/// A reason for which an exchange ends, with all that follows from it.
public struct Failure: Sendable {
  /// Where the reason lies.
  public enum Source: UInt8, BitwiseCopyable, Sendable {
    /// Not a failure.
    case none
    case downstream, upstream, local
  }

  /// Which requests may be sent again after it, attempts and configuration permitting.
  public enum Retry: UInt8, BitwiseCopyable, Sendable {
    case never
    /// Nothing was sent: any request.
    case unsent
    /// The server said that it did not process the request: any request that was kept whole.
    case unprocessed
    /// It may have been processed: what is idempotent (RFC 9110 9.2.2), was kept whole, and of whose
    /// response nothing has come.
    case replayable
  }

  /// What is counted when it ends an exchange.
  public struct Metrics: BitwiseCopyable, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static func | (a: Metrics, b: Metrics) -> Metrics {
      Metrics(rawValue: a.rawValue | b.rawValue)
    }
    public func has(_ metric: Metrics) -> Bool { rawValue & metric.rawValue != 0 }
    public static var none: Metrics { Metrics(rawValue: 0) }
    public static var badRequests: Metrics { Metrics(rawValue: 1) }
    public static var upstreamFailures: Metrics { Metrics(rawValue: 2) }
    public static var timeouts: Metrics { Metrics(rawValue: 4) }
    public static var downstreamAborts: Metrics { Metrics(rawValue: 8) }
    public static var auditRejects: Metrics { Metrics(rawValue: 16) }
    public static var unansweredByAudit: Metrics { Metrics(rawValue: 32) }
  }

  /// When a line is logged.
  public enum Log: UInt8, BitwiseCopyable, Sendable {
    case never
    /// When an exchange that was under way fails of it; not when a request is refused by it.
    case failures
    case always
  }

  public enum Kind: UInt8, BitwiseCopyable, CaseIterable, Hashable, Sendable {
    case complete
    case badRequest, headTimeout
    case noRoute, methodRefused, upgradeNotSupported, loopDetected, maxForwards
    case auditFull, auditRecordTooLarge, auditFailed
    case connectRefused, connectUnreachable, connectTimeout, connectFailed
    case tlsExpired, tlsNotYetValid, tlsNameMismatch, tlsUntrusted, tlsHandshakeTimeout, tlsFailed
    case upstreamReset, upstreamClosedEarly, upstreamTruncated, upstreamMalformed
    case upstreamUpgrade, noExtendedConnect, streamRefused, responseTimeout, upstreamSilent
    case downstreamReset, downstreamClosed, downstreamTimeout, downstreamUnsendable
    case downstreamSilent
    case requestBodyMalformed, requestBodyTimeout
    case tunnelTimeout, cancelled
    case resourcesExhausted, drainDeadline
    case noServer
  }

  public let kind: Kind
  public let source: Source
  public let retry: Retry
  /// The status of the local reply, where one can still be sent.
  public let status: UInt16
  /// False where nobody is left to read a reply.
  public let isAnswerable: Bool
  public let metrics: Metrics
  public let log: Log
  /// What log and audit record say, and the local reply where it names no rule of its own.
  public let label: StaticString

  public init(_ kind: Kind) { self = kind.failure }

  init(
    _ kind: Kind, _ source: Source, _ status: UInt16, _ label: StaticString,
    retry: Retry = .never, metrics: Metrics = .none, log: Log = .never, answerable: Bool = true
  ) {
    self.kind = kind
    self.source = source
    self.retry = retry
    self.status = status
    isAnswerable = answerable
    self.metrics = metrics
    self.log = log
    self.label = label
  }
}
