// The audit log as it was configured: where it lies, what a response waits for, and what happens
// when it cannot keep up. The directory is a path only; the journal opens it and reports against
// its location.

/// The audit log's settings.
public struct AuditConfiguration: Sendable, Equatable {
  /// What a response waits for.
  public enum Durability: String, Sendable, Equatable, CaseIterable {
    /// The record is on stable storage before the response's first byte leaves.
    case beforeResponse = "before_response"
    /// Records are made durable every `intervalNanoseconds`; a crash loses at most that much.
    case interval = "interval"
    /// The kernel writes when it likes; a power cut may lose everything since.
    case none = "none"
  }

  /// What happens to a request when no journal space can be reserved for it.
  public enum WhenFull: String, Sendable, Equatable, CaseIterable {
    /// It waits.
    case block = "block"
    /// It is answered 503 before the upstream sees it.
    case reject = "reject"
    /// It is served without a record, and counted.
    case drop = "drop"
  }

  public var directory: String
  public var directoryLocation: SourceLocation
  public var durability: Durability
  /// 1 ms…1 min; used by `Durability.interval` only.
  public var intervalNanoseconds: Int64
  public var whenFull: WhenFull
  /// 0…1 s; used by `Durability.beforeResponse` only: how long a response of at most 64 KiB is held
  /// for its end, so that one record tells all of it.
  public var holdNanoseconds: Int64
  /// Bytes, 1 MiB…4 GiB, a multiple of 4096; a segment is closed when it is full.
  public var segmentSize: Int
  /// 1 s…168 h; a segment is closed when it is this old.
  public var segmentAgeNanoseconds: Int64
  /// Records carry no query.
  public var redactQuery: Bool

  public init(
    directory: String,
    directoryLocation: SourceLocation = SourceLocation(),
    durability: Durability = .beforeResponse,
    intervalNanoseconds: Int64 = 200 * DurationUnit.millisecond,
    whenFull: WhenFull = .reject,
    holdNanoseconds: Int64 = 5 * DurationUnit.millisecond,
    segmentSize: Int = 64 << 20,
    segmentAgeNanoseconds: Int64 = DurationUnit.hour,
    redactQuery: Bool = false
  ) {
    self.directory = directory
    self.directoryLocation = directoryLocation
    self.durability = durability
    self.intervalNanoseconds = intervalNanoseconds
    self.whenFull = whenFull
    self.holdNanoseconds = holdNanoseconds
    self.segmentSize = segmentSize
    self.segmentAgeNanoseconds = segmentAgeNanoseconds
    self.redactQuery = redactQuery
  }
}
