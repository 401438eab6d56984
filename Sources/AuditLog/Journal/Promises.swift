// Promises owns what exchanges have reserved and not yet used: memory for every record that they may
// still append, and disk for each of them in a batch of its own. Whether there is room for more is
// decided by Journal, which knows the memory and the segments.

struct Promises {
  /// Disk that one record may take beyond its bytes, when it is alone in its batch.
  static let recordDiskOverhead = Seal.maximum + SegmentName.blockSize - 1

  private let ordinaryBytes: Int
  private let largeMaximum: Int
  private(set) var bytes = 0
  private(set) var records = 0
  /// The part of `bytes` that large exchanges have, as disk.
  private(set) var largeDisk = 0

  /// - Parameters:
  ///   - ordinaryBytes: an exchange that reserves more is large.
  ///   - largeMaximum: disk that large exchanges may have together.
  init(ordinaryBytes: Int, largeMaximum: Int) {
    self.ordinaryBytes = ordinaryBytes
    self.largeMaximum = largeMaximum
  }

  var isEmpty: Bool { records == 0 }
  /// Disk that they may take.
  var disk: Int { Self.disk(bytes, records) }

  /// Disk that a reservation may take.
  static func disk(_ bytes: Int, _ records: Int) -> Int { bytes + records * recordDiskOverhead }

  private func isLarge(_ bytes: Int) -> Bool { bytes > ordinaryBytes }

  /// False for a large reservation where large exchanges have all that they may have.
  func admits(_ bytes: Int, disk: Int) -> Bool {
    !isLarge(bytes) || largeDisk + disk <= largeMaximum
  }

  mutating func grant(_ bytes: Int, _ records: Int) -> Reservation {
    var reservation = Reservation()
    reservation.bytes = bytes
    reservation.records = records
    reservation.isLarge = isLarge(bytes)
    self.bytes += bytes
    self.records += records
    if reservation.isLarge { largeDisk += Self.disk(bytes, records) }
    return reservation
  }

  /// Deducts a record of this length, which is in a batch now.
  @inline(__always)
  mutating func charge(_ length: Int, to reservation: inout Reservation) {
    // TRAP: `RecordWriter`'s bounds are worst cases for the very bytes that are written: each
    // escapes to six at most.
    precondition(length <= reservation.bytes, "a record longer than its reservation")
    reservation.bytes -= length
    reservation.records -= 1
    bytes -= length
    records -= 1
    if reservation.isLarge { largeDisk -= length + Self.recordDiskOverhead }
  }

  /// Takes back what is left of a reservation and zeroes it.
  mutating func release(_ reservation: inout Reservation) {
    bytes -= reservation.bytes
    records -= reservation.records
    if reservation.isLarge { largeDisk -= Self.disk(reservation.bytes, reservation.records) }
    reservation = Reservation()
  }
}
