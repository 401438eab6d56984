// Two runs in one directory: an old process that finishes what it has begun, and the one that has taken its
// place. Each has chains of its own; recovery looks at none that another run writes.

import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

@Suite(.serialized) struct LivingRunTests {
  private func recover(
    _ lease: borrowing DirectoryLease, run: UInt64, workers: Int = 2
  ) throws(Errno) -> RecoveredLog {
    try Recovery(
      run: RunIdentity(high: run, low: 1), wallMicroseconds: 1_795_224_838_000_000
    ).recover(lease, workers: workers)
  }

  private func beside(
    _ lease: borrowing DirectoryLease, _ folder: Folder
  ) throws -> DirectoryLease {
    let copy = lease.copyOfLock()
    let lock = try #require(copy)
    defer { close(lock) }
    return try BlockingFiles.lease(directory: folder.path, .besides(lock: lock))
  }

  private func world(
    _ folder: Folder, _ run: UInt64, _ log: RecoveredLog, worker: Int = 0
  ) -> RealWorld {
    let number = log.number(worker: worker)
    var configuration = JournalConfiguration(
      directory: folder.path, worker: number, run: RunIdentity(high: run, low: 1))
    configuration.segmentSize = 1 << 20
    configuration.firstSegmentSize = 640 << 10
    configuration.batchSize = 256 << 10
    return RealWorld(configuration, log.chain(worker: number))
  }

  private func write(_ world: RealWorld, _ count: Int) {
    let part = World.requestPart(path: "/living")
    for id in 1...count {
      #expect(world.exchange(UInt64(id), part) != nil)
      world.settle()
    }
  }

  private func end(_ world: RealWorld) {
    world.journal.beginShutdown()
    world.settle()
    #expect(world.isShutDown)
  }

  @Test func twoRunsThatOverlapHaveTheirOwnChainsAndVerify() throws {
    let folder = Folder()
    var first = try BlockingFiles.lease(directory: folder.path)
    let firstLog = try recover(first, run: 1)
    #expect(firstLog.numbers == [0, 1] && firstLog.living.isEmpty)
    let old = world(folder, 1, firstLog)
    old.settle()
    write(old, 5)
    let living = try folder.read().map(\.name)

    let second = try beside(first, folder)
    let secondLog = try recover(second, run: 2)
    #expect(secondLog.numbers == [2, 3] && secondLog.living == [0, 1])
    #expect(secondLog.tornTails.isEmpty)
    // What the living run has prepared is there too.
    #expect(try folder.read().map(\.name) == living)
    let new = world(folder, 2, secondLog)
    new.settle()
    write(new, 3)
    write(old, 4)
    write(new, 2)
    #expect(try folder.verify().verdict == .intact)

    first.leaveDirectory()
    end(old)
    _ = consume first
    // The chains of a run that has ended go on in the next one.
    let third = try beside(second, folder)
    let thirdLog = try recover(third, run: 3)
    #expect(thirdLog.numbers == [0, 1] && thirdLog.living == [2])
    #expect(thirdLog.chain(worker: 0).nextSequence == 10)
    let newest = world(folder, 3, thirdLog)
    newest.settle()
    write(newest, 2)
    end(new)
    end(newest)
    let report = try folder.verify()
    #expect(report.verdict == .intact)
    #expect(report.chains.map(\.worker) == [0, 2])
    #expect(report.chains.map(\.exchanges) == [11, 5])
  }

  @Test func theNextRunTakesWhatIsLeftOfACrashAndNotOfALivingRun() throws {
    let folder = Folder()
    let crashed = try folder.lease()
    let crashedLog = try recover(crashed, run: 1, workers: 1)
    let broken = world(folder, 1, crashedLog)
    broken.settle()
    write(broken, 3)
    // Another run has chain 1 meanwhile; the first one ends without a word.
    let living = try beside(crashed, folder)
    let livingLog = try recover(living, run: 2, workers: 1)
    #expect(livingLog.numbers == [1])
    _ = consume crashed
    let next = try beside(living, folder)
    let log = try recover(next, run: 3, workers: 3)
    #expect(log.numbers == [0, 2, 3] && log.living == [1])
    #expect(log.chain(worker: 0).nextSequence == 4)
    #expect(try folder.verify().verdict == .intact)
  }

  @Test func aDirectoryThatAnotherProcessHoldsIsGivenWithItsLockAlone() throws {
    let (folder, other) = (Folder(), Folder())
    var held = try BlockingFiles.lease(directory: folder.path)
    let elsewhere = try BlockingFiles.lease(directory: other.path)
    let copy = elsewhere.copyOfLock()
    let wrong = try #require(copy)
    defer { close(wrong) }
    #expect(throws: Errno.self) {
      _ = try BlockingFiles.lease(directory: folder.path, .besides(lock: wrong))
    }
    #expect(throws: Errno.self) {
      _ = try BlockingFiles.lease(directory: folder.path, .besides(lock: -1))
    }
    let successor = try beside(held, folder)
    held.leaveDirectory()
    let left = held.copyOfLock()
    #expect(left == nil)
    // The lock is the successor's now, and lasts as long as that one.
    #expect(throws: Errno.self) { _ = try BlockingFiles.lease(directory: folder.path) }
    _ = consume successor
    let last = try folder.lease()
    let names = try BlockingFiles.lease(directory: folder.path, .numbers)
    var taken = [try last.take(number: 7), try names.take(number: 7)]
    try last.leave(number: 7)
    taken.append(try names.take(number: 7))
    #expect(taken == [true, false, true])
  }

  @Test(arguments: [999, 1000, 1001])
  func thereAreAThousandChains(wanted: Int) throws {
    let folder = Folder()
    let lease = try BlockingFiles.lease(directory: folder.path)
    var count: Int?
    do throws(Errno) { count = try recover(lease, run: 1, workers: wanted).numbers.count } catch {
      #expect(error.code == EBUSY)
    }
    #expect(count == (wanted <= 1000 ? wanted : nil))
  }
}
