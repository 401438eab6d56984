// The parts of a journal that keep plain state, one by one: what is promised, when a commit is due,
// which records are settled, how far segments are filled, how files are written, and the chain.

import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

private func segment(
  _ number: UInt64 = 1, file: Int32 = 7, size: Int = 64 << 10, filled: Int = 32 << 10
) -> OpenSegment {
  OpenSegment(file: file, number: number, size: size, filled: filled)
}

@Suite struct JournalPartsTests {
  private static let batchSize = 16 << 10
  private static let block = SegmentName.blockSize

  @Test func aFixedQueueKeepsTheOrderAndRefusesWhatItHasNoRoomFor() {
    var queue = FixedQueue(capacity: 3, filler: 0)
    var seen: [Int?] = []
    for value in 1...5 {
      let isTaken = queue.push(value)
      #expect(isTaken == (value <= 3))
    }
    seen.append(queue.pop())
    queue.push(6)
    let isFull = queue.isFull
    #expect(isFull)
    seen.append(queue.peek())
    for _ in 0..<4 { seen.append(queue.pop()) }
    #expect(seen == [1, 2, 2, 3, 6, nil])
    let isEmpty = queue.isEmpty
    #expect(isEmpty)
  }

  @Test func promisesEndWithTheirRecordsAndWithTheRest() {
    var promises = Promises(ordinaryBytes: 1_000, largeMaximum: 20_000)
    var ordinary = promises.grant(1_000, 3)
    var large = promises.grant(1_001, 1)
    #expect([promises.bytes, promises.records] == [2_001, 4])
    #expect(promises.disk == 2_001 + 4 * Promises.recordDiskOverhead)
    #expect(promises.largeDisk == Promises.disk(1_001, 1))
    promises.charge(400, to: &ordinary)
    promises.charge(1_000, to: &large)
    #expect([ordinary.bytes, ordinary.records] == [600, 2])
    #expect([promises.bytes, promises.records, promises.largeDisk] == [601, 2, 1])
    promises.release(&ordinary)
    promises.release(&large)
    promises.release(&large)
    #expect([promises.bytes, promises.records, promises.largeDisk] == [0, 0, 0])
    #expect(promises.isEmpty && ordinary.isEmpty && large.isEmpty)
  }

  @Test func onlyLargeReservationsAreHeldToWhatLargeOnesMayHave() {
    let disk = Promises.disk(1_001, 1)
    var promises = Promises(ordinaryBytes: 1_000, largeMaximum: disk)
    #expect(promises.admits(1_001, disk: disk))
    _ = promises.grant(1_001, 1)
    #expect(!promises.admits(1_001, disk: disk))
    #expect(promises.admits(1_000, disk: disk))
  }

  @Test(arguments: [
    (Durability.beforeResponse, UInt64(5), 100, Int64(500_000)),
    (.beforeResponse, 5, 8 << 10, 700_000), (.beforeResponse, 4, 100, 700_000),
    (.interval, 5, 100, 200_700_000), (.none, 0, 100, 200_700_000),
  ])
  func aCommitIsDue(_ durability: Durability, previous: UInt64, used: Int, at time: Int64) {
    var configuration = World.configuration(durability: durability)
    configuration.gatherWindowNanoseconds = 200_000
    var schedule = CommitSchedule(configuration)
    schedule.beginCommit(300_000)
    schedule.endCommit(records: previous)
    schedule.beginGathering(700_000)
    schedule.beginGathering(900_000)
    #expect(schedule.due(used: used, isShuttingDown: false) == time)
    #expect(schedule.due(used: used, isShuttingDown: true) == 700_000)
    schedule.endGathering()
    #expect(schedule.gatherSince == 0)
  }

  @Test func failuresThatFollowOneAnotherAreOneRangeUntilSomebodyLooks() {
    var marks = CommitMarks(through: 9)
    marks.fail(10, through: 12)
    marks.fail(13, through: 14)
    #expect([marks.failedFirst, marks.failedThrough] == [10, 14])
    var looks = [marks.takeFailure(), marks.takeFailure()]
    marks.fail(15, through: 15)
    #expect([marks.failedFirst, marks.failedThrough] == [15, 15])
    marks.commit(through: 16)
    looks.append(marks.takeFailure())
    #expect(looks == [true, false, true])
    #expect(marks.durableSequence == 16)
  }

  @Test func liveSegmentsTellWhatABatchFindsInThem() {
    var segments = LiveSegments(batchSize: Self.batchSize)
    #expect(!segments.hasRoom(Self.block))
    segments.setReady(segment(1))
    #expect(segments.readyDisk == (64 - 16 - 4) << 10)
    segments.activateReady(rotateAt: 55)
    #expect(segments.active.rotateAt == 55 && !segments.ready.isOpen)
    #expect(segments.hasRoom(64 << 10) && !segments.hasRoom(68 << 10))
    #expect(segments.isFilled(32 << 10) && !segments.isFilled(36 << 10))
    segments.commit(8 << 10)
    segments.fill(to: 48 << 10)
    #expect(segments.isFilled(40 << 10) && !segments.isFilled(44 << 10))
    #expect(segments.dependableDisk == (56 - 16 - 4) << 10)
    segments.endAtFilled()
    #expect(segments.hasRoom(40 << 10) && !segments.hasRoom(44 << 10))
    #expect(segments.reopen(9) == 7)
    #expect(segments.active.file == 9)
    let taken = [segments.takeActive()?.number, segments.takeActive()?.number]
    #expect(taken == [1, nil])
    #expect(segments.dependableDisk == 0)
  }

  @Test func aStallIsSaidWhenItBegins() {
    var segments = LiveSegments(batchSize: Self.batchSize)
    let begun = [true, true, false, true].map { segments.setStalled($0) }
    #expect(begun == [true, false, false, true])
  }

  @Test func theReserveCountsWhatPromisesMayCountOn() {
    var reserve = SegmentReserve(capacity: 2, batchSize: Self.batchSize)
    var disk: [Int] = []
    for number in 1...3 as ClosedRange<UInt64> {
      reserve.push(segment(number))
      disk.append(reserve.dependableDisk)
    }
    let each = (64 - 16 - 4) << 10
    #expect(disk == [each, 2 * each, 2 * each])
    let isFull = reserve.isFull
    let oldest = reserve.oldest?.number
    #expect(isFull && oldest == 1)
    let order = [reserve.pop()?.number, reserve.pop()?.number, reserve.pop()?.number]
    #expect(order == [1, 2, nil])
    let left = reserve.dependableDisk
    #expect(left == 0)
  }

  @Test func whatTheKernelRefusesIsGivenUpAndToldOnce() {
    var events = JournalEvents()
    var mode = WriteMode(durability: .beforeResponse, usesDirectIO: true)
    #expect(mode.usesDirectIO && mode.writesDurably && !mode.needsSync)
    mode.giveUpDirectIO(EINVAL, &events)
    mode.giveUpDirectIO(EINVAL, &events)
    #expect(!mode.usesDirectIO && !mode.writesDurably && mode.needsSync)
    let direct = [events.take(), events.take()]
    #expect(direct == [.directIOUnavailable(code: EINVAL), nil])
    var other = WriteMode(durability: .interval, usesDirectIO: true)
    other.giveUpDurableWrite(EOPNOTSUPP, &events)
    #expect(other.usesDirectIO && other.needsSync)
    let durable = events.take()
    #expect(durable == .durableWriteUnavailable(code: EOPNOTSUPP))
    let none = WriteMode(durability: .none, usesDirectIO: true)
    #expect(!none.usesDirectIO && !none.writesDurably && !none.needsSync)
  }

  @Test func aLastingCauseIsToldOnce() {
    var events = JournalEvents()
    for code in [ENOSPC, ENOSPC, EIO] { events.addPrepareFailure(code) }
    events.addFillFailure(EIO)
    events.addFillFailure(ENOSPC)
    let last = events.lastPrepareError
    #expect(last == EIO)
    let failures = events.counters.prepareFailures
    #expect(failures == 5)
    var told: [JournalNotice] = []
    while let notice = events.take() { told.append(notice) }
    #expect(told == [ENOSPC, EIO, ENOSPC].map { JournalNotice.prepareFailed(code: $0) })
    events.clearPrepareError()
    let cleared = events.lastPrepareError
    #expect(cleared == 0)
  }
}

/// A pool with a record in it, in flight.
private func pool(_ appender: inout RecordAppender, path: String = "/") -> BatchPool {
  var pool = BatchPool(size: 16 << 10, count: 3, recordMaximum: 4 << 10)
  append(path, &appender, &pool)
  pool.beginAnyCommit()
  return pool
}

@discardableResult
private func append(
  _ path: String, _ appender: inout RecordAppender, _ pool: inout BatchPool
) -> UInt64 {
  let part = World.requestPart(path: path)
  return part.withUnsafeBytes {
    appender.append(
      .begin, exchangeID: 5, requestPart: $0, response: nil, wallMicroseconds: 1_000,
      to: &pool
    ).sequence
  }
}

/// The lines of the batch in flight.
private func lines(_ pool: borrowing BatchPool, _ count: Int) -> [String] {
  let bytes = UnsafeRawBufferPointer(start: pool.baseInFlight, count: count)
  return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
}

@Suite struct JournalChainTests {
  private func sealer() -> BatchSealer {
    BatchSealer(
      run: RunIdentity(high: 1, low: 7), worker: 3, batchSize: 16 << 10, previousSeal: .zero)
  }

  @Test func recordsAreNumberedAndADropIsReportedOnceBeforeTheNext() {
    var appender = RecordAppender(nextSequence: 41)
    var pool = pool(&appender)
    let first = pool.batchInFlight
    #expect([first.firstSequence, first.lastSequence, first.records] == [41, 41, 1])
    appender.countDropped()
    appender.countDropped()
    let sequences = [append("/a", &appender, &pool), append("/b", &appender, &pool)]
    #expect(sequences == [43, 44])
    pool.endCommit()
    pool.beginAnyCommit()
    let text = lines(pool, pool.batchInFlight.used)
    #expect(text.count == 3)
    #expect(text[0].contains("\"kind\":\"loss\"") && text[0].contains("\"dropped\":2"))
    #expect(text[1].contains("\"path\":\"/a\""))
    #expect(appender.nextSequence == 45)
    // It is reported once, not in each batch.
    let next = append("/c", &appender, &pool)
    #expect(next == 45)
    #expect(appender.wallMicroseconds == 1_000)
  }

  @Test func aRecordThatTheBatchHasNoRoomForBeginsTheNextOne() {
    var appender = RecordAppender(nextSequence: 1)
    var pool = BatchPool(size: 16 << 10, count: 3, recordMaximum: 4 << 10)
    let path = String(repeating: "p", count: 3_500)
    while pool.waitingCount == 0 { append(path, &appender, &pool) }
    pool.beginCommit()
    let last = pool.batchInFlight.lastSequence
    #expect(last == appender.nextSequence - 2)
    let used = pool.gatheringUsed
    #expect(used > 3_500)
  }

  @Test func sealsFollowWhatIsCommittedAndTheHeaderSaysWhatIsNot() throws {
    var appender = RecordAppender(nextSequence: 1)
    var sealer = sealer()
    var seals: [Seal] = []
    var headers: [SegmentHeader?] = []
    // The second fails, so the third follows the first.
    for index in 0..<3 {
      let pool = pool(&appender)
      let sealed = sealer.seal(
        pool.batchInFlight, at: pool.baseInFlight, opening: index == 1 ? nil : UInt64(index + 1),
        wallMicroseconds: 1_000)
      #expect(sealed.count % SegmentName.blockSize == 0)
      let content = lines(pool, sealed.count)
      let length = content.reduce(0) { $0 + $1.utf8.count + 1 }
      #expect(sealed.count - sealed.padding == length)
      func parse<T>(_ line: String, _ parse: (UnsafeRawBufferPointer) -> T?) -> T? {
        Array(line.utf8).withUnsafeBytes { parse($0) }
      }
      seals.append(try #require(parse(content.last!, Seal.parse)))
      headers.append(parse(content.first!, SegmentHeader.parse))
      if index == 1 { sealer.fail(2, through: 2) } else { sealer.commit() }
    }
    #expect(seals.map(\.previous) == [.zero, seals[0].hash, seals[0].hash])
    #expect(seals.map(\.firstSequence) == [1, 2, 3])
    let last = sealer.previousSeal
    #expect(last == seals[2].hash)
    #expect(headers[0]?.previous == .zero && headers[0]?.lostLast == 0)
    #expect(headers[1] == nil)
    #expect(headers[2]?.segment == 3 && headers[2]?.previous == seals[0].hash)
    #expect(headers[2]?.lostFirst == 2 && headers[2]?.lostLast == 2)
  }
}
