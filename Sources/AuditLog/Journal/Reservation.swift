// Reservation is the claim of one exchange on a journal's memory and disk. It is a plain value, so
// that it can live in a slab; releasing it zeroes it, and releasing it again does nothing.

/// What is left of one exchange's claim.
public struct Reservation: Equatable, Sendable {
  /// Bytes of records that may still be appended.
  public internal(set) var bytes: Int = 0
  /// Records that may still be appended.
  public internal(set) var records: Int = 0
  /// It counts against what large exchanges may have together.
  var isLarge = false

  public init() {}

  /// True if nothing is claimed.
  public var isEmpty: Bool { records == 0 && bytes == 0 }
}

/// Why a journal grants nothing now.
public enum JournalFullReason: Equatable, Sendable {
  /// The request is longer than `recordMaximum`; it will never be granted.
  case recordTooLarge
  /// Too many records wait for the device.
  case memory
  /// Requests with large parts have all that they may have together; ordinary ones are granted.
  case large
  /// No segment with enough room: the first is being prepared, the disk is slow, or it is full
  /// (`Journal.lastPrepareError` tells).
  case disk
  /// The journal is shutting down.
  case shuttingDown
}

/// The answer to `Journal.reserve`.
public enum ReservationResult: Equatable, Sendable {
  case granted(Reservation)
  case full(JournalFullReason)
}
