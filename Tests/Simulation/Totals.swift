// What has happened over all runs: the proof, for whoever reads a report, that the population did
// what it is there for.

struct Totals: Equatable {
  var seeds = 0
  var runs = 0
  var gentle = 0
  var connections = 0
  var originConnections = 0
  var requests = 0
  var arrivals = 0
  var retries = 0
  var responses = 0
  var interims = 0
  var refusals: [String: Int] = [:]
  var cuts = 0
  var resets = 0
  var refused = 0
  var tlsFailures = 0
  var clientFaults = 0
  var attacks = 0
  var keyUpdates = 0
  var bytes = 0
  var records = 0
  var torn = 0
  var crashes = 0
  var drains = 0
  var troubles = 0
  var handshakes = 0
  var resumptions = 0
  var streamConnections = 0
  var originStreamConnections = 0
  var streamRequests = 0
  var streamArrivals = 0
  var streamResets = 0
  var streamRefusals = 0
  var goAways = 0
  var disowned = 0
  var streamAttacks = 0
  var turns = 0
  var virtualSeconds = 0

  static let names: [(String, any WritableKeyPath<Totals, Int> & Sendable)] = [
    ("seeds", \.seeds), ("runs", \.runs), ("gentle", \.gentle), ("drains", \.drains),
    ("crashes", \.crashes), ("disk_troubles", \.troubles), ("connections", \.connections),
    ("connections_refused", \.refused), ("origin_connections", \.originConnections),
    ("requests", \.requests), ("arrivals", \.arrivals), ("retries", \.retries),
    ("responses", \.responses), ("interims", \.interims), ("cuts", \.cuts), ("resets", \.resets),
    ("client_faults", \.clientFaults), ("attacks", \.attacks), ("key_updates", \.keyUpdates),
    ("tls_handshakes", \.handshakes),
    ("tls_resumptions", \.resumptions), ("tls_failures", \.tlsFailures),
    ("content_bytes", \.bytes), ("records", \.records), ("torn_tails", \.torn),
    ("http2_connections", \.streamConnections),
    ("http2_origin_connections", \.originStreamConnections),
    ("http2_requests", \.streamRequests),
    ("http2_arrivals", \.streamArrivals),
    ("http2_resets", \.streamResets),
    ("http2_refused_streams", \.streamRefusals),
    ("origin_goaways", \.goAways),
    ("unprocessed", \.disowned),
    ("http2_attacks", \.streamAttacks),
    ("turns", \.turns), ("virtual_seconds", \.virtualSeconds),
  ]

  static func += (left: inout Totals, right: Totals) {
    for (_, path) in names { left[keyPath: path] += right[keyPath: path] }
    for (label, count) in right.refusals { left.refusals[label, default: 0] += count }
  }

  /// `name=value`, and the proxy's own answers as `refused.label=value`.
  var words: [String] {
    Self.names.map { "\($0.0)=\(self[keyPath: $0.1])" }
      + refusals.sorted { $0.key < $1.key }.map { "refused.\($0.key)=\($0.value)" }
  }

  init() {}

  /// Reads what `words` wrote.
  init(words: [Substring]) {
    for word in words {
      let parts = word.split(separator: "=")
      guard parts.count == 2, let value = Int(parts[1]) else { continue }
      if let entry = Self.names.first(where: { $0.0 == parts[0] }) {
        self[keyPath: entry.1] = value
      } else if parts[0].hasPrefix("refused.") {
        refusals[String(parts[0].dropFirst(8))] = value
      }
    }
  }
}
