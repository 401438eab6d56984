import MillraceEngine
import Testing

@testable import AuditLog

/// One seed: three runs of the journal over one disk, each ended by a crash at some operation.
private func violations(
  seed: UInt64, faults: Faults, durability: Durability = .beforeResponse
) throws -> [String] {
  var random = SplitMix(state: seed)
  let folder = Folder()
  var problems: [String] = []
  var expected: [UInt64: UInt64] = [:]
  for run in 1...3 {
    let chain = try folder.recover(run: UInt64(100 + run)).chain(worker: 0)
    let disk = SimulatedDisk(faults: faults, seed: random.next())
    for file in try folder.read() { disk.load(file.name, file.content) }
    let world = World(World.configuration(run: UInt64(run), durability: durability), chain, disk)
    world.nextExchange = UInt64(run) << 32
    for _ in 0..<Int.random(in: 20...400, using: &random) {
      switch Int.random(in: 0..<10, using: &random) {
      case 0...3:
        for _ in 0..<Int.random(in: 1...6, using: &random) {
          let length = Int.random(in: 1...2_000, using: &random)
          if world.exchange(path: String(repeating: "p", count: length)) == nil { break }
        }
        world.poll()
      case 4...8:
        world.poll()
        world.complete(JournalLane.allCases.randomElement(using: &random)!)
      default:
        world.now += Int64.random(in: 1...300_000_000, using: &random)
      }
    }
    for sequence in world.acknowledged { expected[sequence] = world.appended[sequence] }
    let left = world.crash()
    folder.clear()
    try folder.write(left)

    _ = try folder.recover(run: UInt64(200 + run))
    let report = try folder.verify()
    // What a failed commit left behind the last seal of its segment stays, and no seal covers it.
    let allowed: Verdict = faults.commitError > 0 ? .unsealedTail : .intact
    if report.verdict > allowed { problems.append("run \(run): \(report)") }
    let found = try folder.records()
    for (sequence, id) in expected where found[sequence] != id {
      problems.append("run \(run): sequence \(sequence) was acknowledged and is gone")
    }
  }
  return problems
}

@Suite struct CrashTests {
  @Test(arguments: 0..<120)
  func whatWasAcknowledgedSurvivesACrashAnywhere(seed: Int) throws {
    let faults = Faults(shortWrite: 10, interrupted: 5)
    #expect(try violations(seed: UInt64(seed), faults: faults) == [], "seed \(seed)")
  }

  @Test(arguments: 0..<120)
  func whatWasAcknowledgedSurvivesFailedCommitsAndAFullDisk(seed: Int) throws {
    let faults = Faults(
      shortWrite: 5, commitError: 8, interrupted: 5, noSpace: 10, retireError: 20)
    #expect(try violations(seed: UInt64(seed), faults: faults) == [], "seed \(seed)")
  }

  @Test(arguments: 0..<60)
  func whatWasAcknowledgedSurvivesWithoutDirectOrDurableWrites(seed: Int) throws {
    var faults = Faults(shortWrite: 10, commitError: 2, interrupted: 5)
    faults.refusesDirect = seed % 3 == 0
    faults.refusesDirectWrites = seed % 3 == 1
    faults.refusesDurable = seed % 3 == 2
    let found = try violations(seed: UInt64(seed), faults: faults)
    #expect(found == [], "seed \(seed): \(found)")
  }

  @Test(arguments: 0..<30)
  func whatAnIntervalCommittedSurvives(seed: Int) throws {
    let faults = Faults(shortWrite: 10, interrupted: 5)
    #expect(
      try violations(seed: UInt64(seed), faults: faults, durability: .interval) == [],
      "seed \(seed)")
  }

  @Test func aDiskThatIgnoresDurableWritesIsFoundOut() throws {
    var faults = Faults()
    faults.honoursDurable = false
    var seedsWithLoss = 0
    for seed in 0..<20 where try !violations(seed: UInt64(seed), faults: faults).isEmpty {
      seedsWithLoss += 1
    }
    #expect(seedsWithLoss >= 10)
  }
}
