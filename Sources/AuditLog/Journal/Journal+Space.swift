// What a journal grants: memory for every record that an exchange may still append, and disk for each
// of them in a batch of its own. Room on disk follows what is reserved; a ceiling comes from the
// configuration, not from the size of a segment.

extension Journal {
  /// Disk that promises and what is in memory may take.
  var promisedDisk: Int { promises.disk + pool.pendingDisk }

  /// What all segments that are there can keep.
  var dependableDisk: Int { segments.dependableDisk + prepare.dependableDisk }

  /// True if promises do not need the active segment.
  var readyKeepsPromises: Bool {
    segments.ready.isOpen && promisedDisk <= segments.readyDisk + prepare.dependableDisk
  }

  /// Claims room for `records` records of `bytes` bytes in all; see `RecordWriter.exchangeMaximum`.
  /// What is granted can be appended in any case; it is drawn on by `append` and ended by
  /// `release`.
  public mutating func reserve(bytes: Int, records: Int = 1) -> ReservationResult {
    guard let reason = refusal(bytes: bytes, records: records) else {
      return .granted(promises.grant(bytes, records))
    }
    switch reason {
    case .memory, .large: events.counters.refusedMemory &+= 1
    case .disk: events.counters.refusedDisk &+= 1
    case .recordTooLarge, .shuttingDown: break
    }
    return .full(reason)
  }

  private func refusal(bytes: Int, records: Int) -> JournalFullReason? {
    // TRAP: the caller asks for `RecordWriter`'s bound, which is above 0.
    precondition(bytes > 0 && records > 0, "an empty reservation")
    if isShuttingDown { return .shuttingDown }
    // A single record takes all but the others' fixed share at most.
    let longest =
      bytes - (records - 1) * (RecordWriter.framingMaximum + RecordWriter.responsePartMaximum)
    if longest > configuration.recordMaximum { return .recordTooLarge }
    let disk = Promises.disk(bytes, records)
    if !promises.admits(bytes, disk: disk) { return .large }
    if pool.waitingCount >= configuration.backlogBatches { return .memory }
    if promises.bytes + bytes > pool.guaranteedBytes { return .memory }
    if isLost || promisedDisk + disk > dependableDisk { return .disk }
    return nil
  }

  /// True if a reservation of this size would be granted now: with `when_full: block`, look again
  /// after each completion.
  public func spaceAvailable(bytes: Int, records: Int = 1) -> Bool {
    refusal(bytes: bytes, records: records) == nil
  }

  /// Gives back what is left of a reservation and zeroes it.
  public mutating func release(_ reservation: inout Reservation) {
    promises.release(&reservation)
  }
}
