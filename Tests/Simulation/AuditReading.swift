// The audit log as an auditor with a text editor reads it: lines, looked at with code of the
// simulator's own. Whether the chain is whole is for `Verification` to say; this says what is in it.

import MillraceEngine

/// What the log says of one exchange.
struct AuditEntry {
  var path = ""
  var status = 0
  var ending = ""
  var hasExchange = false
  var hasBegin = false
  var hasEnd = false
  var hasAbort = false

  /// The log says how the exchange was to end.
  var isFinished: Bool { hasExchange || hasEnd || hasAbort }
}

struct AuditReading {
  /// By run and exchange.
  private(set) var entries: [String: AuditEntry] = [:]
  /// Entries by the path of their request; request scripts have paths of their own.
  private var byPath: [String: String] = [:]
  private(set) var records = 0
  private(set) var losses = 0
  /// Records of exchanges that do not say whose they were.
  private(set) var nameless = 0
  /// Exchanges without a path, whose request was not understood, by status.
  private(set) var pathless: [Int: Int] = [:]
  /// Entries of one run that are finished.
  private var finishedByRun: [String: Int] = [:]

  init(_ disk: SimulatedDisk, _ directory: String) {
    for name in disk.list(directory) where name.hasSuffix(".jsonl") {
      guard let bytes = disk.contents(directory + "/" + name) else { continue }
      var run = ""
      for line in bytes.split(separator: 10) {
        let text = String(decoding: line, as: UTF8.self)
        if let value = Self.text("run", in: text) { run = value }
        if text.hasPrefix("{\"seq\":") { read(text, run) }
      }
    }
    for (key, entry) in entries where entry.isFinished {
      finishedByRun[String(key.prefix { $0 != "/" }), default: 0] += 1
      if entry.hasExchange && entry.path.isEmpty { pathless[entry.status, default: 0] += 1 }
    }
  }

  private mutating func read(_ line: String, _ run: String) {
    records += 1
    guard let kind = Self.text("kind", in: line) else { return }
    if kind == "loss" { losses += 1 }
    if Self.text("client", in: line) == "" { nameless += 1 }
    guard let id = Self.text("id", in: line) else { return }
    let key = run + "/" + id
    var entry = entries[key] ?? AuditEntry()
    switch kind {
    case "exchange": entry.hasExchange = true
    case "begin": entry.hasBegin = true
    case "end": entry.hasEnd = true
    case "abort": entry.hasAbort = true
    default: break
    }
    if let path = Self.text("path", in: line) {
      entry.path = path
      byPath[path] = key
    }
    if let status = Self.number("status", in: line) { entry.status = status }
    if let ending = Self.text("ending", in: line) { entry.ending = ending }
    entries[key] = entry
  }

  func entry(path: String) -> AuditEntry? { byPath[path].flatMap { entries[$0] } }
  func finished(run: String) -> Int { finishedByRun[run] ?? 0 }

  private static func text(_ name: String, in line: String) -> String? {
    guard let range = find("\"\(name)\":\"", line) else { return nil }
    return String(line[range...].prefix { $0 != "\"" })
  }

  private static func number(_ name: String, in line: String) -> Int? {
    guard let range = find("\"\(name)\":", line) else { return nil }
    return Int(line[range...].prefix { $0.isNumber })
  }

  /// Where `needle` ends in `line`.
  private static func find(_ needle: String, _ line: String) -> String.Index? {
    let (line8, needle8) = (line.utf8, Array(needle.utf8))
    var at = line8.startIndex
    while let hit = line8[at...].firstIndex(of: needle8[0]) {
      if line8[hit...].starts(with: needle8) { return line8.index(hit, offsetBy: needle8.count) }
      at = line8.index(after: hit)
    }
    return nil
  }
}
