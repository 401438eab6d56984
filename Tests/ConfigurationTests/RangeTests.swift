// Every range at its edges: one below, the edge, one above. The numbers stand here a second time on
// purpose, so that a range cannot move without somebody noticing.

import Configuration
import Testing

struct Edge: Sendable, CustomTestStringConvertible {
  var place: String
  var key: String
  var low: Int64
  var high: Int64
  /// What the numbers are followed by: "ms" for durations.
  var unit: String
  var read: @Sendable (ProxyConfiguration) -> Int64
  /// The smallest step between two right values.
  var step: Int64 = 1
  var testDescription: String { key }
}

@Suite("Ranges hold at their edges")
struct RangeTests {
  static let day: Int64 = 86_400_000

  static func document(_ edge: Edge, _ value: Int64) -> String {
    let written = "\(edge.key): \(value)\(edge.unit)"
    return switch edge.place {
    case "top": minimal(written)
    case "downstream": minimal(listener: "timeouts: {\(written)}")
    case "upstream": minimal(upstream: written)
    case "server":
      "listeners: [{address: 127.0.0.1:1}]\nupstreams: {w: {servers: [{address: a.b:1, \(written)}]}}"
    case "retries", "timeouts": minimal(upstream: "\(edge.place): {\(written)}")
    case "segment": minimal("audit: {directory: d, segment: {\(written)}}")
    case "audit": minimal("audit: {directory: d, durability: interval, \(written)}")
    case "response": minimal("audit: {directory: d, \(written)}")
    default: minimal("\(edge.place): {\(written)}")
    }
  }

  static func milliseconds(
    _ place: String, _ key: String, _ low: Int64, _ high: Int64,
    _ read: @escaping @Sendable (ProxyConfiguration) -> Int64
  ) -> Edge {
    Edge(place: place, key: key, low: low, high: high, unit: "ms", read: { read($0) / 1_000_000 })
  }

  static func number(
    _ place: String, _ key: String, _ low: Int64, _ high: Int64, step: Int64 = 1,
    _ read: @escaping @Sendable (ProxyConfiguration) -> Int
  ) -> Edge {
    Edge(
      place: place, key: key, low: low, high: high, unit: "", read: { Int64(read($0)) }, step: step)
  }

  static let edges: [Edge] = [
    number("top", "workers", 1, 999) {
      if case .count(let count) = $0.workers { count } else { -1 }
    },
    number("engine", "sqpoll_idle", 1, 60_000) { $0.engineSettings.submissionThreadIdle ?? -1 },
    number("engine", "sqpoll_cpu", 0, 1023) { $0.engineSettings.submissionThreadCPU ?? -1 },
    number("engine", "batch_completions", 1, 4096) { $0.engineSettings.batchCompletions ?? -1 },
    number("engine", "batch_microseconds", 1, 100_000) {
      $0.engineSettings.batchMicroseconds ?? -1
    },
    number("engine", "busy_poll_microseconds", 1, 100_000) {
      $0.engineSettings.busyPollMicroseconds ?? -1
    },
    number("engine", "busy_poll_budget", 1, 64) { $0.engineSettings.busyPollBudget ?? -1 },
    number("engine", "coalesce_microseconds", 0, 10_000) {
      $0.engineSettings.coalesceMicroseconds ?? -1
    },
    milliseconds("downstream", "head", 1, day) { $0.listeners[0].timeouts.headNanoseconds },
    milliseconds("downstream", "body", 1, day) { $0.listeners[0].timeouts.bodyNanoseconds },
    milliseconds("downstream", "idle", 1, day) { $0.listeners[0].timeouts.idleNanoseconds },
    milliseconds("downstream", "keep_alive_ping", 0, day) {
      $0.listeners[0].timeouts.keepAlivePingNanoseconds
    },
    milliseconds("downstream", "keep_alive_ack", 1, day) {
      $0.listeners[0].timeouts.keepAliveAckNanoseconds
    },
    number("server", "weight", 1, 256) { $0.upstreams[0].servers[0].weight },
    number("upstream", "idle_connections", 0, 65536) { $0.upstreams[0].idleConnections },
    number("retries", "attempts", 0, 10) { $0.upstreams[0].retries.attempts },
    milliseconds("timeouts", "connect", 1, 120_000) { $0.upstreams[0].timeouts.connectNanoseconds },
    milliseconds("timeouts", "response", 1, day) { $0.upstreams[0].timeouts.responseNanoseconds },
    milliseconds("timeouts", "idle", 1, day) { $0.upstreams[0].timeouts.idleNanoseconds },
    milliseconds("timeouts", "tunnel", 1, day) { $0.upstreams[0].timeouts.tunnelNanoseconds },
    milliseconds("timeouts", "keep_alive_ping", 0, day) {
      $0.upstreams[0].timeouts.keepAlivePingNanoseconds
    },
    milliseconds("timeouts", "keep_alive_ack", 1, day) {
      $0.upstreams[0].timeouts.keepAliveAckNanoseconds
    },
    milliseconds("audit", "interval", 1, 60_000) { $0.audit?.intervalNanoseconds ?? -1 },
    milliseconds("response", "hold", 0, 1000) { $0.audit?.holdNanoseconds ?? -1 },
    number("segment", "size", 1 << 20, 4 << 30, step: 4096) { $0.audit?.segmentSize ?? -1 },
    milliseconds("segment", "age", 1000, 7 * day) { $0.audit?.segmentAgeNanoseconds ?? -1 },
    number("limits", "connections", 1, 1_048_576) { $0.limits.connections },
    number("limits", "streams", 1, 1_048_576) { $0.limits.streams ?? -1 },
    number("limits", "request_head", 1024, 1 << 20) { $0.limits.requestHead },
    number("limits", "request_target", 256, 64 << 10) { $0.limits.requestTarget },
    number("limits", "request_fields", 8, 1000) { $0.limits.requestFields },
    milliseconds("drain", "deadline", 0, day) { $0.drain.deadlineNanoseconds },
    milliseconds("drain", "tunnels", 0, 30 * day) { $0.drain.tunnelsNanoseconds ?? -1 },
  ]

  @Test("the edges and their inner neighbours are taken as they are", arguments: edges)
  func inside(edge: Edge) throws {
    for value in [edge.low, edge.low + edge.step, edge.high - edge.step, edge.high] {
      let result = load(Self.document(edge, value))
      #expect(result.problems == [])
      #expect(result.configuration.map(edge.read) == value)
    }
  }

  @Test("one below and one above are refused, with the range in the message", arguments: edges)
  func outside(edge: Edge) throws {
    for value in [edge.low - 1, edge.high + 1] {
      let result = load(Self.document(edge, value))
      #expect(result.configuration == nil)
      #expect(result.problems.count == 1)
      let problem = try #require(result.problems.first)
      #expect(problem.location.keyPath.hasSuffix(edge.key))
      // No unit has negative numbers, so -1ms is no duration at all.
      let isNumber = value >= 0 || edge.unit.isEmpty
      #expect(problem.message.hasPrefix(isNumber ? "is \(value)" : "is \"\(value)"), "\(problem)")
      #expect(problem.hint.contains(" from ") && problem.hint.contains(" to "), "\(problem)")
    }
  }

  @Test("every key with a range is in this list")
  func complete() {
    var ranged: Set<String> = []
    for (shape, _) in allShapes {
      for key in shape.keys {
        switch key.value {
        case .integer, .duration, .size: ranged.insert("\(shape.noun).\(key.name)")
        case .either(let values):
          for case .integer in values { ranged.insert("\(shape.noun).\(key.name)") }
        default: break
        }
      }
    }
    #expect(ranged.count == Self.edges.count)
  }

  @Test(
    "units multiply as they say",
    arguments: [
      ("250ms", 250_000_000), ("2s", 2_000_000_000), ("3m", 180_000_000_000),
      ("1h", 3_600_000_000_000), ("0h", 0),
    ] as [(String, Int64)])
  func durations(written: String, nanoseconds: Int64) {
    let it = load(minimal("drain: {deadline: \(written)}")).configuration
    #expect(it?.drain.deadlineNanoseconds == nanoseconds)
  }

  @Test(
    "sizes count in 1024, and without a unit in bytes",
    arguments: [
      ("2048", 2048), ("2048B", 2048), ("16KiB", 16384), ("1MiB", 1_048_576), ("\"2KiB\"", 2048),
    ])
  func sizes(written: String, bytes: Int) {
    #expect(
      load(minimal("limits: {request_head: \(written)}")).configuration?.limits.requestHead == bytes
    )
  }

  @Test(
    "texts hold at their longest",
    arguments: [("name", 128), ("certificate", 4095), ("ca", 4095)])
  func texts(key: String, maximum: Int) {
    func document(_ length: Int) -> String {
      let text = String(repeating: "n", count: length)
      return switch key {
      case "name": minimal(listener: "name: \(text)")
      case "ca": minimal(upstream: "tls: {ca: \(text)}")
      default: minimal(listener: "tls: {certificates: [{certificate: \(text), key: k}]}")
      }
    }
    #expect(lines(document(maximum - 1)) == [])
    #expect(lines(document(maximum)) == [])
    let found = load(document(maximum + 1)).problems
    #expect(found.map(\.message) == ["has \(maximum + 1) bytes, more than \(maximum)"])
  }

  @Test("lists hold at their longest")
  func lists() {
    func document(_ count: Int) -> String {
      let servers = (0..<count).map { "10.0.\($0 / 256).\($0 % 256):80" }.joined(separator: ", ")
      return "listeners: [{address: 127.0.0.1:1}]\nupstreams: {w: {servers: [\(servers)]}}"
    }
    #expect(lines(document(1024)) == [])
    #expect(
      lines(document(1025)) == [
        "upstreams.w.servers (m.yaml:2:26): has 1025 items, more than 1024; keep 1024 or fewer"
      ])
  }
}
