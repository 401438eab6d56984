// The lanes of a journal, one by one and without a disk: which operation follows which answer of the
// kernel, and what a lane says of it.

import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

@Suite struct CommitLaneTests {
  /// Answers the lane's operations one by one, with a batch of 8 KiB in flight.
  /// - Returns: the operations, and what came of the batch.
  private func run(_ bench: inout LaneBench, _ answers: [Int32]) -> [String] {
    var lane = CommitLane(retryNanoseconds: 1_000)
    var appender = RecordAppender(nextSequence: 1)
    _ = appender.append(
      .end, exchangeID: 1, requestPart: UnsafeRawBufferPointer(start: nil, count: 0),
      response: nil, wallMicroseconds: 0, to: &bench.pool)
    bench.pool.beginAnyCommit()
    lane.begin(SealedBatch(count: 8_192, padding: 100))
    var seen: [String] = []
    var now: Int64 = 0
    for answer in answers where !lane.isIdle {
      now += 1_000_000_000
      var asked = Asked(
        lane.nextOperation(
          &bench.pool, bench.segments.active, bench.paths, bench.mode, now))
      seen.append(asked.text)
      let outcome = lane.completed(
        answer, asked.buffer.take(), &bench.pool, &bench.segments, &bench.mode, &bench.events,
        now)
      switch outcome {
      case .pending: break
      case .committed(let batch): seen.append("committed \(batch.count) \(batch.padding)")
      case .failed(let code): seen.append("failed \(code)")
      }
    }
    seen.append(lane.isIdle ? "idle" : "busy")
    return seen
  }

  @Test func aDurableWriteIsAllThatACommitNeeds() {
    var bench = LaneBench()
    let seen = run(&bench, [8_192])
    #expect(seen == ["write 7 0+8192 durable", "committed 8192 100", "idle"])
  }

  @Test func aShortWriteGoesOnAtABlock() {
    var bench = LaneBench()
    let seen = run(&bench, [5_000, 4_096])
    #expect(
      seen == ["write 7 0+8192 durable", "write 7 4096+4096 durable", "committed 8192 100", "idle"])
    let short = bench.events.counters.shortWrites
    #expect(short == 1)
  }

  @Test func whereDirectIOIsRefusedTheSegmentIsOpenedAgainAndSynced() {
    var bench = LaneBench()
    let seen = run(&bench, [-EINVAL, 9, 0, 8_192, 0])
    #expect(
      seen == [
        "write 7 0+8192 durable", "open w003-0000000001.jsonl", "close 7", "write 9 0+8192",
        "fdatasync 9", "committed 8192 100", "idle",
      ])
    let isDirect = bench.segments.active.isDirect
    #expect(!isDirect)
  }

  @Test(arguments: [EOPNOTSUPP, EINVAL])
  func whereDurableWritesAreRefusedASyncFollows(_ code: Int32) {
    var bench = LaneBench(direct: false)
    let seen = run(&bench, [-code, 8_192, 0])
    #expect(
      seen == [
        "write 7 0+8192 durable", "write 7 0+8192", "fdatasync 7", "committed 8192 100", "idle",
      ])
  }

  @Test(arguments: [(EINTR, 8), (EAGAIN, 8), (ENOSPC, 8), (EDQUOT, 8), (EIO, 1)])
  func aWriteIsTriedAgainAFewTimes(_ code: Int32, attempts: Int) {
    var bench = LaneBench()
    let seen = run(&bench, Array(repeating: -code, count: attempts))
    let writes = seen.filter { $0.hasPrefix("write") }.count
    #expect(writes == attempts)
    #expect(seen.suffix(2) == ["failed \(code)", "idle"])
  }

  @Test(arguments: [(EINTR, "busy"), (EAGAIN, "idle"), (ENOSPC, "idle")])
  func aSyncThatFailedIsNotTriedAgain(_ code: Int32, state: String) {
    var bench = LaneBench()
    bench.mode.giveUpDurableWrite(EINVAL, &bench.events)
    let seen = run(&bench, [8_192, -code])
    #expect(seen.last == state)
  }
}

@Suite struct RetireLaneTests {
  private func run(_ lane: inout RetireLane, _ bench: inout LaneBench, busy: UInt64? = nil)
    -> [String]
  {
    var seen: [String] = []
    while true {
      let asked = Asked(lane.nextOperation(busy: busy, bench.paths))
      if asked.text == "none" { return seen }
      seen.append(asked.text)
      lane.completed(0, &bench.events)
    }
  }

  @Test(arguments: [
    (8_192, false, ["fdatasync 7", "truncate 7 8192", "fsync 7", "close 7"]),
    (0, false, ["close 7", "unlink w003-0000000001.jsonl"]), (8_192, true, ["close 7"]),
    (0, true, ["close 7"]),
  ])
  func aSegmentIsCutOrRemovedUnlessItIsLost(used: Int, isLost: Bool, operations: [String]) {
    var bench = LaneBench()
    var lane = RetireLane()
    bench.segments.commit(used)
    lane.push(RetiredSegment(bench.segments.active, isLost: isLost))
    let isIdle = lane.isIdle
    #expect(!isIdle)
    let seen = run(&lane, &bench)
    #expect(seen == operations)
    let isIdleAgain = lane.isIdle
    #expect(isIdleAgain)
  }

  @Test func aSegmentWaitsForTheLaneThatUsesItsFile() {
    var bench = LaneBench()
    var lane = RetireLane()
    lane.push(RetiredSegment(bench.segments.active))
    let counts = [
      run(&lane, &bench, busy: 1).count, run(&lane, &bench, busy: 2).count,
      run(&lane, &bench).count,
    ]
    #expect(counts == [0, 2, 0])
  }

  @Test func roomIsLeftForTheSegmentsThatAreOpen() {
    let bench = LaneBench()
    var lane = RetireLane()
    var mayOpen: [Bool] = []
    for _ in 0..<8 {
      mayOpen.append(lane.mayOpen)
      let isFull = lane.isFull
      #expect(!isFull)
      lane.push(RetiredSegment(bench.segments.active))
    }
    #expect(mayOpen == [true, true, true, true, true, false, false, false])
    let isFull = lane.isFull
    #expect(isFull)
  }

  @Test func aFailureIsToldAndSteppedOver() {
    var bench = LaneBench()
    var lane = RetireLane()
    lane.push(RetiredSegment(bench.segments.active))
    _ = Asked(lane.nextOperation(busy: nil, bench.paths))
    lane.completed(-EIO, &bench.events)
    let notice = bench.events.take()
    #expect(notice == .retireFailed(code: EIO))
    let rest = run(&lane, &bench)
    #expect(rest == ["unlink w003-0000000001.jsonl"])
  }
}

@Suite struct FillLaneTests {
  /// Answers the lane's operations one by one.
  private func run(
    _ lane: inout FillLane, _ bench: inout LaneBench, _ answers: [Int32], now: Int64 = 1
  ) -> [String] {
    var seen: [String] = []
    for answer in answers {
      var asked = Asked(lane.nextOperation(bench.segments.active, isLost: false, now))
      seen.append(asked.text)
      if asked.text == "none" { break }
      lane.completed(answer, asked.buffer.take(), &bench.segments, &bench.events, now)
    }
    return seen
  }

  @Test func aStepIsWrittenSyncedAndThenCounted() {
    var bench = LaneBench()
    var lane = FillLane(batchSize: 16 << 10, stepSize: 8 << 10)
    let idle = run(&lane, &bench, [0])
    #expect(idle == ["none"])
    bench.segments.commit(20 << 10)
    let written = run(&lane, &bench, [4_096, 4_096])
    #expect(written == ["write 7 32768+8192", "write 7 36864+4096"])
    let unsettled = [lane.isUnsettled(1), lane.isUnsettled(2)]
    #expect(unsettled == [true, false])
    let filled = bench.segments.active.filled
    #expect(filled == 32 << 10)
    let rest = run(&lane, &bench, [0, 0])
    #expect(rest == ["fdatasync 7", "none"])
    let end = bench.segments.active.filled
    #expect(end == 40 << 10)
  }

  @Test(arguments: [([Int32](arrayLiteral: -ENOSPC), 1), ([512, 512, 512], 3)])
  func aSegmentThatCannotBeFilledEndsWhereItIs(_ answers: [Int32], writes: Int) {
    var bench = LaneBench()
    var lane = FillLane(batchSize: 16 << 10, stepSize: 8 << 10)
    bench.segments.commit(20 << 10)
    let seen = run(&lane, &bench, answers + [0, 0])
    // Part of the step may be there.
    #expect(
      seen == Array(repeating: "write 7 32768+8192", count: writes) + ["fdatasync 7", "none"])
    let size = bench.segments.active.size
    #expect(size == 32 << 10)
    let failures = bench.events.counters.prepareFailures
    #expect(failures == 1)
  }

  @Test func aStepOfASegmentThatIsNotActiveAnyMoreIsForgotten() {
    var bench = LaneBench()
    var lane = FillLane(batchSize: 16 << 10, stepSize: 8 << 10)
    bench.segments.commit(20 << 10)
    var asked = Asked(lane.nextOperation(bench.segments.active, isLost: false, 1))
    let busy = lane.busy
    #expect(busy == 1)
    _ = bench.segments.takeActive()
    lane.completed(8_192, asked.buffer.take(), &bench.segments, &bench.events, 1)
    let left = [lane.isUnsettled(1), lane.busy != nil]
    #expect(left == [false, false])
  }
}

@Suite struct WatchLaneTests {
  private static let directory = FileStatus(mode: UInt16(S_IFDIR) | 0o750, inode: 5)

  private func look(
    _ lane: inout WatchLane, _ bench: inout LaneBench, _ result: Int32, _ status: FileStatus?,
    isLost: Bool = false, now: Int64
  ) -> [String] {
    let asked = Asked(lane.nextOperation(isLost: isLost, bench.paths, now))
    if asked.text == "none" { return ["none"] }
    let finding = lane.completed(
      result, status, bench.segments, isLost: isLost, isShuttingDown: false)
    switch finding {
    case .nothing: return [asked.text]
    case .gone(let code, let isDirectory, let replacement):
      return [asked.text, "gone \(code) \(isDirectory) \(replacement)"]
    case .back(let inode): return [asked.text, "back \(inode)"]
    }
  }

  @Test func theDirectoryAndThenTheLiveSegmentAreLookedAt() {
    var bench = LaneBench()
    var lane = WatchLane(interval: 1_000)
    let file = FileStatus(links: 1, inode: 8)
    var seen = look(&lane, &bench, 0, Self.directory, now: 1)
    seen += look(&lane, &bench, 0, file, now: 1)
    seen += look(&lane, &bench, 0, Self.directory, now: 1_000)
    #expect(seen == ["status log", "status w003-0000000001.jsonl", "none"])
    let deadline = lane.deadline
    #expect(deadline == 1_001)
    seen = look(&lane, &bench, 0, Self.directory, now: 1_001)
    seen += look(&lane, &bench, 0, FileStatus(links: 1, inode: 9), now: 1_001)
    #expect(seen.last == "gone \(ENOENT) false 0")
  }

  @Test(arguments: [
    (-ENOENT, FileStatus?.none, "gone \(ENOENT) true 0"), (-EACCES, nil, "status log"),
    (Int32(0), FileStatus(mode: UInt16(S_IFREG), inode: 5), "gone \(ENOTDIR) true 0"),
    (Int32(0), FileStatus(mode: UInt16(S_IFDIR), inode: 6), "gone \(ENOENT) true 6"),
  ])
  func aDirectoryThatIsNotThereIsTold(_ result: Int32, _ status: FileStatus?, finding: String) {
    var bench = LaneBench()
    var lane = WatchLane(interval: 1_000)
    lane.follow(5)
    let seen = look(&lane, &bench, result, status, now: 1)
    #expect(seen.last == finding)
  }

  @Test func aLostDirectoryIsLookedForMoreOften() {
    var bench = LaneBench()
    var lane = WatchLane(interval: 1_000_000_000)
    lane.follow(5)
    var seen = look(&lane, &bench, -ENOENT, nil, isLost: true, now: 1)
    seen += look(&lane, &bench, 0, Self.directory, isLost: true, now: 100_000_001)
    #expect(seen.last == "back 5")
    lane.offer(6)
    let taken = [lane.takeCandidate(), lane.candidate]
    #expect(taken == [6, 0])
  }

  @Test func anIntervalOfZeroIsNoWatch() {
    var bench = LaneBench()
    var lane = WatchLane(interval: 0)
    let seen = look(&lane, &bench, 0, nil, now: 1)
    #expect(seen == ["none"])
    let deadline = lane.deadline
    #expect(deadline == nil)
  }
}
