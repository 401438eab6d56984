// Why an exchange ended. One row per reason says where it came from, whether the request may be
// sent again, what is counted, whether it is logged, and what log, audit record and client read.

/// A reason for which an exchange ends, with all that follows from it.
package struct Failure: Sendable {
  /// Where the reason lies.
  package enum Source: UInt8, BitwiseCopyable, Sendable {
    /// Not a failure.
    case none
    case downstream, upstream, local
  }

  /// Which requests may be sent again after it, attempts and configuration permitting.
  package enum Retry: UInt8, BitwiseCopyable, Sendable {
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
  package struct Metrics: OptionSet, BitwiseCopyable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static var badRequests: Metrics { Metrics(rawValue: 1) }
    package static var upstreamFailures: Metrics { Metrics(rawValue: 2) }
    package static var timeouts: Metrics { Metrics(rawValue: 4) }
    package static var downstreamAborts: Metrics { Metrics(rawValue: 8) }
    package static var auditRejects: Metrics { Metrics(rawValue: 16) }
    package static var unansweredByAudit: Metrics { Metrics(rawValue: 32) }
  }

  /// When a line is logged.
  package enum Log: UInt8, BitwiseCopyable, Sendable {
    case never
    /// When an exchange that was under way fails of it; not when a request is refused by it.
    case failures
    case always
  }

  package enum Kind: UInt8, BitwiseCopyable, CaseIterable, Hashable, Sendable {
    case complete
    case badRequest, headTimeout
    case noRoute, methodRefused, upgradeNotSupported, loopDetected, maxForwards
    case auditFull, auditRecordTooLarge, auditFailed
    case connectRefused, connectUnreachable, connectTimeout, connectFailed
    case upstreamReset, upstreamClosedEarly, upstreamTruncated, upstreamMalformed
    case upstreamUpgrade, streamRefused, responseTimeout
    case downstreamReset, downstreamClosed, downstreamTimeout, downstreamUnsendable
    case requestBodyMalformed, requestBodyTimeout
    case tunnelTimeout, cancelled
    case resourcesExhausted, drainDeadline
  }

  package let kind: Kind
  package let source: Source
  package let retry: Retry
  /// The status of the local reply, where one can still be sent.
  package let status: UInt16
  /// False where nobody is left to read a reply.
  package let isAnswerable: Bool
  package let metrics: Metrics
  package let log: Log
  /// What log and audit record say, and the local reply where it names no rule of its own.
  package let label: StaticString

  package init(_ kind: Kind) { self = kind.failure }

  init(
    _ kind: Kind, _ source: Source, _ status: UInt16, _ label: StaticString,
    retry: Retry = .never, metrics: Metrics = [], log: Log = .never, answerable: Bool = true
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
