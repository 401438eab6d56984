import MillraceEngine
import Testing

@testable import AuditLog

/// A log whose last segment still has its prefilled end, as a killed proxy leaves it.
private func liveLog(exchanges: Int = 5) -> [(name: String, content: [UInt8])] {
  let world = World(
    World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 4))
  world.settle()
  for _ in 0..<exchanges {
    world.exchange(path: String(repeating: "w", count: 300))
    world.settle()
  }
  return world.disk.snapshot().filter { $0.name == "w000-0000000001.jsonl" }
}

private let segment = "w000-0000000001.jsonl"

private func put(_ text: String, at offset: Int, in content: inout [UInt8]) {
  let bytes = Array(text.utf8)
  content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
}

@Suite struct RecoveryTests {
  @Test func aKilledProxyWithoutATornTailLeavesNoRecord() throws {
    let folder = Folder()
    try folder.write(liveLog())
    let log = try folder.recover()
    #expect(log.tornTails.isEmpty)
    #expect(log.chain(worker: 0).nextSequence == 6)
    #expect(log.chain(worker: 0).nextSegment == 2)
    #expect(log.chain(worker: 1) == ChainState(worker: 1))
    #expect(try folder.content(segment).count == 5 * 4_096)
    #expect(try folder.verify().verdict == .intact)
  }

  @Test func aTornTailIsKeptAsideAndRecorded() throws {
    var files = liveLog()
    put("{\"seq\":6,\"kind\":\"exchange\",\"torn", at: 5 * 4_096, in: &files[0].content)
    let folder = Folder()
    try folder.write(files)
    let log = try folder.recover()
    let tail = try folder.content(segment + ".torn")
    #expect(String(decoding: tail, as: UTF8.self) == "{\"seq\":6,\"kind\":\"exchange\",\"torn")
    #expect(log.tornTails.map(\.bytes) == [tail.count])
    #expect(log.chain(worker: 0).nextSequence == 7)
    #expect(log.chain(worker: 0).nextSegment == 3)
    let report = try folder.verify()
    #expect(report.verdict == .intact)
    #expect(report.chains[0].recoveries == 1)
    #expect(report.chains[0].records == 6)
    let again = try folder.recover()
    #expect(again.tornTails.isEmpty)
    #expect(again.chains == log.chains)
  }

  @Test func aSegmentCutOrGarbledAnywhereKeepsItsWholeBatchesAndEveryByte() throws {
    let original = liveLog()[0].content
    let folder = Folder()
    var random = SplitMix(state: 8)
    for round in 0..<200 {
      folder.clear()
      var content = original
      let place = Int.random(in: 0..<5 * 4_096, using: &random)
      if round % 2 == 0 {
        content.removeSubrange(place...)
      } else {
        // What is damaged is a sector, not one byte of padding.
        for index in place..<place + 512 {
          content[index] = UInt8.random(in: 11...255, using: &random)
        }
      }
      try folder.write([(segment, content)])
      let log = try folder.recover()
      let whole = place / 4_096
      let report = try folder.verify()
      #expect(report.verdict == .intact, "round \(round)")
      #expect(report.chains[0].exchanges == UInt64(whole), "round \(round) at \(place)")
      #expect(
        log.chain(worker: 0).nextSequence
          == UInt64(whole) + 1 + (log.tornTails.isEmpty ? 0 : 1))
      // Nothing but newlines is gone.
      let torn = try log.tornTails.isEmpty ? [] : folder.content(segment + ".torn")
      let kept = Array(content[..<min(content.count, whole * 4_096)]) + torn
      #expect(kept.filter { $0 != 0x0A } == content.filter { $0 != 0x0A }, "round \(round)")
    }
  }

  @Test func aRecoveryKilledAtAnyPointComesToTheSameEnd() throws {
    var before = liveLog()
    put(String(repeating: "torn ", count: 300), at: 5 * 4_096, in: &before[0].content)
    let folder = Folder()
    try folder.write(before)
    let expected = try folder.recover()
    let after = try folder.read()
    let cut = after.first { $0.name == segment }!
    let torn = after.first { $0.name == segment + ".torn" }!
    let record = after.first { $0.name == "w000-0000000002.jsonl" }!

    let partial = (name: segment + ".torn.partial", content: Array(torn.content[..<700]))
    let recover = (name: "w000-0000000002.recover", content: Array(record.content[..<200]))
    let states: [[(name: String, content: [UInt8])]] = [
      before + [partial],
      before + [(segment + ".torn.partial", torn.content)],
      before + [torn],
      [cut, torn],
      [cut, torn, recover],
      [cut, torn, ("w000-0000000002.recover", record.content)],
    ]
    for (index, state) in states.enumerated() {
      folder.clear()
      try folder.write(state)
      #expect(try folder.recover() == expected, "state \(index)")
      let result = try folder.read()
      #expect(result.map(\.name) == after.map(\.name), "state \(index)")
      #expect(result.map(\.content) == after.map(\.content), "state \(index)")
    }
  }

  @Test func aTornFirstBatchLeavesAnEmptySegmentAndTheChainGoesOn() throws {
    let folder = Folder()
    var content = [UInt8](repeating: 0x0A, count: 64 << 10)
    put("{\"kind\":\"segment\",\"form", at: 0, in: &content)
    try folder.write([(segment, content)])
    let log = try folder.recover()
    #expect(log.tornTails.count == 1)
    #expect(log.chain(worker: 0).nextSegment == 3)
    #expect(try folder.content(segment).isEmpty)
    let report = try folder.verify()
    #expect(report.verdict == .intact)
    #expect(report.chains[0].emptySegments == 1)
  }

  @Test func unusedAndUnfinishedSegmentsAreRemoved() throws {
    let folder = Folder()
    let blank = [UInt8](repeating: 0x0A, count: 8_192)
    try folder.write(
      liveLog() + [
        ("w000-0000000002.jsonl", blank), ("w000-0000000003.prepare", Array(blank[..<100])),
        ("notes.txt", [1, 2, 3]),
      ])
    let log = try folder.recover()
    #expect(log.chain(worker: 0).nextSegment == 2)
    #expect(try folder.read().map(\.name) == ["notes.txt", segment])
  }

  @Test func everyChainIsRecoveredWhateverTheNumberOfWorkersWillBe() throws {
    let folder = Folder()
    var files: [(name: String, content: [UInt8])] = []
    for worker in [0, 2, 11] {
      let world = World(
        World.configuration(worker: worker), ChainState(worker: worker),
        SimulatedDisk(faults: Faults(), seed: 4))
      world.settle()
      for _ in 0..<(worker + 1) { world.exchange() }
      world.settle()
      files += world.disk.snapshot()
    }
    try folder.write(files)
    let log = try folder.recover()
    #expect(log.chains.map(\.worker) == [0, 2, 11])
    #expect(log.chains.map(\.nextSequence) == [2, 4, 13])
    #expect(try folder.verify().chains.count == 3)
  }

  @Test func theNextRunContinuesTheChain() throws {
    let folder = Folder()
    try folder.write(liveLog())
    let chain = try folder.recover().chain(worker: 0)
    let disk = SimulatedDisk(faults: Faults(), seed: 9)
    for file in try folder.read() { disk.load(file.name, file.content) }
    let world = World(World.configuration(run: 2), chain, disk)
    world.settle()
    #expect(world.exchange() == 6)
    world.settle()
    folder.clear()
    try folder.write(disk.snapshot())
    let report = try folder.verify()
    #expect(report.verdict == .intact)
    #expect(report.chains[0].lastSequence == 6)
    #expect(report.chains[0].segments == 3)
  }

  @Test func twoProcessesCannotHoldOneDirectory() throws {
    let folder = Folder()
    let lease = try BlockingFiles.lease(directory: folder.path)
    #expect(throws: Errno.self) { _ = try BlockingFiles.lease(directory: folder.path) }
    #expect(lease.directory == folder.path)
  }

  @Test func aMissingDirectoryIsAnErrorThatNamesIt() {
    #expect(throws: Errno(code: 2, operation: "opendir", path: "/nowhere/at/all")) {
      try Verification(directory: "/nowhere/at/all").run()
    }
  }
}

extension RecoveryTests {
  /// An attempt that was killed between the cut and its fsync(2) leaves a cut that only the page cache
  /// knows: a later power cut would bring the tail back, in front of the segment that follows.
  @Test func aCutThatAnEarlierAttemptLeftIsMadeDurableBeforeTheChainGoesOn() throws {
    var before = liveLog()
    put(String(repeating: "torn ", count: 300), at: 5 * 4_096, in: &before[0].content)
    let folder = Folder()
    try folder.write(before)
    _ = try folder.recover()
    let after = try folder.read()
    let cut = after.first { $0.name == segment }!
    let torn = after.first { $0.name == segment + ".torn" }!
    folder.clear()
    try folder.write([cut, torn])
    let files = ObservedFiles()
    let lease = DirectoryLease(
      directory: folder.path,
      file: try BlockingFiles.open(folder.path + "/" + segment, .read))
    _ = try Recovery(
      run: RunIdentity(high: 99, low: 1), wallMicroseconds: 1_795_300_000_000_000, files: files
    ).recover(lease)
    let synced = files.events.firstIndex(of: "fsync \(segment)")
    let goesOn = files.events.firstIndex(of: "rename w000-0000000002.jsonl")
    #expect(goesOn != nil && synced != nil && synced! < goesOn!, "\(files.events)")
  }
}

/// The machine's files, with a list of what is made durable and what gets its final name.
private final class ObservedFiles: FileSystem, @unchecked Sendable {
  // Sendable: a test has one thread.
  fileprivate(set) var events: [String] = []
  private let machine = MachineFiles()

  private static func name(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  func open(_ path: String, _ access: BlockingFiles.Access) throws(Errno) -> BlockingFile {
    BlockingFile(
      content: ObservedFile(try machine.open(path, access), Self.name(path), self), path: path)
  }
  func synchronizeDirectory(_ path: String) throws(Errno) {
    try machine.synchronizeDirectory(path)
  }
  func rename(_ from: String, to: String) throws(Errno) {
    events.append("rename \(Self.name(to))")
    try machine.rename(from, to: to)
  }
  func unlink(_ path: String) throws(Errno) { try machine.unlink(path) }
  func list(_ path: String) throws(Errno) -> [String] { try machine.list(path) }
  func requireOwnFile(_ path: String) throws(Errno) { try machine.requireOwnFile(path) }
}

private final class ObservedFile: FileContent, @unchecked Sendable {
  // Sendable: as above.
  private let file: BlockingFile
  private let name: String
  private let files: ObservedFiles

  init(_ file: consuming BlockingFile, _ name: String, _ files: ObservedFiles) {
    self.file = file
    self.name = name
    self.files = files
  }

  func size() throws(Errno) -> Int { try file.size() }
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
    try file.read(into: buffer, at: offset)
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
    try file.write(bytes, at: offset)
  }
  func synchronize() throws(Errno) {
    files.events.append("fsync \(name)")
    try file.synchronize()
  }
  func truncate(to length: Int) throws(Errno) { try file.truncate(to: length) }
}
