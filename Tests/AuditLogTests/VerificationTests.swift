import MillraceEngine
import Testing

@testable import AuditLog

/// A log of one closed chain: exchanges, a begin with its end, one without, over several segments.
private func closedLog(exchanges: Int = 60) -> (files: [(name: String, content: [UInt8])], Anchor) {
  let world = World(
    World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 3))
  world.settle()
  world.nextExchange = 500
  world.exchange(kind: .begin)
  world.nextExchange = 500
  world.exchange(kind: .end)
  world.exchange(kind: .begin)
  for _ in 0..<exchanges {
    world.exchange(path: String(repeating: "v", count: 800))
    world.settle()
  }
  let anchor = Array(world.journal.anchor(workers: 1)!.utf8).withUnsafeBytes { Anchor.parse($0)! }
  world.journal.beginShutdown()
  world.settle()
  precondition(world.isShutDown)
  return (world.disk.snapshot(), anchor)
}

@Suite struct VerificationTests {
  @Test func aClosedLogIsIntactAndCounted() throws {
    let (files, anchor) = closedLog()
    let folder = Folder()
    try folder.write(files)
    let report = try folder.verify([anchor])
    #expect(report.verdict == .intact)
    #expect(report.anchorsMatched == 1)
    #expect(files.count >= 3)
    let chain = report.chains[0]
    #expect(chain.exchanges == 60)
    #expect(chain.begins == 2)
    #expect(chain.ends == 1)
    #expect(chain.unfinished == 1)
    #expect(chain.unbegun == 0)
    #expect(chain.lastSequence == 63)
  }

  @Test func anEditOfAnyByteOfASegmentIsFound() throws {
    let (files, _) = closedLog(exchanges: 2)
    let (name, content) = files[0]
    let folder = Folder()
    var random = SplitMix(state: 5)
    for index in content.indices where content[index] != 0x0A || random.chance(2) {
      var edited = content
      edited[index] ^= UInt8.random(in: 1...255, using: &random)
      try folder.write([(name, edited)])
      let report = try folder.verify()
      #expect(report.verdict != .intact, "byte \(index)")
    }
  }

  @Test func anEditOfAnyByteIsAFailureWhereAnotherSegmentFollows() throws {
    let (files, _) = closedLog(exchanges: 30)
    let (name, content) = files[0]
    let folder = Folder()
    try folder.write(files)
    var random = SplitMix(state: 6)
    for _ in 0..<300 {
      var edited = content
      let index = Int.random(in: 0..<content.count, using: &random)
      edited[index] ^= UInt8.random(in: 1...255, using: &random)
      try folder.write([(name, edited)])
      #expect(try folder.verify().verdict == .broken, "byte \(index)")
    }
  }

  @Test func aBatchCutOutOfTheMiddleIsFound() throws {
    let (files, _) = closedLog(exchanges: 4)
    var content = files[0].content
    content.removeSubrange(4_096..<8_192)
    let folder = Folder()
    try folder.write([(files[0].name, content)])
    #expect(try folder.verify().verdict == .broken)
  }

  @Test func aMissingSegmentIsFoundAndNamed() throws {
    let (files, _) = closedLog()
    let folder = Folder()
    try folder.write([files[0], files[2]])
    let report = try folder.verify()
    #expect(report.verdict == .broken)
    #expect(report.chains[0].failure?.file == files[2].name)
    #expect(report.chains[0].failure?.line == 1)
  }

  @Test func aDeletedBeginningIsReportedAndNoFailure() throws {
    let (files, anchor) = closedLog()
    let folder = Folder()
    try folder.write(Array(files.dropFirst()))
    let report = try folder.verify([anchor])
    #expect(report.verdict == .intact)
    #expect(!report.chains[0].startsAtBeginning)
  }

  @Test func aTruncatedLogNeedsAnAnchorAndIsFoundByIt() throws {
    let (files, anchor) = closedLog()
    let folder = Folder()
    try folder.write(Array(files.dropLast()))
    #expect(try folder.verify().verdict == .intact)
    #expect(try folder.verify([anchor]).verdict == .broken)

    var last = files.last!
    last.content.removeLast(4_096)
    try folder.write([last])
    #expect(try folder.verify().verdict == .intact)
    let report = try folder.verify([anchor])
    #expect(report.verdict == .broken)
    #expect(report.anchorFailures.count == 1)
  }

  @Test func aMissingChainIsFoundByItsAnchor() throws {
    let (files, anchor) = closedLog()
    var other = anchor
    other.worker = 3
    let folder = Folder()
    try folder.write(files)
    #expect(try folder.verify([anchor, other]).verdict == .broken)
  }

  @Test func anotherSealAtAnAnchorsSequenceIsFound() throws {
    let (files, anchor) = closedLog()
    var other = anchor
    other.seal = .zero
    let folder = Folder()
    try folder.write(files)
    #expect(try folder.verify([other]).verdict == .broken)
  }

  @Test func anchorsAreReadFromAmongLogLines() throws {
    let (_, anchor) = closedLog(exchanges: 1)
    let folder = Folder()
    let text = "noise\n2026-11-21 info audit \(anchor.text) tail\n{\"kind\":\"anchor\"}\n"
    try folder.write([("proxy.log", Array(text.utf8))])
    #expect(try AnchorFinder.read(folder.path + "/proxy.log").anchors == [anchor])
  }

  @Test func aLiveSegmentIsIntactAndAWriteUnderWayIsATail() throws {
    let world = World(
      World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 3))
    world.settle()
    world.exchange()
    world.settle()
    let folder = Folder()
    var files = world.disk.snapshot()
    try folder.write(files)
    #expect(try folder.verify().verdict == .intact)
    let bytes = Array("{\"seq\":2,\"kind\":\"exch".utf8)
    files[0].content.replaceSubrange(4_096..<4_096 + bytes.count, with: bytes)
    try folder.write(files)
    let report = try folder.verify()
    #expect(report.verdict != .intact)
    #expect(report.chains[0].records == 1)
  }

  @Test func segmentsThatSwappedNamesAreFound() throws {
    let (files, _) = closedLog()
    let folder = Folder()
    try folder.write([(files[1].name, files[2].content), (files[2].name, files[1].content)])
    #expect(try folder.verify().verdict == .broken)
  }
}
