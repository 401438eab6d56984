// One run of the proxy: a world, a disk that an earlier run may have left behind, one worker, and
// all clients and servers that talk to it, until it has drained or the machine has lost its power. The checks that
// need the whole of it are in Checks.swift.

import AuditLog
import Configuration
import Logging
import MillraceEngine
import Proxy
import TLS

/// A check that did not hold.
struct Failure: Equatable {
  var check: String
  var text: String
}

final class ProxyRun {
  /// Requests with this number are an attacker's; those with the other one are inside of others,
  /// and no server may ever get one.
  static let hostileID = 900_000
  static let hiddenID = 900_001
  /// How often a client looks whether anything moves.
  static let pollInterval: Int64 = 5_000_000_000

  let index: Int
  let runConditions: RunConditions
  let world: SimulatedWorld
  let fixtures: Fixtures
  var dice: SimulatedDice
  var totals = Totals()
  private(set) var failures: [Failure] = []

  var book: [Int: RequestScript] = [:]
  var scripts: [RequestScript] = []
  var nextID: Int
  var clients: [Client] = []
  var streamClients: [StreamClient] = []
  var attackers: [Hostile] = []
  var origins: [Origin] = []
  /// By upstream: whether a kept connection may fail an innocent request.
  var unsteady: [Bool]
  var alive = 0
  /// What begins, and how long after the proxy listens.
  var starts: [(() -> Void, Int64)] = []

  let listenerAddresses: [SocketAddress]
  let serverAddresses: [[SocketAddress]]
  private let remote = SimulatedWorkerRemote()
  private let tlsVersions: [ListenerTLS.Version?]
  /// By upstream: what its servers speak TLS with.
  let serverContexts: [TLSContext?]
  private var tickets: [ClientTicket] = []

  /// The power is gone: what is seen from now on never happened.
  private(set) var isDead = false
  private(set) var drainedAt: Int64?
  /// The disk as the crash left it.
  private(set) var wreck: [(path: String, bytes: [UInt8])]?
  private(set) var anchors: [String] = []
  /// Where the part of the chain begins that is verified, by segment and record: where an earlier run may have
  /// left it broken, this run's own part.
  var judgedFrom: (segment: String, sequence: UInt64) = ("", 0)
  /// What the worker held when all clients and servers had gone, and at its end.
  var stillAccount: WorkerAccount?
  var account: WorkerAccount?
  let run: RunIdentity

  /// How long anybody waits for a byte. Longer than all timeouts of the configuration together.
  let waitLimit: Int64 = 400_000_000_000

  /// - Parameters:
  ///   - fixtures: what runs share: certificates, and whether somebody reads along.
  ///   - legacy: the files that the disk begins with.
  init(
    index: Int, _ runConditions: RunConditions, _ dice: SimulatedDice, _ fixtures: Fixtures,
    legacy: [(path: String, bytes: [UInt8])]
  ) {
    self.index = index
    self.runConditions = runConditions
    self.dice = dice
    self.fixtures = fixtures
    nextID = index * 100_000
    world = SimulatedWorld(seed: self.dice.next(), runConditions.conditions)
    run = RunIdentity(high: self.dice.next(), low: self.dice.next())
    tlsVersions = runConditions.tls
    serverContexts = fixtures.contexts(runConditions.serverTLS, runConditions.speaksHTTP2)
    world.trace.isContentOpaque = (tlsVersions + runConditions.serverTLS).contains { $0 != nil }
    world.disk.makeDirectory(RunConditions.directory)
    for file in legacy { world.disk.put(file.path, file.bytes) }
    listenerAddresses = runConditions.configuration.listeners.map { fixtures.address($0.address) }
    serverAddresses = runConditions.configuration.upstreams.map {
      $0.servers.map { fixtures.address($0.address) }
    }
    unsteady = runConditions.configuration.upstreams.map { _ in false }
  }

  var mayRefuse: Bool { !runConditions.isGentle || drainedAt != nil || isDead }

  // MARK: What others use

  func after(_ time: Int64, _ body: @escaping () -> Void) { world.after(time, body) }

  func note(_ text: @autoclosure () -> String) {
    guard fixtures.isVerbose else { return }
    printLine("\(index) \(Double(world.now / 1000) / 1_000_000) \(text())")
  }

  func fail(_ check: String, _ text: String) {
    guard !isDead else { return }
    note("FAILED \(check): \(text)")
    if failures.count < 20 { failures.append(Failure(check: check, text: text)) }
  }

  /// As `fail`, also for what is found when the power is gone.
  func failAnyway(_ check: String, _ text: String) {
    note("FAILED \(check): \(text)")
    failures.append(Failure(check: check, text: text))
  }

  func clientContext(_ listener: Int) -> TLSClientContext? {
    tlsVersions[listener] == nil ? nil : fixtures.clientContext
  }

  func hasTLS(_ listener: Int) -> Bool { tlsVersions[listener] != nil }
  func streamContext(_ listener: Int) -> TLSClientContext? {
    hasTLS(listener) ? fixtures.streamClientContext : nil
  }

  func keep(_ ticket: ClientTicket) { tickets.append(ticket) }
  func takeTicket(_ dice: inout SimulatedDice) -> ClientTicket? {
    tickets.isEmpty || dice.chance(300) ? nil : tickets[dice.roll(tickets.count)]
  }

  func clientIsOver() {
    alive -= 1
    if alive == 0 && runConditions.ending == .quiet && drainedAt == nil && !isDead { settle() }
  }

  /// Some servers have a name whose first address no client listens at.
  private func withDeadAddresses() -> [[[SocketAddress]]] {
    let dead = fixtures.address(.ip(host: "10.255.255.1", port: 9))
    return serverAddresses.enumerated().map { group, servers in
      servers.enumerated().map { index, address in
        (group + index + self.index) % 3 == 0 ? [dead, address] : [address]
      }
    }
  }

  // MARK: The seed run

  func live(_ recovered: RecoveredLog) {
    let world = world
    SimulatedRandomness.install { world.dice.fill($0) }
    populate()
    // A machine may lose its power while the proxy starts.
    if runConditions.ending == .crash && dice.chance(100) {
      after(runConditions.endsAt) { [unowned self] in crash() }
    }
    if !runConditions.isGentle && runConditions.configuration.audit != nil { drawTroubles() }
    if dice.chance(300) {
      after(Int64(dice.roll(200)) * 1_000_000) { [unowned self] in takeAnchor() }
    }
    var parts = SimulatedWorkerParts(
      configuration: runConditions.configuration, listeners: listenerAddresses,
      servers: withDeadAddresses(),
      contexts: fixtures.contexts(tlsVersions, runConditions.servesHTTP2),
      options: runConditions.options, logger: logger(), run: run, recovered: recovered)
    let c = runConditions
    parts.adjustJournal = {
      $0.batchSize = c.batchSize
      $0.batchCount = c.batchCount
      $0.recordMaximum = c.batchSize / 2
      $0.segmentSize = c.segmentSize
      $0.firstSegmentSize = c.segmentSize
      $0.prefillChunk = c.prefillChunk
    }
    parts.clientContexts = zip(runConditions.serverTLS, runConditions.speaksHTTP2).map {
      $0 == nil ? nil : $1 ? fixtures.streamUpstreamContext : fixtures.upstreamContext
    }
    parts.whenReady = { [unowned self] in begin() }
    account = SimulatedWorker.run(parts, world, remote)
    // What the worker did last reaches those whom it concerns.
    world.advance(by: 10_000_000_000)
    if account == nil { failAnyway("start", "the worker could not listen") }
    finish()
  }

  /// The proxy listens.
  private func begin() {
    for (start, delay) in starts { after(delay, start) }
    guard runConditions.ending != .quiet else { return }
    after(runConditions.endsAt) { [unowned self] in
      runConditions.ending == .crash ? crash() : drain()
    }
  }

  private func logger() -> Logger {
    var logger = Logger(label: "sim") { [fixtures, index] _ in
      fixtures.isVerbose ? RunLogHandler(index: index) as any LogHandler : SwiftLogNoOpLogHandler()
    }
    logger.logLevel = fixtures.isVerbose ? .debug : .critical
    return logger
  }

  /// All clients has gone: after a while the proxy must hold nothing but idle connections upstream,
  /// and then not even those.
  private func settle() {
    // All timeouts, one after the other, and the lingering close.
    after(waitLimit) { [unowned self] in
      guard !isDead, drainedAt == nil else { return }
      remote.ask { [unowned self] account in
        stillAccount = account
        drain()
      }
    }
  }

  private func drain() {
    guard drainedAt == nil, !isDead else { return }
    note("drain")
    totals.drains += 1
    drainedAt = world.now
    for script in scripts where !script.isSettled && script.sentAt == nil {
      script.excuse("not sent when the drain began")
    }
    remote.drain()
    // The deadline of the drain, twice ten seconds for the audit log, and a little for turns.
    let bound =
      runConditions.configuration.drain.deadlineNanoseconds + 2 * 10_000_000_000 + 10_000_000_000
    after(bound) { [unowned self] in
      failAnyway("drain", "the worker has not ended \(bound / 1_000_000_000) s after it was told")
      fixtures.giveUp(self)
    }
  }

  private func takeAnchor() {
    remote.ask { [unowned self] account in
      if let anchor = account.anchor, !isDead { anchors.append(anchor) }
    }
  }

  /// The machine loses its power. The worker goes on as a ghost, cut off from all clients and servers and from
  /// the disk, so that its end can be looked at too.
  private func crash() {
    guard !isDead, drainedAt == nil else { return }
    note("crash")
    totals.crashes += 1
    world.disk.crash()
    wreck = world.disk.list(RunConditions.directory).map {
      let path = RunConditions.directory + "/" + $0
      return (path, world.disk.contents(path) ?? [])
    }
    isDead = true
    drainedAt = world.now
    world.disk.fail(.broken, from: world.now)
    for client in clients { client.die() }
    for client in streamClients { client.die() }
    for attacker in attackers { attacker.die() }
    for origin in origins {
      origin.shut()
      origin.resetAll()
    }
    remote.drain()
  }

  private func drawTroubles() {
    guard dice.chance(400) else { return }
    for _ in 0...dice.roll(2) {
      let trouble: SimulatedDiskTrouble = [.noSpace, .broken, .slow][dice.roll(3)]
      let start = world.now + Int64(dice.roll(500)) * 1_000_000
      let length = Int64(1 + dice.roll(3_000)) * 1_000_000
      note("trouble with the disk: \(trouble)")
      totals.troubles += 1
      world.disk.fail(trouble, from: start, until: start + length)
    }
  }

  private func finish() {
    let began = world.now
    totals.runs += 1
    if runConditions.isGentle { totals.gentle += 1 }
    if let account {
      totals.turns += account.engine.turns
      totals.handshakes += account.counters.handshakes
    }
    totals.virtualSeconds += Int(began / 1_000_000_000)
    check()
  }
}

/// What is printed when somebody reads along.
private struct RunLogHandler: LogHandler {
  let index: Int
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .debug

  init(index: Int) { self.index = index }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { printLine("\(index) log \(event.level) \(event.message)") }
}
