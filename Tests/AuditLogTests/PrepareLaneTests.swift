// The lane that makes segments, without a disk: which operation follows which answer of the kernel,
// and what becomes of a segment that is not wanted any more.

import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

@Suite struct PrepareLaneTests {
  private static let wanted = SegmentDemand(
    isLost: false, isLosing: false, isShuttingDown: false, hasReady: false, isWaiting: false,
    lacksRoom: false, isSettled: true)

  private func lane() -> PrepareLane { PrepareLane(World.configuration(), nextSegment: 42) }

  /// Answers the lane's operations one by one; a write of 0 takes all of it.
  private func run(
    _ lane: inout PrepareLane, _ bench: inout LaneBench, _ demand: SegmentDemand,
    _ answers: [Int32],
    now: Int64 = 1
  ) -> [String] {
    var seen: [String] = []
    for answer in answers {
      var asked = Asked(
        lane.nextOperation(demand, &bench.segments, bench.paths, bench.mode, now))
      seen.append(asked.text)
      if asked.text == "none" { break }
      var result = answer
      if asked.buffer != nil && answer == 0 {
        result = Int32(asked.text.split(separator: "+")[1])!
      }
      lane.completed(
        result, asked.buffer.take(), demand, &bench.segments, &bench.mode, &bench.events, now)
    }
    return seen
  }

  private static let made = [
    "open log", "open w003-0000000042.prepare", "allocate 12 65536", "fdatasync 12",
    "rename w003-0000000042.prepare w003-0000000042.jsonl", "fsync 11",
  ]

  @Test func aSegmentIsMadeUnderAnotherNameAndThenFilledAtItsFront() {
    var bench = LaneBench()
    var lane = lane()
    let seen = run(&lane, &bench, Self.wanted, [11, 12, 0, 0, 0, 0, 0, 0])
    #expect(seen == Self.made + ["write 12 0+16384", "fdatasync 12"])
    let ready = bench.segments.ready
    #expect(ready.number == 42 && ready.filled == 16_384 && ready.isDirect)
    var demand = Self.wanted
    demand.hasReady = true
    let more = [lane.isWanted(demand), lane.hasOpenFiles]
    #expect(more == [false, true])
    demand.lacksRoom = true
    let next = run(&lane, &bench, demand, [13])
    #expect(next == ["open w003-0000000043.prepare"])
  }

  @Test func withoutFallocateASegmentIsFilledAsAWhole() {
    var bench = LaneBench()
    var lane = lane()
    let seen = run(
      &lane, &bench, Self.wanted, [11, 12, -EOPNOTSUPP, 0, 0, 0, 0, 0])
    #expect(
      seen[3...] == [
        "write 12 0+32768", "write 12 32768+32768", "fdatasync 12", Self.made[4], "fsync 11",
      ])
    // It is ready without another operation.
    var demand = Self.wanted
    demand.lacksRoom = true
    let next = run(&lane, &bench, demand, [13])
    #expect(next == ["open w003-0000000043.prepare"])
    let ready = bench.segments.ready.number
    #expect(ready == 42)
  }

  @Test func whatFailedIsRemovedAndTriedAgainLater() {
    var bench = LaneBench()
    var lane = lane()
    let seen = run(&lane, &bench, Self.wanted, [11, 12, 0, -EIO, 0, 0, 0])
    #expect(seen[4...] == ["close 12", "unlink w003-0000000042.prepare", "none"])
    let code = bench.events.lastPrepareError
    #expect(code == EIO)
    let retryAt = lane.retryAt
    #expect(retryAt == 250_000_001)
    let again = run(&lane, &bench, Self.wanted, [12], now: retryAt)
    #expect(again == ["open w003-0000000042.prepare"])
  }

  @Test func aNameThatIsTakenIsFreedOnce() {
    var bench = LaneBench()
    var lane = lane()
    let seen = run(&lane, &bench, Self.wanted, [11, -EEXIST, 0, -EEXIST, 0])
    #expect(
      seen == [
        "open log", "open w003-0000000042.prepare", "unlink w003-0000000042.prepare",
        "open w003-0000000042.prepare", "none",
      ])
  }

  @Test func atTheEndWhatIsInReserveGoesAndTheDirectoryIsClosed() {
    var bench = LaneBench()
    var lane = lane()
    var demand = Self.wanted
    _ = run(&lane, &bench, demand, [11, 12, 0, 0, 0, 0])
    demand.isShuttingDown = true
    demand.hasReady = true
    let before = lane.dropsReady(demand)
    #expect(!before)
    let removed = run(&lane, &bench, demand, [0, 0, 0])
    #expect(removed == ["close 12", "unlink w003-0000000042.jsonl", "none"])
    let after = lane.dropsReady(demand)
    #expect(after)
    demand.hasReady = false
    let closed = run(&lane, &bench, demand, [0, 0])
    #expect(closed == ["close 11", "none"])
    let isOpen = lane.hasOpenFiles
    #expect(!isOpen)
  }

  @Test func onlyWhatIsStillToBeWrittenJustifiesASegmentAtTheEnd() {
    var demand = Self.wanted
    demand.isShuttingDown = true
    let lane = lane()
    let idle = lane.isWanted(demand)
    demand.isWaiting = true
    let waiting = lane.isWanted(demand)
    #expect(!idle && waiting)
  }

  @Test func aLostLogIsClosedAndNothingOfItIsRemoved() {
    var bench = LaneBench()
    var lane = lane()
    var demand = Self.wanted
    _ = run(&lane, &bench, demand, [11, 12, 0, 0, 0, 0])
    demand.isLost = true
    demand.isLosing = true
    let losing = run(&lane, &bench, demand, [0])
    #expect(losing == ["none"])
    demand.isLosing = false
    let lost = run(&lane, &bench, demand, [0, 0, 0])
    #expect(lost == ["close 12", "close 11", "none"])
  }
}
