// A seed from its beginning to its end: one or more lives of the proxy on one disk, with recovery
// between them. Run twice, a seed must give the same trace; that it does is checked here too.

import AuditLog
import Configuration
import MillraceEngine

struct Story {
  let seed: UInt64
  let hall: Hall
  private(set) var totals = Totals()
  private(set) var failures: [Failure] = []
  private(set) var hash: UInt64 = 0
  private(set) var tail = ""

  init(seed: UInt64, _ hall: Hall) {
    self.seed = seed
    self.hall = hall
  }

  mutating func run() {
    var dice = SimulatedDice(seed: seed)
    totals.runs = 1
    let lives = 1 + (dice.chance(400) ? 1 + dice.roll(2) : 0)
    var disk: [(path: String, bytes: [UInt8])] = []
    for index in 0..<lives {
      let circumstances = Circumstances(&dice)
      if hall.isVerbose { say("life \(index): \(circumstances.summary)") }
      let life = Life(index: index, circumstances, dice.split(), hall, legacy: disk)
      hall.current = life
      live(life, &disk, &dice)
      hall.current = nil
      totals += life.totals
      failures += life.failures
      hash = hash &* 0x100_0000_01B3 ^ life.world.trace.hash
      if !life.failures.isEmpty {
        tail = life.world.trace.tail
        return
      }
    }
  }

  private mutating func live(
    _ life: Life, _ disk: inout [(path: String, bytes: [UInt8])], _ dice: inout SimulatedDice
  ) {
    guard life.circumstances.configuration.audit != nil else { return life.live(RecoveredLog()) }
    // What the last life left is recovered on this one's disk, as a start does.
    guard let recovered = recover(life, life.world.disk, &dice) else { return }
    life.live(recovered)
    let legacy = SimulatedWorld(seed: dice.next())
    legacy.disk.makeDirectory(Circumstances.directory)
    if let wreck = life.wreck {
      for file in wreck { legacy.disk.put(file.path, file.bytes) }
      life.checkWreck(legacy.disk)
      guard recover(life, legacy.disk, &dice) != nil else { return }
      life.checkChain(legacy.disk, afterRecovery: true)
      life.checkAudit(AuditReading(legacy.disk, Circumstances.directory))
      disk = wreck
    } else {
      life.world.conditions.diskErrors = 0
      life.world.disk.recover()
      life.checkChain(life.world.disk, afterRecovery: false)
      let log = AuditReading(life.world.disk, Circumstances.directory)
      life.checkAudit(log)
      totals.records += log.records
      disk = life.world.disk.list(Circumstances.directory).map {
        let path = Circumstances.directory + "/" + $0
        return (path, life.world.disk.contents(path) ?? [])
      }
    }
  }

  /// Recovers a log, perhaps not at the first attempt.
  private mutating func recover(
    _ life: Life, _ disk: SimulatedDisk, _ dice: inout SimulatedDice
  ) -> RecoveredLog? {
    let conditions = life.world.conditions
    life.world.conditions.diskErrors = 0
    // This life's disk may be smaller than what the last one has left: a start on a full disk is refused,
    // and somebody makes room.
    life.world.conditions.diskCapacity = .max
    defer {
      life.world.conditions.diskErrors = conditions.diskErrors
      life.world.conditions.diskCapacity = conditions.diskCapacity
    }
    if dice.chance(300) {
      let interrupted = SimulatedFiles(disk, budget: dice.roll(12))
      _ = try? recover(life, interrupted)
      if dice.chance(500) { disk.crash() }
    }
    do {
      let recovered = try recover(life, SimulatedFiles(disk))
      totals.torn += recovered.tornTails.count
      return recovered
    } catch {
      life.failAnyway("recovery", "\(error)")
      return nil
    }
  }

  private func recover(_ life: Life, _ files: SimulatedFiles) throws -> RecoveredLog {
    let lease = DirectoryLease(
      directory: Circumstances.directory,
      file: try files.open(Circumstances.directory, .read))
    return try Recovery(
      run: life.run, wallMicroseconds: life.world.wallMicroseconds, files: files
    ).recover(lease)
  }
}
