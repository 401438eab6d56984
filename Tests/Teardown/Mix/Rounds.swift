// Many rounds, on the engine of a kind.

import Glibc
public import MillraceEngine
import Synchronization

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
  let descriptors = openDescriptors()
  var begun = 0
  for i in 0..<UInt64(rounds) {
    switch kind {
    case .uring:
      let engine = try Uring(Teardown<Uring>.options)
      let partner = try Partner(of: seed + i) { try Uring(Teardown<Uring>.options) }
      begun += try oneRound(engine, partner, seed + i, directory, deeds)
    case .epoll:
      let engine = try Epoll(Teardown<Epoll>.options)
      let partner = try Partner(of: seed + i) { try Epoll(Teardown<Epoll>.options) }
      begun += try oneRound(engine, partner, seed + i, directory, deeds)
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
        Simulated(Teardown<Simulated>.options, world: world), nil, seed + i, directory, deeds)
    }
  }
  var left = openDescriptors().filter { !descriptors.contains($0) }
  // What a ring or a thread of the kernel still has is let go of a moment later.
  for _ in 0..<1000 where !left.isEmpty {
    usleep(1000)
    left = openDescriptors().filter { !descriptors.contains($0) }
  }
  guard left.isEmpty else {
    throw TeardownFailure(
      description: "\(kind.rawValue), from seed \(seed): left open are \(left.map(target))")
  }
  return begun
}

private func openDescriptors() -> [Int32] {
  (0..<4096).filter { fcntl($0, F_GETFD) >= 0 }
}

/// What a descriptor is open on.
private func target(_ descriptor: Int32) -> String {
  var name = [UInt8](repeating: 0, count: 256)
  let count = readlink("/proc/self/fd/\(descriptor)", &name, name.count)
  return "\(descriptor) " + String(decoding: name.prefix(max(0, count)), as: UTF8.self)
}

private func oneRound<E: Engine & ~Copyable>(
  _ engine: consuming E, _ partner: Partner?, _ seed: UInt64, _ directory: String, _ deeds: [Deed]
) throws -> Int {
  defer { partner?.join() }
  var round = try Teardown<E>(
    engine, partner: partner?.mailbox, seed: seed, directory: directory)
  return try round.run(deeds)
}

/// An engine of another thread, in one round of eight, that takes messages for a moment and ends
/// while more of them are under way.
private struct Partner {
  let mailbox: Mailbox
  private let thread: WorkerThread

  init?<E: Engine & ~Copyable & SendableMetatype>(
    of seed: UInt64, _ make: @escaping @Sendable () throws -> E
  ) throws {
    guard seed % 8 == 0 else { return nil }
    var dice = MixDice(seed)
    let lifetime = Int64(1 + dice.roll(2000)) * 1000
    let published = Published()
    thread = try WorkerThread.start(name: "partner", cpu: nil) {
      guard var engine = try? make() else { return published.give(nil) }
      published.give(engine.mailbox)
      engine.refreshClocks()
      let end = engine.now + lifetime
      while engine.now < end {
        engine.wait(until: end)
        while engine.next() != nil {}
        engine.refreshClocks()
      }
    }
    guard let mailbox = published.take() else {
      thread.join()
      throw TeardownFailure(description: "seed \(seed): no second engine")
    }
    self.mailbox = mailbox
  }

  func join() { thread.join() }
}

/// What one thread makes and another waits for.
private final class Published: Sendable {
  private let place = Mutex<Mailbox??>(nil)

  func give(_ mailbox: Mailbox?) { place.withLock { $0 = .some(mailbox) } }

  func take() -> Mailbox? {
    while true {
      if let given = place.withLock({ $0 }) { return given }
      usleep(20)
    }
  }
}
