// Room in the log: what may be open at once follows from what is configured, a client's large requests
// take nothing from ordinary ones, the live segment's unused tail stays short, and a log that is
// deleted is noticed.

import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

private let ordinary = JournalConfiguration.ordinaryBytes
private let records = RecordWriter.exchangeRecords

private func world(
  _ faults: Faults = Faults(), _ adjust: (inout JournalConfiguration) -> Void = { _ in }
) -> World {
  var configuration = World.configuration()
  adjust(&configuration)
  return World(configuration, ChainState(worker: 0), SimulatedDisk(faults: faults, seed: 1))
}

/// Reserves up to `count` exchanges, letting the lanes run where there is no room on disk.
private func reserveExchanges(_ world: World, _ count: Int, bytes: Int) -> [Reservation] {
  var held: [Reservation] = []
  while held.count < count {
    switch world.reserve(bytes: bytes, records: records) {
    case .granted(let reservation): held.append(reservation)
    case .full(.disk):
      world.settle()
      guard world.spaceAvailable(bytes: bytes, records: records) else { return held }
    case .full: return held
    }
  }
  return held
}

@Suite struct RoomTests {
  @Test func sixtyFiveThousandOpenExchangesHaveRoomByDefault() {
    var configuration = JournalConfiguration(
      directory: "/log", worker: 0, run: RunIdentity(high: 1, low: 7))
    #expect(configuration.fit(exchanges: 65_536) == 65_536)
    let world = World(
      configuration, ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 1))
    world.settle()
    // A run's first segment has room for some 240 of them.
    let before = world.disk.fileNames.count
    var held = reserveExchanges(world, 65_536, bytes: ordinary)
    #expect(held.count == 65_536)
    #expect(world.disk.fileNames.count > before)
    for index in held.indices { world.journal.release(&held[index]) }
    #expect(world.promised == [0, 0])
  }

  /// Every record of every exchange at its full length, each committed alone, while no further
  /// segment can be made.
  @Test func whatIsReservedIsKeptWithoutAnotherSegment() {
    let world = world {
      $0.segmentSize = 256 << 10
      $0.firstSegmentSize = 64 << 10
      $0.batchCount = 60
      $0.reservedSegments = 8
    }
    world.settle()
    var held = reserveExchanges(world, 60, bytes: ordinary)
    #expect(held.count == 60)
    world.disk.faults.noSpace = 100
    let part = [UInt8](repeating: 0x78, count: 1024)
    for index in held.indices {
      for kind in [RecordKind.begin, .end, .abort] {
        _ = world.append(kind, UInt64(index), kind == .begin ? part : [], &held[index])
        world.poll()
        world.complete(.commit)
        for lane in [JournalLane.fill, .prepare, .retire, .commit, .fill, .commit] {
          world.now += 1_000_000
          world.poll()
          world.complete(lane)
        }
      }
      world.journal.release(&held[index])
    }
    world.disk.faults.noSpace = 0
    world.settle(until: world.now + 1_000_000_000)
    #expect(world.durableSequence == 180)
    #expect(world.failed.isEmpty)
  }

  @Test func largeExchangesTakeNothingFromOrdinaryOnes() {
    let large = ordinary + 1
    let disk = large + records * Promises.recordDiskOverhead
    for allowed in [disk - 1, disk, disk + 1] {
      let world = world {
        $0.largeBytes = allowed
        $0.segmentSize = 512 << 10
      }
      world.settle()
      let held = reserveExchanges(world, 2, bytes: large)
      #expect(held.count == (allowed < disk ? 0 : 1))
      #expect(world.reserve(bytes: large, records: records) == .full(.large))
      #expect(world.spaceAvailable(bytes: ordinary, records: records))
      guard var reservation = held.first else { continue }
      _ = world.append(.exchange, 1, [], &reservation)
      world.journal.release(&reservation)
      #expect(world.spaceAvailable(bytes: large, records: records))
      #expect(world.journal.promises.largeDisk == 0)
    }
  }

  @Test func aSmallSegmentSizeIsSaidToServeLess() {
    var configuration = JournalConfiguration(
      directory: "/log", worker: 0, run: RunIdentity(high: 1, low: 7))
    configuration.segmentSize = 1 << 20
    let served = configuration.fit(exchanges: 65_536)
    #expect(served > 238 && served < 65_536)
    #expect(configuration.fit(exchanges: served) == served)
    configuration.segmentSize = configuration.segmentSize(serving: 65_536) & ~4095
    #expect(configuration.fit(exchanges: 65_536) == 65_536)
  }

  @Test func theUnusedTailOfTheLiveSegmentStaysShort() {
    let world = world { $0.segmentSize = 1 << 20 }
    world.settle()
    var longest = 0
    for _ in 0..<300 {
      #expect(world.exchange(path: String(repeating: "t", count: 600)) != nil)
      world.settle()
      var tails = 0
      for name in world.disk.fileNames {
        let content = world.disk.content(name)!
        let used = content.lastIndex { $0 != 0x0A }.map { $0 + 1 } ?? 0
        // Of a segment that was cut there is the rest of its last block.
        if content.count - used >= 4_096 { tails += content.count - used }
      }
      longest = max(longest, tails)
    }
    // A batch and a step and the rest of a block of the live segment, and the front of the ready one.
    #expect(longest <= (16 << 10) + (16 << 10) + 4_096 + (16 << 10))
    #expect(longest > 4_096)
  }

  @Test func withoutFallocateASegmentIsFilledBeforeItIsUsed() {
    let world = world(Faults(refusesAllocation: true))
    world.settle()
    world.exchange()
    world.settle()
    #expect(world.disk.content("w000-0000000001.jsonl")?.count == 64 << 10)
    #expect(world.takeNotice() == nil)
  }

  @Test func aSegmentThatCannotBeFilledAnyFurtherIsFollowedByAnother() throws {
    let world = world(Faults(fillError: 100)) { $0.segmentSize = 256 << 10 }
    world.settle()
    for _ in 0..<100 {
      #expect(world.exchange(path: String(repeating: "f", count: 900)) != nil)
      world.settle(until: world.now + 1_000_000_000)
    }
    #expect(world.durableSequence == 100)
    #expect(world.counters.rotations > 5)
    let folder = Folder()
    try folder.write(world.disk.snapshot())
    #expect(try folder.verify().verdict == .intact)
  }

  /// A step of newlines that the machine's end interrupts leaves zeros or newlines in any order; that
  /// is no torn batch.
  @Test func aStepOfNewlinesThatACrashCutShortIsNoTornTail() throws {
    let world = world()
    world.settle()
    world.exchange()
    world.settle()
    world.journal.beginShutdown()
    world.settle()
    var content = world.disk.content("w000-0000000001.jsonl")!
    let sealed = content.count
    content += [UInt8](repeating: 0, count: 512) + [UInt8](repeating: 0x0A, count: 512)
    content += [UInt8](repeating: 0, count: 3_072)
    let folder = Folder()
    try folder.write([("w000-0000000001.jsonl", content)])
    #expect(try folder.recover().tornTails.isEmpty)
    #expect(try folder.content("w000-0000000001.jsonl").count == sealed)
    #expect(try folder.verify().verdict == .intact)
  }
}

@Suite struct LostLogTests {
  private func watched() -> World {
    let world = world { $0.watchNanoseconds = 1_000_000_000 }
    world.settle()
    world.exchange()
    world.settle(until: world.now + 3_000_000_000)
    return world
  }

  private func wait(_ world: World, _ nanoseconds: Int64 = 3_000_000_000) {
    world.settle(until: world.now + nanoseconds)
  }

  @Test func aDeletedDirectoryIsNoticedAndGrantsNothingUntilItIsBack() throws {
    let world = watched()
    #expect(world.durableSequence == 1)
    guard case .granted(var open) = world.reserve(bytes: ordinary, records: records) else {
      Issue.record("refused while the log is there")
      return
    }
    world.disk.removeDirectory()
    wait(world)
    #expect(world.reserve(bytes: 500) == .full(.disk))
    #expect(world.lastPrepareError == ENOENT)
    #expect(world.takeNotice() == .logLost(code: ENOENT, isDirectory: true, last: 1))
    // What was open is closed unanswered: its record would go into a file that nobody can read.
    let late = world.append(.exchange, 9, [], &open)
    world.journal.release(&open)
    wait(world)
    #expect(world.failed == [late])
    #expect(world.disk.openCount == 0)

    world.grantsDirectory = false
    world.disk.directory = 7
    wait(world)
    #expect(world.reserve(bytes: 500) == .full(.disk))
    world.grantsDirectory = true
    wait(world)
    #expect(world.lastPrepareError == 0)
    let next = world.exchange()
    wait(world)
    #expect(next == late + 1 && world.durableSequence == late + 1)
    let folder = Folder()
    try folder.write(world.disk.snapshot())
    #expect(try folder.verify().verdict == .intact)
  }

  @Test func aDeletedLiveSegmentIsFollowedByAnother() {
    let world = watched()
    for name in world.disk.fileNames { world.disk.remove(name) }
    wait(world)
    #expect(world.takeNotice() == .logLost(code: ENOENT, isDirectory: false, last: 1))
    #expect(world.takeNotice() == .logFound)
    #expect(world.exchange() == 2)
    wait(world)
    #expect(world.durableSequence == 2)
    #expect(world.disk.fileNames.contains { $0.hasSuffix(".jsonl") })
  }

  @Test(arguments: 0..<12)
  func aDirectoryThatGoesDuringAPreparationOrACommitEndsInOrder(steps: Int) {
    let world = world { $0.watchNanoseconds = 1_000_000_000 }
    for _ in 0..<steps {
      world.poll()
      for lane in [JournalLane.prepare, .watch] { world.complete(lane) }
    }
    if steps > 9 {
      world.exchange()
      world.poll()
    }
    world.disk.removeDirectory()
    wait(world)
    world.journal.beginShutdown()
    wait(world)
    #expect(world.isShutDown, "after \(steps) steps")
    #expect(world.disk.openCount == 0, "after \(steps) steps")
  }
}
