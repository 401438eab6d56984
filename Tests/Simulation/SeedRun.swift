// A seed from its beginning to its end: one or more runs of the proxy on one disk, with recovery
// between them. Run twice, a seed must give the same trace; that it does is checked here too.

import AuditLog
import Configuration
import MillraceEngine

struct SeedRun {
  let seed: UInt64
  let fixtures: Fixtures
  private(set) var totals = Totals()
  private(set) var failures: [Failure] = []
  private(set) var hash: UInt64 = 0
  private(set) var tail = ""
  /// A run whose log nothing orders (`durability: none`) ended in a crash on the same disk: its part of the
  /// chain may be broken for good.
  private var hasUnorderedPast = false
  /// Where what came after that begins (`ProxyRun.judgedFrom`).
  private var judgedFrom: (segment: String, sequence: UInt64) = ("", 0)

  init(seed: UInt64, _ fixtures: Fixtures) {
    self.seed = seed
    self.fixtures = fixtures
  }

  mutating func run() {
    var dice = SimulatedDice(seed: seed)
    totals.seeds = 1
    let runs = 1 + (dice.chance(400) ? 1 + dice.roll(2) : 0)
    var disk: [(path: String, bytes: [UInt8])] = []
    for index in 0..<runs {
      let runConditions = RunConditions(&dice)
      if fixtures.isVerbose { printLine("run \(index): \(runConditions.summary)") }
      let proxyRun = ProxyRun(index: index, runConditions, dice.split(), fixtures, legacy: disk)
      fixtures.current = proxyRun
      live(proxyRun, &disk, &dice)
      fixtures.current = nil
      totals += proxyRun.totals
      failures += proxyRun.failures
      hash = hash &* 0x100_0000_01B3 ^ proxyRun.world.trace.hash
      if !proxyRun.failures.isEmpty {
        tail = proxyRun.world.trace.tail
        return
      }
    }
  }

  private mutating func live(
    _ proxyRun: ProxyRun, _ disk: inout [(path: String, bytes: [UInt8])],
    _ dice: inout SimulatedDice
  ) {
    guard proxyRun.runConditions.configuration.audit != nil else {
      return proxyRun.live(RecoveredLog())
    }
    // What the last run left is recovered on this one's disk, as a start does.
    guard let recovered = recover(proxyRun, proxyRun.world.disk, &dice) else { return }
    if hasUnorderedPast {
      hasUnorderedPast = false
      let chain = recovered.chain(worker: 0)
      // What recovery itself has written is judged.
      let records = UInt64(recovered.tornTails.count)
      judgedFrom = (
        RunConditions.segment(chain.nextSegment - (records > 0 ? 1 : 0)),
        chain.nextSequence - records
      )
    }
    proxyRun.judgedFrom = judgedFrom
    proxyRun.live(recovered)
    let legacy = SimulatedWorld(seed: dice.next())
    legacy.disk.makeDirectory(RunConditions.directory)
    if let wreck = proxyRun.wreck {
      if proxyRun.runConditions.isUnordered { hasUnorderedPast = true }
      for file in wreck { legacy.disk.put(file.path, file.bytes) }
      proxyRun.checkWreck(legacy.disk)
      guard recover(proxyRun, legacy.disk, &dice) != nil else { return }
      proxyRun.checkChain(legacy.disk, afterRecovery: true)
      proxyRun.checkAudit(AuditReading(legacy.disk, RunConditions.directory))
      disk = wreck
    } else {
      proxyRun.world.conditions.diskErrors = 0
      proxyRun.world.disk.recover()
      proxyRun.checkChain(proxyRun.world.disk, afterRecovery: false)
      let log = AuditReading(proxyRun.world.disk, RunConditions.directory)
      proxyRun.checkAudit(log)
      totals.records += log.records
      disk = proxyRun.world.disk.list(RunConditions.directory).map {
        let path = RunConditions.directory + "/" + $0
        return (path, proxyRun.world.disk.contents(path) ?? [])
      }
    }
  }

  /// Recovers a log, perhaps not at the first attempt.
  private mutating func recover(
    _ proxyRun: ProxyRun, _ disk: SimulatedDisk, _ dice: inout SimulatedDice
  ) -> RecoveredLog? {
    let conditions = proxyRun.world.conditions
    proxyRun.world.conditions.diskErrors = 0
    // This run's disk may be smaller than what the last one has left: a start on a full disk is refused,
    // and somebody makes room.
    proxyRun.world.conditions.diskCapacity = .max
    defer {
      proxyRun.world.conditions.diskErrors = conditions.diskErrors
      proxyRun.world.conditions.diskCapacity = conditions.diskCapacity
    }
    if dice.chance(300) {
      let interrupted = SimulatedFiles(disk, budget: dice.roll(12))
      _ = try? recover(proxyRun, interrupted)
      if dice.chance(500) { disk.crash() }
    }
    do {
      let recovered = try recover(proxyRun, SimulatedFiles(disk))
      totals.torn += recovered.tornTails.count
      return recovered
    } catch {
      proxyRun.failAnyway("recovery", "\(error)")
      return nil
    }
  }

  private func recover(_ proxyRun: ProxyRun, _ files: SimulatedFiles) throws -> RecoveredLog {
    let lease = DirectoryLease(
      directory: RunConditions.directory,
      file: try files.open(RunConditions.directory, .read))
    return try Recovery(
      run: proxyRun.run, wallMicroseconds: proxyRun.world.wallMicroseconds, files: files
    ).recover(lease)
  }
}
