// What a script made an engine say, written so that two engines that keep the contract write the
// same: per operation, not per completion, in causal order only. What may differ is normalised here
// and nowhere else, so that this file is the whole list of it.

import CLinux
import Glibc
import MillraceEngine
import Synchronization
import Testing

/// The operations of one engine, as they were asked for and as they ended.
final class Transcript {
  enum Operation: String {
    case listen, accept, acceptOne, connect, receive, receiveOnce, send, sendZeroCopy, shutdown
    case close, splice, pipe, relay
    case bindDatagrams, receiveDatagrams, sendDatagram
    case open, status, read, write, synchronize, allocate, truncate, rename, unlink, closeFile
    case timeout, nop, poll, post
    /// What nobody here asked for: a message of another engine.
    case message
  }

  private struct Entry {
    let label: String
    var operation = Operation.message
    var results: [String] = []
    var bytes: [UInt8] = []
    var moved = 0
  }

  private var entries: [UInt64: Entry] = [:]
  private var races: Set<UInt64> = []
  private var thrown: [String] = []
  /// True once anything has failed: a negative result, a throw, a refusal.
  private(set) var hasFailure = false

  /// A token exists, made at this place of the script.
  func made(_ token: Token, _ label: String) {
    entries[token.rawValue] = Entry(label: label)
  }

  func began(_ operation: Operation, _ token: Token) {
    entries[token.rawValue, default: Entry(label: "token \(token.rawValue)")].operation = operation
  }

  /// Runs a call that may throw and notes what.
  func thrown<R>(_ operation: Operation, _ body: () throws -> R) throws -> R {
    do {
      return try body()
    } catch {
      hasFailure = true
      let code = (error as? SystemFailure)?.code ?? 0
      thrown.append("\(operation.rawValue) throws \(code)")
      throw error
    }
  }

  /// The script knows that either of two sides may win here: a cancellation, or what it cancels.
  func mayRace(_ token: Token) { races.insert(token.rawValue) }

  func noteFailure() { hasFailure = true }

  func note(_ bytes: [UInt8], _ token: Token) { entries[token.rawValue]?.bytes += bytes }

  func note(_ result: Int32, isTerminal: Bool, _ token: Token) {
    let key = token.rawValue
    var entry = entries.removeValue(forKey: key) ?? Entry(label: "token \(key)")
    if result < 0 { hasFailure = true }
    if let word = Self.word(result, isTerminal, entry.operation, mayRace: races.contains(key)) {
      entry.results.append(word)
    } else {
      entry.moved += Int(result)
    }
    entries[key] = entry
  }

  /// What is left of a result after taking away what may differ; nil for a count of bytes that
  /// adds up over the completions.
  private static func word(
    _ result: Int32, _ isTerminal: Bool, _ operation: Operation, mayRace: Bool
  ) -> String? {
    if mayRace && (result >= 0 || result == -ECANCELED) { return "raced" }
    switch operation {
    case .accept, .acceptOne, .open:
      // The number of a descriptor is the process's affair.
      return result > 0 ? "descriptor" : "\(result)"
    case .relay:
      // How many bytes per completion is a matter of pace; an end is an end at any of them.
      return result >= 0 ? nil : broken(result)
    case .send, .sendZeroCopy:
      // A reset connection: which of the two errors depends on who looked first. Whether the
      // kernel copied is said and may differ.
      return operation == .sendZeroCopy && isTerminal && result >= 0 ? "free" : broken(result)
    default:
      return "\(result)"
    }
  }

  private static func broken(_ result: Int32) -> String {
    result == -EPIPE || result == -ECONNRESET ? "broken" : "\(result)"
  }

  /// One line per place of the script that asked for operations of a kind, in alphabetical order:
  /// the bytes of all of them in the order of asking, and their results. How many receives a stream
  /// took is a matter of pace, so equal neighbours count once there.
  var lines: [String] {
    var groups: [String: (bytes: [UInt8], moved: Int, results: [String])] = [:]
    for (_, entry) in entries.sorted(by: { $0.key < $1.key }) {
      let key = "\(entry.label) \(entry.operation.rawValue)"
      let isReceive = entry.operation == .receive || entry.operation == .receiveOnce
      groups[key, default: ([], 0, [])].bytes += entry.bytes
      groups[key]!.moved += entry.moved
      for word in entry.results where !isReceive || groups[key]!.results.last != word {
        groups[key]!.results.append(word)
      }
    }
    return groups.map { key, group in
      var line = key
      if !group.bytes.isEmpty { line += ", \(group.bytes.count) bytes \(Self.hash(group.bytes))" }
      if group.moved > 0 { line += ", moved \(group.moved)" }
      return line + ": " + Self.collapsed(group.results)
    }.sorted() + thrown
  }

  private static func collapsed(_ words: [String]) -> String {
    var runs: [(word: String, count: Int)] = []
    for word in words {
      if runs.last?.word == word { runs[runs.count - 1].count += 1 } else { runs.append((word, 1)) }
    }
    return runs.map { $0.count == 1 ? $0.word : "\($0.word) ×\($0.count)" }.joined(separator: ", ")
  }

  /// FNV-1a.
  private static func hash(_ bytes: [UInt8]) -> String {
    var sum: UInt64 = 14_695_981_039_346_656_037
    for byte in bytes { sum = (sum ^ UInt64(byte)) &* 1_099_511_628_211 }
    return String(sum, radix: 16)
  }
}

/// Every transcript of this run, so that the engines can be compared whichever came first. A script
/// is known by where it stands and by how often it has run on this engine: tests run one after the
/// other, with the same arguments in the same order on each.
enum Transcripts {
  private struct Key: Hashable {
    let place: String
    let run: Int
  }

  private struct State {
    var runs: [String: Int] = [:]
    var first: [Key: (kind: EngineKind, lines: [String])] = [:]
    var compared = 0
  }

  private static let state = Mutex(State())

  static var scripts: Int { state.withLock { $0.first.count } }
  static var compared: Int { state.withLock { $0.compared } }

  /// Keeps a transcript, or compares it with the one that was first.
  static func add(_ transcript: Transcript, _ kind: EngineKind, at location: SourceLocation) {
    let lines = transcript.lines
    let place = "\(location.fileID):\(location.line):\(location.column)"
    let other = state.withLock { state -> (kind: EngineKind, lines: [String])? in
      let key = Key(place: place, run: state.runs["\(place) \(kind)", default: 0])
      state.runs["\(place) \(kind)", default: 0] += 1
      guard let first = state.first[key] else {
        state.first[key] = (kind, lines)
        return nil
      }
      state.compared += 1
      return first
    }
    guard let other, other.lines != lines else { return }
    let missing = other.lines.filter { !lines.contains($0) }.prefix(4)
    let added = lines.filter { !other.lines.contains($0) }.prefix(4)
    Issue.record(
      "\(kind.rawValue) says \(Array(added)) where \(other.kind.rawValue) says \(Array(missing))",
      sourceLocation: location)
  }
}
