import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

private func world(
  _ faults: Faults = Faults(), durability: Durability = .beforeResponse,
  _ adjust: (inout JournalConfiguration) -> Void = { _ in }
) -> World {
  var configuration = World.configuration(durability: durability)
  adjust(&configuration)
  let world = World(
    configuration, ChainState(worker: 0), SimulatedDisk(faults: faults, seed: 1))
  return world
}

private func verify(_ files: [(name: String, content: [UInt8])]) throws -> VerificationReport {
  let folder = Folder()
  try folder.write(files)
  return try folder.verify()
}

@Suite struct JournalTests {
  @Test func nothingIsGrantedBeforeTheFirstSegmentIsReady() {
    let world = world()
    #expect(world.reserve(bytes: 1_000) == .full(.disk))
    world.settle()
    guard case .granted = world.reserve(bytes: 1_000) else {
      Issue.record("refused with a segment ready")
      return
    }
  }

  /// Takes the preparation on to its next prefill write and completes that.
  /// - Returns: the write's offset; nil if the preparation has failed.
  private func completePrefill(_ journal: inout Journal, with count: Int32) -> Int? {
    for descriptor in 7... as PartialRangeFrom<Int32> {
      guard let operation = journal.nextOperation(.prepare, now: 1) else { return nil }
      switch consume operation {
      case .write(_, let buffer, _, let offset, _):
        journal.completed(.prepare, result: count, buffer: buffer, now: 1)
        return offset
      case .close: return nil
      default: journal.completed(.prepare, result: descriptor, buffer: nil, now: 1)
      }
    }
    return nil
  }

  @Test(arguments: [(1, 0), (2, 0), (3, 1)])
  func aPrefillWriteOfLessThanABlockIsRepeatedAFewTimes(short: Int, failures: UInt64) {
    var journal = Journal(configuration: World.configuration(), recovered: ChainState(worker: 0))
    for _ in 0..<short {
      let offset = completePrefill(&journal, with: 512)
      #expect(offset == 0)
    }
    let next = completePrefill(&journal, with: 4_096)
    let failed = journal.counters.prepareFailures
    #expect(failed == failures)
    #expect(next == (failures == 0 ? 0 : nil))
  }

  @Test func anIdleJournalCommitsAtOnceAndGathersWhileACommitIsInFlight() {
    let world = world()
    world.settle()
    #expect(world.exchange() == 1)
    world.poll()
    #expect(world.isBusy(.commit))
    for sequence in 2...4 { #expect(world.exchange() == UInt64(sequence)) }
    world.poll()
    #expect(world.durableSequence == 0)
    world.complete(.commit)
    #expect(world.durableSequence == 1)
    world.settle()
    #expect(world.durableSequence == 4)
    #expect(world.counters.commits == 2)
    #expect(world.counters.recordsPerBatchMax == 3)
  }

  @Test func underLoadTheNextCommitWaitsForTheGatherWindow() {
    let world = world()
    world.settle()
    for _ in 0..<6 { world.exchange() }
    world.poll()
    let started = world.now
    world.complete(.commit)
    world.exchange()
    world.poll()
    #expect(!world.isBusy(.commit))
    #expect(world.nextDeadline == started + 200_000)
    world.now = started + 199_999
    world.poll()
    #expect(!world.isBusy(.commit))
    world.now = started + 200_000
    world.poll()
    #expect(world.isBusy(.commit))
  }

  @Test func anIntervalHoldsCommitsBackAndNothingElse() {
    let world = world(durability: .interval)
    world.settle()
    world.exchange()
    world.poll()
    let since = world.now
    #expect(!world.isBusy(.commit))
    #expect(world.nextDeadline == since + 200_000_000)
    world.now = since + 200_000_000
    world.settle()
    #expect(world.durableSequence == 1)
  }

  @Test func durabilityNoneWritesWithoutDirectIOAndWithoutSync() {
    let world = world(Faults(refusesDirect: true, refusesDurable: true), durability: .none)
    world.settle()
    world.exchange()
    world.settle(until: 1_000_000_000)
    #expect(world.durableSequence == 1)
    #expect(world.takeNotice() == nil)
  }

  @Test func aShortWriteIsContinuedAtABlock() throws {
    let world = world()
    world.settle()
    for _ in 0..<7 { world.exchange(path: String(repeating: "x", count: 900)) }
    world.poll()
    // Half a block more than one block: goes on at the second block.
    world.answer(.commit, 4_096)
    #expect(world.durableSequence == 0)
    world.poll()
    #expect(world.isBusy(.commit))
    world.complete(.commit)
    #expect(world.durableSequence == 7)
    #expect(world.counters.shortWrites == 1)
  }

  @Test func aWriteThatTakesNothingFailsTheBatchAndNotTheJournal() {
    let world = world()
    world.settle()
    world.exchange()
    world.poll()
    world.answer(.commit, 0)
    #expect(world.failedThrough == 1)
    world.settle()
    #expect(world.exchange() == 2)
    world.settle()
    #expect(world.durableSequence == 2)
  }

  @Test func aFailedCommitIsOwnedUpToInTheNextSegment() throws {
    let world = world()
    world.settle()
    world.exchange()
    world.settle()
    world.exchange()
    world.exchange()
    world.poll()
    world.answer(.commit, -EIO)
    #expect(world.failedFirst == 2)
    #expect(world.failedThrough == 3)
    #expect(world.durableSequence == 1)
    #expect(world.takeNotice() == .commitFailed(code: EIO, first: 2, last: 3))
    world.exchange()
    world.settle()
    #expect(world.durableSequence == 4)
    let report = try verify(world.disk.snapshot())
    #expect(report.verdict == .intact)
    #expect(report.chains[0].lost == 2)
    #expect(report.chains[0].records == 2)
  }

  @Test func interruptedAndBusyWritesAreTriedAgainUpToABound() {
    for code in [EINTR, EAGAIN, ENOSPC] {
      let world = world()
      world.settle()
      world.exchange()
      for _ in 0..<7 {
        world.poll()
        if let deadline = world.nextDeadline { world.now = max(world.now, deadline) }
        world.poll()
        #expect(world.isBusy(.commit))
        world.answer(.commit, -code)
        #expect(world.failedThrough == 0)
      }
      world.now += 1_000_000_000
      world.poll()
      world.answer(.commit, -code)
      #expect(world.failedThrough == 1)
    }
  }

  @Test func withoutDirectIOTheJournalSyncsAndSaysSoOnce() {
    for faults in [Faults(refusesDirect: true), Faults(refusesDirectWrites: true)] {
      let world = world(faults)
      world.settle()
      for _ in 0..<3 {
        world.exchange()
        world.poll()
        world.complete(.commit)
        #expect(world.durableSequence == world.counters.records)
        world.settle()
      }
      #expect(world.durableSequence == 3)
      #expect(world.takeNotice() == .directIOUnavailable(code: EINVAL))
      #expect(world.takeNotice() == nil)
    }
  }

  @Test func directIORefusedAtACommitReopensTheSegment() throws {
    let world = world()
    world.settle()
    world.exchange()
    world.poll()
    world.answer(.commit, -EINVAL)
    world.settle()
    #expect(world.durableSequence == 1)
    #expect(world.failedThrough == 0)
    #expect(try verify(world.disk.snapshot()).verdict == .intact)
  }

  @Test func aSyncThatFailedIsNotTriedAgain() {
    let world = world(Faults(refusesDurable: true))
    world.settle()
    world.exchange()
    world.poll()
    world.complete(.commit)
    world.poll()
    world.complete(.commit)
    world.poll()
    #expect(world.durableSequence == 0)
    world.answer(.commit, -EIO)
    #expect(world.failedThrough == 1)
  }

  @Test func aFullDiskRefusesAndRecovers() {
    let world = world(Faults(noSpace: 100))
    world.settle()
    #expect(world.reserve(bytes: 500) == .full(.disk))
    #expect(world.lastPrepareError == ENOSPC)
    #expect(world.takeNotice() == .prepareFailed(code: ENOSPC))
    let deadline = world.nextDeadline
    #expect(deadline != nil && deadline! > world.now)
    #expect(world.disk.fileNames == [])
    world.disk.faults.noSpace = 0
    world.settle(until: world.now + 1_000_000_000)
    #expect(world.lastPrepareError == 0)
    #expect(world.exchange() == 1)
  }

  /// The segments that were promised to a record fail, and the disk is full for good.
  @Test func aRecordWaitsForASegmentThatCannotBeMadeOnlySoLong() throws {
    let world = world()
    world.settle()
    let part = World.requestPart(path: "/")
    let result = world.reserve(bytes: RecordWriter.recordMaximum(requestPart: part.count))
    let another = world.reserve(bytes: RecordWriter.recordMaximum(requestPart: part.count))
    guard case .granted(var reservation) = result, case .granted(var lateReservation) = another
    else {
      Issue.record("refused with a segment ready")
      return
    }
    world.disk.faults.noSpace = 100
    while world.exchange() != nil {
      world.poll()
      if !world.isBusy(.commit) { break }
      world.answer(.commit, -EIO)
      world.settle()
    }
    #expect(world.reserve(bytes: 500) == .full(.disk))
    let lost = world.failed
    let sequence = world.append(.exchange, 100, part, &reservation)
    world.journal.release(&reservation)
    world.settle()
    let before = world.counters.prepareFailures
    while world.counters.prepareFailures < before + 6 {
      world.settle(until: try #require(world.nextDeadline))
    }
    #expect(world.failed == lost, "given up after seven attempts")
    while world.counters.prepareFailures < before + 8 {
      world.settle(until: try #require(world.nextDeadline))
    }
    #expect(world.failed.contains(sequence), "it waits for ever")
    // One that was promised room as well comes while a segment is made at last.
    world.disk.faults.noSpace = 0
    let late = world.append(.exchange, 101, part, &lateReservation)
    world.journal.release(&lateReservation)
    world.settle(until: world.now + 1_000_000_000)
    #expect(!world.failed.contains(late), "given up although a segment can be made")
    #expect(world.durableSequence == late)
    #expect(world.exchange() == late + 1)
    world.settle()
    #expect(world.durableSequence == late + 1)
    #expect(try verify(world.disk.snapshot()).verdict == .intact)
  }

  @Test func aRecordLongerThanTheLimitIsRefusedAtTheLimit() {
    let world = world()
    world.settle()
    let limit = 4 << 10
    #expect(world.spaceAvailable(bytes: limit - 1))
    #expect(world.spaceAvailable(bytes: limit))
    #expect(world.reserve(bytes: limit + 1) == .full(.recordTooLarge))
  }

  @Test func memoryIsRefusedExactlyWhenItCouldRunOut() {
    let world = world {
      $0.segmentSize = 4 << 20; $0.firstSegmentSize = 4 << 20
    }
    world.settle()
    let guaranteed = world.guaranteedBytes
    var taken = 0
    while guaranteed - taken >= 4_096 {
      guard case .granted = world.reserve(bytes: 4_096) else { break }
      taken += 4_096
    }
    let rest = guaranteed - taken
    #expect(world.reserve(bytes: rest + 1) == .full(.memory))
    guard case .granted(var last) = world.reserve(bytes: rest) else {
      Issue.record("the last byte is refused")
      return
    }
    #expect(world.reserve(bytes: 1) == .full(.memory))
    #expect(world.counters.refusedMemory == 2)
    world.journal.release(&last)
    world.journal.release(&last)
    #expect(world.spaceAvailable(bytes: rest))
    #expect(!world.spaceAvailable(bytes: rest + 1))
  }

  /// Reservations of every size are all used at their full length, in every order of commits, and
  /// the journal never runs out of what it promised (an append without room traps).
  @Test(arguments: 0..<40)
  func whatIsGrantedCanAlwaysBeAppended(seed: Int) {
    var random = SplitMix(state: UInt64(seed))
    let world = world(Faults(shortWrite: 5)) { $0.segmentSize = 256 << 10 }
    world.settle()
    var held: [(Reservation, Int)] = []
    var granted = 0
    for _ in 0..<1_500 {
      switch Int.random(in: 0..<6, using: &random) {
      case 0...2:
        let length = Int.random(in: 1...2_500, using: &random)
        let part = World.requestPart(path: String(repeating: "q", count: length))
        let bytes = RecordWriter.recordMaximum(requestPart: part.count)
        if case .granted(let reservation) = world.reserve(bytes: bytes) {
          held.append((reservation, length))
          granted += 1
        }
      case 3:
        for _ in 0..<Int.random(in: 0...4, using: &random) where !held.isEmpty {
          var (reservation, length) = held.remove(
            at: Int.random(in: 0..<held.count, using: &random))
          let part = World.requestPart(path: String(repeating: "q", count: length))
          _ = world.append(.exchange, 1, part, &reservation)
          world.journal.release(&reservation)
        }
      case 4:
        world.poll()
        if random.chance(50) { world.complete(.commit) }
      default:
        world.poll()
        world.complete(.prepare)
        world.complete(.retire)
        world.complete(.fill)
        world.now += 50_000
      }
    }
    #expect(granted > 50)
    for (reservation, length) in held {
      var reservation = reservation
      let part = World.requestPart(path: String(repeating: "q", count: length))
      _ = world.append(.exchange, 1, part, &reservation)
      world.journal.release(&reservation)
    }
    world.settle(until: world.now + 1_000_000_000)
    #expect(world.durableSequence == UInt64(granted))
    #expect(world.promised == [0, 0])
  }

  @Test func aDiskThatFillsStopsGrantsAndLosesNothing() {
    let world = world()
    world.settle()
    world.exchange()
    world.poll()
    // No segment can be made from here on: what is granted fits what is there.
    world.disk.faults.noSpace = 100
    var granted = 1
    for _ in 0..<2_000 {
      if world.exchange(path: String(repeating: "s", count: 700)) != nil { granted += 1 }
      world.poll()
      for lane in [JournalLane.commit, .fill, .prepare] { world.complete(lane) }
      world.now += 1_000_000
    }
    world.settle()
    #expect(world.reserve(bytes: 500) == .full(.disk))
    #expect(world.durableSequence == UInt64(granted))
    world.disk.faults.noSpace = 0
    world.settle(until: world.now + 1_000_000_000)
    #expect(world.spaceAvailable(bytes: 500))
  }

  @Test func segmentsRotateBySizeAndVerifyAsOneChain() throws {
    let world = world()
    world.settle()
    for _ in 0..<400 {
      #expect(world.exchange(path: String(repeating: "r", count: 600)) != nil)
      world.settle()
    }
    #expect(world.counters.rotations >= 10)
    let report = try verify(world.disk.snapshot())
    #expect(report.verdict == .intact)
    #expect(report.chains[0].records == 400)
    #expect(report.chains[0].segments >= 11)
    #expect(report.chains[0].startsAtBeginning)
  }

  @Test func segmentsRotateByAgeOnlyWhenTheyHoldSomething() {
    let world = world { $0.segmentAgeNanoseconds = 1_000_000_000 }
    world.settle(until: 20_000_000_000)
    #expect(world.counters.rotations == 0)
    world.exchange()
    world.settle()
    let due = world.nextDeadline
    #expect(due != nil)
    world.now = due! - 1
    world.settle()
    #expect(world.counters.rotations == 0)
    world.now = due!
    world.settle()
    #expect(world.counters.rotations == 1)
    #expect(world.disk.content("w000-0000000001.jsonl")?.count == 4_096)
    #expect(world.nextDeadline == nil)
  }

  @Test func droppedExchangesAreToldOnce() throws {
    let world = world()
    world.settle()
    for _ in 0..<3 { world.journal.countDropped() }
    #expect(world.exchange() == 2)
    #expect(world.exchange() == 3)
    world.settle()
    let report = try verify(world.disk.snapshot())
    #expect(report.chains[0].dropped == 3)
    #expect(report.chains[0].records == 3)
    #expect(world.counters.dropped == 3)
  }

  @Test func shutdownCommitsCutsAndClosesEverything() throws {
    let world = world()
    world.settle()
    var late = Reservation()
    if case .granted(let reservation) = world.reserve(bytes: 2_000) { late = reservation }
    world.exchange()
    world.journal.beginShutdown()
    #expect(world.reserve(bytes: 500) == .full(.shuttingDown))
    world.settle()
    #expect(!world.isShutDown)
    _ = world.append(.exchange, 7, World.requestPart(path: "/late"), &late)
    world.journal.release(&late)
    world.settle()
    #expect(world.isShutDown)
    #expect(world.durableSequence == 2)
    #expect(world.disk.openCount == 0)
    #expect(world.disk.fileNames == ["w000-0000000001.jsonl"])
    #expect(world.disk.content("w000-0000000001.jsonl")?.count == 8_192)
    #expect(try verify(world.disk.snapshot()).verdict == .intact)
  }

  @Test func shutdownDuringAnyStepOfAPreparationLeavesNothing() {
    for steps in 0..<12 {
      let world = world()
      for _ in 0..<steps {
        world.poll()
        world.complete(.prepare)
      }
      world.journal.beginShutdown()
      world.settle()
      #expect(world.isShutDown, "after \(steps) steps")
      #expect(world.disk.fileNames == [], "after \(steps) steps")
      #expect(world.disk.openCount == 0, "after \(steps) steps")
    }
  }

  @Test func whatCannotBeCommittedByTheDeadlineIsGivenUpAndCounted() {
    let world = world()
    world.settle()
    world.exchange()
    world.poll()
    world.answer(.commit, -EIO)
    world.disk.faults.noSpace = 100
    world.poll()
    world.complete(.prepare)
    // The ready segment takes what follows; its commit fails too, and no other can be made.
    world.exchange()
    world.settle()
    world.exchange()
    world.poll()
    world.answer(.commit, -EIO)
    world.journal.beginShutdown()
    world.settle()
    world.journal.abandonPending()
    world.settle()
    #expect(world.isShutDown)
    #expect(world.disk.openCount == 0)
  }

  @Test func aFailingRetirementIsToldAndSteppedOver() {
    let world = world(Faults(retireError: 100))
    world.settle()
    world.exchange()
    world.settle()
    world.journal.beginShutdown()
    world.settle()
    #expect(world.isShutDown)
    #expect(world.counters.retireFailures == 3)
    #expect(world.takeNotice() == .retireFailed(code: EIO))
  }
}
