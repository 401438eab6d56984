// What a journal promises before anything is written: memory for every record that an exchange may
// still append, and disk for each of them in a batch of its own. Room on disk follows what is
// reserved; a ceiling comes from the configuration, not from the size of a segment.

extension Journal {
  /// Disk that one record may take beyond its bytes, when it is alone in its batch.
  static let recordDiskOverhead = Seal.maximum + SegmentName.blockSize - 1

  /// Bytes of a segment that promises may count on: a batch never straddles segments, so up to one
  /// batch is lost at its end, and its header may cost a block.
  func dependable(_ segment: OpenSegment) -> Int {
    if !segment.isOpen { return 0 }
    return max(
      0, segment.size - segment.used - configuration.batchSize - SegmentName.blockSize)
  }

  var promisedDisk: Int {
    promisedBytes + promisedRecords * Self.recordDiskOverhead + pool.pendingDisk
  }

  /// What all segments that are there can keep.
  var dependableDisk: Int { dependable(active) + dependable(ready) + reservedDisk }

  /// True if promises do not need the active segment.
  var readyKeepsPromises: Bool {
    ready.isOpen && promisedDisk <= dependable(ready) + reservedDisk
  }

  /// Free room below which another segment is made: half of one, so that requests go on being
  /// granted meanwhile, and enough for the largest reservation.
  var headroom: Int {
    let largest =
      configuration.recordMaximum
      + 2 * (RecordWriter.framingMaximum + RecordWriter.responsePartMaximum)
      + RecordWriter.exchangeRecords * Self.recordDiskOverhead
    return max(configuration.dependableBytes / 2, largest)
  }

  /// Claims room for `records` records of `bytes` bytes in all; see `RecordWriter.exchangeMaximum`.
  /// What is granted can be appended in any case; it is drawn on by `append` and ended by
  /// `release`.
  public mutating func reserve(bytes: Int, records: Int = 1) -> ReservationResult {
    if let reason = refusal(bytes: bytes, records: records) {
      switch reason {
      case .memory, .large: counters.refusedMemory &+= 1
      case .disk: counters.refusedDisk &+= 1
      case .recordTooLarge, .shuttingDown: break
      }
      return .full(reason)
    }
    var reservation = Reservation()
    reservation.bytes = bytes
    reservation.records = records
    reservation.isLarge = isLarge(bytes)
    promisedBytes += bytes
    promisedRecords += records
    if reservation.isLarge { promisedLarge += Self.disk(bytes, records) }
    return .granted(reservation)
  }

  /// Disk that a reservation may take.
  private static func disk(_ bytes: Int, _ records: Int) -> Int {
    bytes + records * recordDiskOverhead
  }

  private func isLarge(_ bytes: Int) -> Bool { bytes > JournalConfiguration.ordinaryBytes }

  private func refusal(bytes: Int, records: Int) -> JournalFullReason? {
    // TRAP: the caller asks for `RecordWriter`'s bound, which is above 0.
    precondition(bytes > 0 && records > 0, "an empty reservation")
    if shuttingDown { return .shuttingDown }
    // A single record takes all but the others' fixed share at most.
    let longest =
      bytes - (records - 1) * (RecordWriter.framingMaximum + RecordWriter.responsePartMaximum)
    if longest > configuration.recordMaximum { return .recordTooLarge }
    let disk = Self.disk(bytes, records)
    if isLarge(bytes) && promisedLarge + disk > configuration.largeBytes { return .large }
    if pool.waitingCount >= configuration.backlogBatches { return .memory }
    if promisedBytes + bytes > pool.guaranteedBytes { return .memory }
    if isLost { return .disk }
    if promisedDisk + disk > dependableDisk { return .disk }
    return nil
  }

  /// True if a reservation of this size would be granted now: with `when_full: block`, look again
  /// after each completion.
  public func spaceAvailable(bytes: Int, records: Int = 1) -> Bool {
    refusal(bytes: bytes, records: records) == nil
  }

  /// Gives back what is left of a reservation and zeroes it.
  public mutating func release(_ reservation: inout Reservation) {
    promisedBytes -= reservation.bytes
    promisedRecords -= reservation.records
    if reservation.isLarge { promisedLarge -= Self.disk(reservation.bytes, reservation.records) }
    reservation = Reservation()
  }

  /// Counts one exchange that `when_full: drop` leaves unrecorded; the next batch tells of it.
  public mutating func countDropped() {
    counters.dropped &+= 1
    untoldDrops &+= 1
  }
}
