// Many rounds, on the engine of a kind.

import Glibc
public import MillraceEngine

/// Runs rounds with the seeds from `seed` on. - Returns: how many operations were begun in all.
public func tearDown(
  _ kind: EngineKind, rounds: Int, from seed: UInt64, _ deeds: [Deed] = Deed.allCases
) throws -> Int {
  // In memory where there is such a place: the rounds are about the engine, not about a disk.
  let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
  var template = Array("\(parent)/millrace-teardown-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else {
    throw TeardownFailure(description: "mkdtemp: errno \(errno)")
  }
  let directory = String(
    decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer {
    for name in ["mix", "0", "1", "2", "3"] { Glibc.unlink(directory + "/" + name) }
    rmdir(directory)
  }
  var begun = 0
  for i in 0..<UInt64(rounds) {
    switch kind {
    case .uring:
      let engine = try Uring(Teardown<Uring>.options)
      begun += try oneRound(engine, seed + i, directory, deeds)
    case .epoll:
      let engine = try Epoll(Teardown<Epoll>.options)
      begun += try oneRound(engine, seed + i, directory, deeds)
    case .simulated:
      var dice = SimulatedDice(seed: seed + i)
      var conditions = SimulatedConditions.drawn(from: &dice)
      // Faults of the set-up would only make rounds that begin nothing.
      conditions.refusals = 0
      conditions.resets = 0
      conditions.acceptAborts = 0
      conditions.acceptExhaustions = 0
      let world = SimulatedWorld(seed: seed + i, conditions)
      world.disk.makeDirectory(directory)
      begun += try oneRound(
        Simulated(Teardown<Simulated>.options, world: world), seed + i, directory, deeds)
    }
  }
  return begun
}

private func oneRound<E: Engine & ~Copyable>(
  _ engine: consuming E, _ seed: UInt64, _ directory: String, _ deeds: [Deed]
) throws -> Int {
  var round = try Teardown<E>(engine, seed: seed, directory: directory)
  return try round.run(deeds)
}
