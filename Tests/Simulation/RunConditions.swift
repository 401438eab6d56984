// What a seed draws before anything happens: the conditions of the world, the configuration of the
// proxy, how its run ends. Half of the runs are gentle: nothing there excuses a request from being
// served, so each one that is not is a bug. In the others only safety is promised.

import AuditLog
import Configuration
import MillraceEngine
import Proxy

/// How a run ends.
enum Ending: String {
  /// All clients has gone; the proxy has been still for a while, then it is told to drain.
  case quiet
  /// It is told to drain while it works.
  case drain
  /// The machine loses power.
  case crash
}

struct RunConditions {
  var isGentle: Bool
  var conditions: SimulatedConditions
  var configuration: ProxyConfiguration
  var options = EngineOptions()
  /// By listener: plain, or the oldest TLS version that is accepted.
  var tls: [ListenerTLS.Version?] = []
  /// By upstream: what its servers speak; nil: plain.
  var serverTLS: [ListenerTLS.Version?] = []
  /// By listener: it serves HTTP/2 too.
  var servesHTTP2: [Bool] = []
  /// By upstream: its servers speak HTTP/2.
  var speaksHTTP2: [Bool] = []
  /// HTTP/2 may be drawn, on either side.
  var mayHTTP2: Bool
  var ending: Ending
  /// When a drain or a crash comes, from the start.
  var endsAt: Int64
  var clients: Int
  var attackers: Int
  var servers: Int
  /// The most content bytes of one message.
  var largest: Int
  var batchSize: Int
  var batchCount: Int
  var segmentSize: Int
  var prefillChunk: Int
  /// Servers misbehave.
  var hasFaults: Bool

  static let directory = "/var/log/sim"

  /// The name of a segment of the one worker's chain.
  static func segment(_ number: UInt64) -> String {
    let digits = String(number)
    return "w000-" + String(repeating: "0", count: max(0, 10 - digits.count)) + digits + ".jsonl"
  }

  /// Nothing orders what its audit log writes: a crash may take any of it.
  var isUnordered: Bool { configuration.audit?.durability == AuditConfiguration.Durability.none }

  init(_ dice: inout SimulatedDice) {
    isGentle = dice.chance(500)
    conditions = dice.chance(100) ? .calm : .drawn(from: &dice)
    hasFaults = dice.chance(700)
    mayHTTP2 = dice.chance(400)
    clients = 1 + dice.roll(dice.chance(200) ? 24 : 8)
    attackers = dice.chance(500) ? dice.roll(5) : 0
    ending = [.quiet, .quiet, .drain, .crash][dice.roll(4)]
    endsAt = Int64(20 + dice.roll([100, 300, 1_000, 5_000][dice.roll(4)])) * 1_000_000
    // Small ones are often full, which in a gentle run would be an excuse.
    batchSize = isGentle ? 65_536 : [8_192, 16_384, 65_536][dice.roll(3)]
    batchCount = (isGentle ? 6 : 3) + dice.roll(6)
    // The smallest takes one exchange's worst case beside the batch that may be lost at its end.
    segmentSize = (2 * batchSize + 40_960) * (1 + dice.roll(4))
    prefillChunk = 16_384 << dice.roll(4)
    servers = 0
    configuration = ProxyConfiguration()
    // As many segments as a run can afford: small ones make for small messages.
    let average = (conditions.segmentBytes.lowerBound + conditions.segmentBytes.upperBound) / 2
    largest = min(1 << 20, max(512, average * 24))
    if isGentle { makeGentle(&dice) }
    drawConfiguration(&dice)
    options.smallBuffers = 64 + dice.roll(192)
    options.largeBuffers = 8 + dice.roll(24)
    if dice.chance(300) { options.largeBufferSize = 16_384 }
    options.descriptorLimit = 4_096
    options.frames = FrameBudget.frames(
      connections: configuration.limits.connections,
      exchanges: configuration.limits.exchanges,
      idleUpstreams: FrameBudget.idleUpstreams(configuration),
      withTLS: serverTLS.contains { $0 != nil })
    if !isGentle && dice.chance(200) { conditions.frames = 4 + dice.roll(60) }
    if !isGentle && dice.chance(200) {
      conditions.diskCapacity = segmentSize * 2 + dice.roll(1 << 20)
    }
    if !isGentle && dice.chance(200) { conditions.diskErrors = 1 + dice.roll(20) }
  }

  /// Takes out what may fail an innocent request.
  private mutating func makeGentle(_ dice: inout SimulatedDice) {
    conditions.resets = 0
    conditions.refusals = 0
    conditions.acceptAborts = 0
    conditions.acceptExhaustions = 0
    conditions.slowSyncs = 0
    conditions.latency =
      conditions.latency.lowerBound > 200_000 ? 5_000...200_000 : conditions.latency
    conditions.latencySpike = 1_000_000...20_000_000
  }

  private mutating func drawConfiguration(_ dice: inout SimulatedDice) {
    /// Long enough never to matter where nothing goes wrong, or short enough to matter.
    func timeout(_ long: Int64) -> Int64 {
      if isGentle || dice.chance(500) { return long * 1_000_000_000 }
      return Int64(20 + dice.roll(3_000)) * 1_000_000
    }
    for i in 0...dice.roll(3) {
      let version: ListenerTLS.Version? =
        dice.chance(400) ? (dice.chance(300) ? .tls13 : .tls12) : nil
      tls.append(version)
      var listener = ListenerConfiguration(
        name: "l\(i)", address: .ip(host: "127.0.0.1", port: UInt16(8_000 + i)))
      listener.timeouts = DownstreamTimeouts(
        headNanoseconds: timeout(30), bodyNanoseconds: timeout(60), idleNanoseconds: timeout(60))
      servesHTTP2.append(mayHTTP2 && dice.chance(700))
      if servesHTTP2[i] { listener.httpVersions = [.http2, .http11] }
      configuration.listeners.append(listener)
    }
    for i in 0...dice.roll(3) {
      var servers: [ServerConfiguration] = []
      for j in 0...dice.roll(3) {
        servers.append(
          ServerConfiguration(
            address: .ip(host: "127.0.1.\(i + 1)", port: UInt16(3_000 + j)),
            weight: 1 + dice.roll(3)))
      }
      self.servers += servers.count
      serverTLS.append(dice.chance(300) ? (dice.chance(500) ? .tls13 : .tls12) : nil)
      var upstream = UpstreamConfiguration(name: "u\(i)", servers: servers)
      speaksHTTP2.append(mayHTTP2 && dice.chance(600))
      if speaksHTTP2[i] { upstream.speaks = serverTLS[i] == nil ? .http2Cleartext : .http2 }
      upstream.balance = Balance.allCases[dice.roll(Balance.allCases.count)]
      upstream.retries = RetryConfiguration(
        attempts: dice.roll(3), onConnectFailure: dice.chance(800),
        onResetBeforeResponse: dice.chance(800))
      upstream.timeouts = UpstreamTimeouts(
        connectNanoseconds: timeout(10), responseNanoseconds: timeout(40),
        idleNanoseconds: timeout(60))
      upstream.idleConnections = dice.chance(200) ? dice.roll(2) : 256
      configuration.upstreams.append(upstream)
      configuration.routes.append(RouteConfiguration(path: .prefix("/u\(i)"), upstream: i))
    }
    configuration.limits.connections = isGentle ? 96 : 4 + dice.roll(64)
    if isGentle && mayHTTP2 { configuration.limits.streams = 400 }
    if !isGentle && dice.chance(200) { configuration.limits.streams = 1 + dice.roll(8) }
    configuration.limits.requestHead = 1_024 << dice.roll(7)
    // HTTP/2 counts 32 bytes more for each field.
    if isGentle && mayHTTP2 {
      configuration.limits.requestHead = max(2_048, configuration.limits.requestHead)
    }
    configuration.limits.requestTarget = min(8_192, configuration.limits.requestHead)
    configuration.drain.deadlineNanoseconds =
      isGentle ? 120_000_000_000 : Int64(dice.roll(3)) * Int64(dice.roll(5_000_000_000))
    if dice.chance(800) { drawAudit(&dice) }
  }

  private mutating func drawAudit(_ dice: inout SimulatedDice) {
    var audit = AuditConfiguration(directory: Self.directory)
    audit.durability =
      [.beforeResponse, .beforeResponse, .beforeResponse, .interval, .none][
        dice.roll(5)]
    audit.intervalNanoseconds = Int64(1 + dice.roll(500)) * 1_000_000
    audit.whenFull = [.block, .reject, .drop][dice.roll(3)]
    audit.holdNanoseconds = [0, 1_000_000, 5_000_000, 1_000_000_000][dice.roll(4)]
    audit.segmentSize = segmentSize
    audit.segmentAgeNanoseconds = dice.chance(300) ? 1_000_000_000 : 3_600_000_000_000
    configuration.audit = audit
  }

  /// A short text for a person.
  var summary: String {
    let audit = configuration.audit.map { "\($0.durability.rawValue)/\($0.whenFull.rawValue)" }
    return "gentle=\(isGentle) ending=\(ending.rawValue) clients=\(clients) attackers=\(attackers)"
      + " tls=\(tls.map { $0?.rawValue ?? "-" })"
      + " http2=\(servesHTTP2) servers_http2=\(speaksHTTP2)"
      + " server_tls=\(serverTLS.map { $0?.rawValue ?? "-" }) servers=\(servers) faults=\(hasFaults)"
      + " audit=\(audit ?? "off") largest=\(largest) connections=\(configuration.limits.connections)"
  }
}
