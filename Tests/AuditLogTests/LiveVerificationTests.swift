// Verification beside a journal that goes on between any two of its reads, and of what failed
// commits leave behind.

import MillraceEngine
import Testing

@testable import AuditLog

/// A journal whose directory changes whenever it is looked at.
private final class LiveLog {
  let world: World
  let files = MemoryFiles()
  var random: SplitMix
  /// What happens at one look, in percent.
  var commits = 50
  var halfWritten = 0
  var deletes = 0
  /// Segments that were deleted.
  private var deleted: Set<String> = []
  private var looksLeft: Int

  init(seed: UInt64, looks: Int = 2_000) {
    random = SplitMix(state: seed)
    looksLeft = looks
    world = World(
      World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: seed))
    world.settle()
    for _ in 0..<Int.random(in: 0...60, using: &random) { step() }
    show()
    files.beforeEachCall = { [unowned self] in look() }
  }

  private func step() {
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      world.exchange(path: String(repeating: "l", count: Int.random(in: 1...2_600, using: &random)))
    }
    world.settle()
  }

  private func show() {
    files.replaceAll(world.disk.snapshot().filter { !deleted.contains($0.name) })
  }

  private func look() {
    if looksLeft == 0 { return }
    looksLeft -= 1
    if random.chance(deletes) {
      // The oldest of those that are done with.
      let names = files.contents.keys.filter { $0.hasSuffix(".jsonl") }.sorted()
      if names.count > 3 { deleted.insert(names[0]) }
    }
    let before = files.contents
    if random.chance(commits) { step() }
    show()
    if random.chance(halfWritten) { tear(before) }
  }

  /// Shows a part of what a commit just changed, as a reader in the middle of it sees it.
  private func tear(_ before: [String: [UInt8]]) {
    for (name, content) in files.contents {
      guard let old = before[name], old.count == content.count, old != content else { continue }
      let changed = content.indices.filter { old[$0] != content[$0] }
      let cut = Int.random(in: changed.first!...changed.last!, using: &random)
      files.put(name, Array(content[..<cut]) + Array(old[cut...]))
    }
  }
}

@Suite struct LiveVerificationTests {
  @Test(arguments: 0..<40)
  func aLogThatRotatesBetweenAnyTwoReadsIsNeverBroken(seed: Int) throws {
    let log = LiveLog(seed: UInt64(seed))
    log.commits = [20, 60, 100][seed % 3]
    let report = try log.files.verify()
    #expect(report.verdict <= .unsealedTail, "seed \(seed): \(report)")
    #expect(report.chains.count == 1)
  }

  @Test(arguments: 0..<40)
  func aCommitThatIsSeenInPartIsNeverBroken(seed: Int) throws {
    let log = LiveLog(seed: UInt64(seed))
    log.halfWritten = 40
    let report = try log.files.verify()
    #expect(report.verdict <= .unsealedTail, "seed \(seed): \(report)")
  }

  @Test(arguments: 0..<40)
  func aLogWhoseOldSegmentsAreDeletedMeanwhileIsNeverBroken(seed: Int) throws {
    let log = LiveLog(seed: UInt64(seed))
    log.deletes = 30
    let report = try log.files.verify()
    #expect(report.verdict <= .unsealedTail, "seed \(seed): \(report)")
  }

  @Test(arguments: 0..<20)
  func anAnchorOfALiveLogIsFound(seed: Int) throws {
    let log = LiveLog(seed: UInt64(seed))
    guard let text = log.world.journal.anchor(workers: 1) else { return }
    let report = try log.files.verify([try #require(Anchor(text))])
    #expect(report.verdict <= .unsealedTail, "seed \(seed): \(report)")
    #expect(report.anchorsMatched == 1)
  }

  @Test(arguments: 0..<10)
  func anEditOfALiveLogIsBroken(seed: Int) throws {
    let log = LiveLog(seed: UInt64(seed))
    // The first batch of the first segment, whatever is written elsewhere.
    let name = "w000-0000000001.jsonl"
    let live = log.files.beforeEachCall
    log.files.beforeEachCall = {
      live()
      guard var content = log.files.contents[name], content.count > 500 else { return }
      content[450] ^= 1
      log.files.put(name, content)
    }
    #expect(try log.files.verify().verdict != .intact, "seed \(seed)")
  }

  @Test func aSegmentThatIsListedAndNeverThereIsAnError() {
    let log = LiveLog(seed: 1, looks: 0)
    let vanishing = Vanishing(log.files)
    #expect(throws: Errno.self) {
      try Verification(directory: "/log", files: vanishing).run()
    }
  }
}

/// Lists what cannot be opened.
private struct Vanishing: FileSystem {
  let files: MemoryFiles
  init(_ files: MemoryFiles) { self.files = files }
  func open(_ path: String, _ access: BlockingFiles.Access) throws(Errno) -> BlockingFile {
    throw Errno(code: 2, operation: "open", path: path)
  }
  func list(_ path: String) throws(Errno) -> [String] { try files.list(path) }
  func synchronizeDirectory(_ path: String) throws(Errno) {}
  func rename(_ from: String, to: String) throws(Errno) {}
  func unlink(_ path: String) throws(Errno) {}
}

/// A log with a failed commit of several blocks: `landed` decides what of it reached the disk.
private struct LossyLog {
  var files: [(name: String, content: [UInt8])] = []
  let first = "w000-0000000001.jsonl"
  /// The bytes of the batch that failed.
  var batch: [UInt8] = []
  var start = 0

  init() {
    // The same records twice: once committed, to know the batch's bytes, and once failed.
    let committed = Self.world()
    Self.append(committed)
    committed.settle()
    let whole = committed.disk.content(first)!
    let failed = Self.world()
    start = failed.disk.content(first)!.lastIndex { $0 != 0x0A }!
    start = (start + 4_096) / 4_096 * 4_096
    batch = Array(whole[start..<(whole.lastIndex { $0 != 0x0A }! + 4_096) / 4_096 * 4_096])
    Self.append(failed)
    failed.poll()
    failed.answer(.commit, -5)
    failed.exchange()
    failed.settle()
    files = failed.disk.snapshot()
  }

  private static func world() -> World {
    let world = World(
      World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 3))
    world.settle()
    world.exchange()
    world.settle()
    return world
  }

  private static func append(_ world: World) {
    for _ in 0..<5 { world.exchange(path: String(repeating: "f", count: 2_600)) }
  }

  /// The log with these bytes behind the last seal of the segment that the commit failed in.
  func appended(_ bytes: [UInt8]) -> MemoryFiles {
    var files = files
    let index = files.firstIndex { $0.name == first }!
    files[index].content = Array(files[index].content[..<start]) + bytes
    return MemoryFiles(files)
  }
}

@Suite struct LostTailTests {
  @Test func whatIsLeftOfAFailedCommitIsAnUnsealedTail() throws {
    let log = LossyLog()
    #expect(try log.appended([]).verify().verdict == .intact)
    #expect(try log.appended([UInt8](repeating: 10, count: 9_000)).verify().verdict == .intact)
    let blocks = log.batch.count / 4_096
    #expect(blocks >= 3)
    for subset in 1..<(1 << blocks) {
      var bytes = log.batch
      for block in 0..<blocks where subset >> block & 1 == 0 {
        for place in block * 4_096..<(block + 1) * 4_096 { bytes[place] = 10 }
      }
      let report = try log.appended(bytes).verify()
      #expect(report.verdict == .unsealedTail, "\(subset): \(report)")
      #expect(report.chains[0].records == 2)
      #expect(report.chains[0].unsealedTails.first?.byte == log.start)
    }
  }

  @Test func aForgedRecordBehindTheLastSealIsNotIntact() throws {
    let log = LossyLog()
    func record(_ sequence: Int) -> String {
      "{\"seq\":\(sequence),\"kind\":\"exchange\",\"time\":\"2026-11-21T01:33:58.123456Z\","
        + "\"id\":\"00000000000000ff\",\"method\":\"GET\"}\n"
    }
    let filling = String(repeating: "\n", count: 5_000)
    for text in [
      record(2), record(2) + filling, record(6), record(1), record(2) + record(3),
      "hello\n", filling + record(2), "{\"kind\":\"seal\"}\n",
    ] {
      let verdict = try log.appended(Array(text.utf8)).verify().verdict
      #expect(verdict != .intact, "\(text)")
    }
    #expect(try log.appended(Array((record(9) + filling).utf8)).verify().verdict == .broken)
    #expect(try log.appended(Array("hello\n\n\n".utf8)).verify().verdict == .broken)
  }

  @Test func aFailedBatchThatWasEditedIsBroken() throws {
    let log = LossyLog()
    for place in stride(from: 60, to: log.batch.lastIndex { $0 != 0x0A }!, by: 997) {
      var bytes = log.batch
      bytes[place] = bytes[place] == 0x61 ? 0x62 : 0x61
      #expect(try log.appended(bytes).verify().verdict == .broken, "byte \(place)")
    }
  }

  @Test func twoBatchesBehindTheLastSealAreBroken() throws {
    let log = LossyLog()
    #expect(try log.appended(log.batch + log.batch).verify().verdict == .broken)
  }
}
