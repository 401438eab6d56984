// The simulated disk: what survives a crash, what may not, and every way in which it says no.

import CLinux
import Glibc
import MillraceEngine
import Testing

@Suite struct SimulatedDiskTests {
  private let old = Array(repeating: UInt8(1), count: 8192)
  private let new = Array(repeating: UInt8(2), count: 8192)

  private func opened(
    _ world: SimulatedWorld, _ path: String, _ flags: Int32 = O_RDWR | O_CREAT
  ) throws -> SimulatedOpenFile {
    guard case .opened(let file) = world.disk.open(path, flags: flags) else {
      throw HarnessFailure("cannot open \(path)")
    }
    return file
  }

  private func put(_ file: SimulatedOpenFile, _ bytes: [UInt8], _ at: Int64, durable: Bool) -> Int {
    bytes.withUnsafeBytes { file.write($0, at: at, durable: durable) }
  }

  @Test func whatWasSyncedSurvivesEveryCrash() throws {
    for seed in UInt64(1)...50 {
      let world = SimulatedWorld(seed: seed)
      let (first, second) = (try opened(world, "/tmp/a"), try opened(world, "/tmp/b"))
      #expect(put(first, new, 0, durable: false) == 8192)
      #expect(first.synchronize() == 0)
      #expect(put(second, new, 0, durable: true) == 8192)
      #expect(try opened(world, "/tmp", O_RDONLY).synchronize() == 0)
      world.disk.crash()
      #expect(world.disk.contents("/tmp/a") == new && world.disk.contents("/tmp/b") == new)
    }
  }

  @Test func whatWasNotSyncedIsTornAtSectorsAndNowhereElse() throws {
    var outcomes: Set<[UInt8]> = []
    for seed in UInt64(1)...200 {
      let world = SimulatedWorld(seed: seed)
      world.disk.put("/tmp/file", old)
      #expect(put(try opened(world, "/tmp/file"), new, 0, durable: false) == 8192)
      #expect(world.disk.contents("/tmp/file") == new, "a reader sees what was written")
      #expect(world.disk.durableContents("/tmp/file") == old)
      world.disk.crash()
      let left = try #require(world.disk.contents("/tmp/file"))
      #expect(left.count == 8192)
      let sectors = stride(from: 0, to: 8192, by: 512).map { Set(left[$0..<($0 + 512)]) }
      #expect(sectors.allSatisfy { $0.count == 1 }, "seed \(seed): torn within a sector")
      outcomes.insert(sectors.map { $0.first! })
    }
    #expect(outcomes.count > 150, "crashes are all alike")
  }

  @Test func aFileThatHasGrownIsNeverLongerThanItsData() throws {
    var lengths: Set<Int> = []
    for seed in UInt64(1)...100 {
      let world = SimulatedWorld(seed: seed)
      world.disk.put("/tmp/file", old)
      #expect(put(try opened(world, "/tmp/file"), new, 8192, durable: false) == 8192)
      world.disk.crash()
      let left = try #require(world.disk.contents("/tmp/file"))
      #expect(Array(left[..<8192]) == old && left[8192...].allSatisfy { $0 == 2 })
      lengths.insert(left.count)
    }
    #expect(lengths.isSuperset(of: [8192, 12_288, 16_384]))
  }

  @Test func namesThatWereNotSyncedSurviveAsAPrefixOfTheChanges() throws {
    var seen: Set<Int> = []
    for seed in UInt64(1)...100 {
      let world = SimulatedWorld(seed: seed)
      for i in 0..<5 { try opened(world, "/tmp/\(i)").close() }
      world.disk.crash()
      let names = world.disk.list("/tmp")
      #expect(names == (0..<names.count).map { "\($0)" }, "a later name without an earlier one")
      seen.insert(names.count)
    }
    #expect(seen == Set(0...5))
  }

  @Test func aRenameOverAFileLeavesTheOldOrTheNewContent() throws {
    var seen: Set<[UInt8]> = []
    for seed in UInt64(1)...50 {
      let world = SimulatedWorld(seed: seed)
      world.disk.put("/tmp/target", [1])
      let file = try opened(world, "/tmp/fresh")
      #expect(put(file, [2], 0, durable: true) == 1)
      #expect(world.disk.rename("/tmp/fresh", to: "/tmp/target") == 0)
      #expect(world.disk.contents("/tmp/target") == [2])
      world.disk.crash()
      seen.insert(try #require(world.disk.contents("/tmp/target"), "seed \(seed): no target"))
    }
    #expect(seen == [[1], [2]])
  }

  @Test func aWriteThatTheCrashInterruptsIsTornAndAnswersNobody() throws {
    var outcomes: Set<[UInt8]> = []
    for seed in UInt64(1)...100 {
      let bench = Bench(seed: seed)
      bench.world.disk.put("/tmp/file", old)
      let file = bench.open("/tmp/file", O_RDWR)
      bench.write(file, new, at: 0, durable: true, 9)
      bench.world.disk.crash()
      let left = try #require(bench.world.disk.contents("/tmp/file"))
      outcomes.insert(stride(from: 0, to: 8192, by: 512).map { left[$0] })
      // The engine of before the crash is told nothing good.
      bench.turn(until: { bench[9].ending != nil })
      #expect(bench[9].ending == -EIO)
      #expect(bench.world.disk.contents("/tmp/file") == left, "it wrote after the crash")
    }
    #expect(outcomes.count > 50)
  }

  @Test func aFullDiskTakesWhatFitsAndThenNothing() throws {
    var conditions = SimulatedConditions.calm
    conditions.diskCapacity = 10_000
    let world = SimulatedWorld(seed: 1, conditions)
    let file = try opened(world, "/tmp/file")
    #expect(put(file, old, 0, durable: false) == 8192)
    // 1808 bytes are left: three sectors.
    #expect(put(file, old, 8192, durable: false) == 1536)
    #expect(put(file, old, 9728, durable: false) == -Int(ENOSPC))
    #expect(put(file, new, 0, durable: false) == 8192, "what is there can be written again")
    #expect(file.allocate(0, 10_001) == -ENOSPC)
    #expect(world.disk.used == 9728)
    #expect(world.disk.unlink("/tmp/file") == 0)
    #expect(world.disk.used == 9728, "it is still open")
    file.close()
    #expect(world.disk.used == 0)
  }

  @Test func troubleComesAndGoesAtItsTime() throws {
    let world = SimulatedWorld(seed: 2)
    let file = try opened(world, "/tmp/file")
    let start = world.now
    world.disk.fail(.broken, from: start + 1000, until: start + 2000)
    world.disk.fail(.noSpace, from: start + 3000)
    #expect(put(file, [1], 0, durable: false) == 1)
    world.advance(by: 1000)
    #expect(put(file, [1], 0, durable: false) == -Int(EIO))
    #expect(file.synchronize() == -EIO)
    world.advance(by: 1000)
    #expect(put(file, [1], 0, durable: false) == 1)
    world.advance(by: 1000)
    #expect(put(file, [1], 0, durable: false) == 1, "no more room is needed")
    #expect(put(file, [1], 1, durable: false) == -Int(ENOSPC))
    world.disk.recover()
    #expect(put(file, [1], 1, durable: false) == 1)
  }

  @Test func directAndDurableWritesAreRefusedWhereTheWorldSaysSo() throws {
    var conditions = SimulatedConditions.calm
    conditions.refusesDirect = true
    conditions.refusesDurableWrites = true
    let refusing = SimulatedWorld(seed: 3, conditions)
    guard case .failed(let code) = refusing.disk.open("/tmp/a", flags: O_RDWR | O_CREAT | O_DIRECT)
    else { throw HarnessFailure("O_DIRECT was taken") }
    #expect(code == -EINVAL)
    #expect(put(try opened(refusing, "/tmp/a"), [1], 0, durable: true) == -Int(EOPNOTSUPP))
    let taking = SimulatedWorld(seed: 3)
    let file = try opened(taking, "/tmp/a", O_RDWR | O_CREAT | O_DIRECT)
    let buffer = FileBuffer(capacity: 4096)
    memset(buffer.base, 7, 4096)
    func write(_ from: Int, _ count: Int, _ at: Int64) -> Int {
      file.write(
        UnsafeRawBufferPointer(start: buffer.base + from, count: count), at: at, durable: true)
    }
    #expect(write(0, 4096, 0) == 4096 && write(512, 512, 512) == 512)
    #expect(write(0, 511, 0) == -Int(EINVAL))
    #expect(write(0, 512, 1) == -Int(EINVAL))
    #expect(write(1, 512, 0) == -Int(EINVAL))
  }

  @Test func aDirectoryListsItsOwnNamesInOrder() {
    let world = SimulatedWorld(seed: 4)
    for name in ["b", "a", "sub/c", "Z"] { world.disk.put("/var/lib/x/\(name)", []) }
    #expect(world.disk.list("/var/lib/x") == ["Z", "a", "b", "sub"])
    #expect(world.disk.list("/var/lib/x/") == ["Z", "a", "b", "sub"])
    #expect(world.disk.list("/nowhere") == [])
    #expect(world.disk.exists("/var/lib/x/sub/c") && !world.disk.exists("/var/lib/x/c"))
  }
}

private let O_DIRECT = CLINUX_O_DIRECT
