// What the lanes that make and watch segments are told of the rest, and what follows when the log is
// not where it was any more: the journal then acts as with a full disk, and recovers alone.

public import MillraceEngine

extension Journal {
  /// Attempts to make the segment that records in memory wait for before these count as failed.
  private static var preparationsMaximum: Int { 8 }

  // MARK: Preparing

  /// What the prepare lane has to go by now.
  var demand: SegmentDemand {
    SegmentDemand(
      isLost: isLost, isLosing: presence == .losing, isShuttingDown: isShuttingDown,
      hasReady: segments.ready.isOpen,
      isWaiting: !pool.isEmpty && (segments.isStalled || !segments.active.isOpen),
      lacksRoom: dependableDisk - promisedDisk < headroom,
      isSettled: pool.isEmpty && promises.isEmpty)
  }

  mutating func nextPrepareOperation(_ now: Int64) -> JournalOperation? {
    if prepare.isSubmitted { return nil }
    let demand = demand
    if prepare.dropsReady(demand) && !retire.isFull {
      if let ready = segments.takeReady() { retire.push(RetiredSegment(ready)) }
      return nil
    }
    return prepare.nextOperation(demand, &segments, paths, mode, now)
  }

  /// Reports the completion of the prepare lane's operation.
  mutating func completedPrepare(_ result: Int32, _ buffer: consuming FileBuffer?, _ now: Int64) {
    let failuresBefore = prepare.failuresInARow
    prepare.completed(result, buffer, demand, &segments, &mode, &events, now)
    // Not by a step that succeeds: there may be room again.
    guard prepare.failuresInARow > failuresBefore else { return }
    // What was promised to these records was in a segment that failed, and no other can be made in its
    // place: a disk that is full for good must not hold executed exchanges for good.
    if prepare.failuresInARow >= Self.preparationsMaximum && commit.isIdle {
      failPending(code: events.lastPrepareError)
    }
  }

  // MARK: Watching

  /// Reports the completion of the watch lane's operation.
  /// - Parameters:
  ///   - result: 0, or −errno.
  ///   - status: what the call brought, where it brought something.
  public mutating func completedWatch(result: Int32, status: FileStatus?) {
    let finding = watch.completed(
      result, status, segments, isLost: isLost, isShuttingDown: isShuttingDown)
    switch finding {
    case .nothing: break
    case .gone(let code, let isDirectory, let replacement):
      if !isLost { lose(code, isDirectory: isDirectory) }
      // Another directory in its place: it is used once this process holds it.
      if replacement != 0 && hasLetGo { watch.offer(replacement) }
    case .back(let inode):
      if hasLetGo { resume(inode) }
    }
  }

  /// True when the log is lost and nothing of it is open any more.
  private var hasLetGo: Bool { presence == .lost && !prepare.hasOpenFiles }

  /// Nothing more is granted; the segments are given up when no commit uses them.
  private mutating func lose(_ code: Int32, isDirectory: Bool) {
    presence = .losing
    // With its directory in place the log has room again as soon as another segment is made: requests
    // wait for that. Without it, `when_full` acts at once.
    if isDirectory { events.setPrepareError(code) }
    watch.lookNow()
    events.counters.lostLogs &+= 1
    events.add(.logLost(code: code, isDirectory: isDirectory, last: marks.durableSequence))
    giveUpSegments()
  }

  /// Gives up the segments of a log that is lost. Called again while a commit is still in flight.
  mutating func giveUpSegments() {
    guard presence == .losing, commit.isIdle else { return }
    presence = .lost
    // There is room: a segment is opened only while the queue has some for it and for the ready one.
    if let active = segments.takeActive() { retire.push(RetiredSegment(active, isLost: true)) }
    if let ready = segments.takeReady() { retire.push(RetiredSegment(ready, isLost: true)) }
  }

  private mutating func resume(_ inode: UInt64) {
    presence = .present
    events.clearPrepareError()
    prepare.retryNow()
    watch.follow(inode)
    events.add(.logFound)
  }

  /// True when another directory has the place of the lost one: the caller takes it for this process
  /// and reports with `adoptDirectory`.
  public var wantsDirectory: Bool { watch.candidate != 0 }

  /// The answer to `wantsDirectory`. If the directory could not be taken, it is asked again after the
  /// next look.
  public mutating func adoptDirectory(_ isTaken: Bool) {
    let inode = watch.takeCandidate()
    if isTaken && inode != 0 && isLost { resume(inode) }
  }
}
