// A log turned into a load: what was asked, and when, from Millrace's audit log or from an access log of
// nginx. It sends nothing of what a log does not hold (fields, content): methods that carry content
// get content of the logged length where the log has one.

import FoundationEssentials
import Glibc

/// The requests of a log.
public struct ReplayLog: Sendable {
  public enum Format: String, Sendable {
    case audit = "audit log"
    case json = "JSON access log"
    case combined = "combined access log"
  }

  public var format: Format
  public var templates: [RequestTemplate]
  public var schedule: LoadSchedule
  /// Lines that cannot be sent again, by why.
  public var skipped: [String: Int]
  /// Whether the log tells times by the second only, so that its requests were spread over each.
  public var hasSecondsOnly: Bool

  public struct ParseError: Error, Sendable, Equatable, CustomStringConvertible {
    public var message: String
    public var hint: String
    public var description: String { "\(message); \(hint)" }
  }

  /// Different requests that are told apart; each takes some 700 bytes, and 400 on each thread.
  static let templatesMaximum = 1_000_000
  /// A replay takes no longer than a year, in nanoseconds: what does has a wrong time in it, or a wrong
  /// speed, and three times as much still fits into an Int64.
  static let spanMaximum = 366.0 * 86_400 * 1e9
  /// Lines that are looked at for a log's format: the first ones may be somebody's garbage, or half of
  /// what was cut off when the log was rotated.
  static let formatLines = 100

  /// Reads a log.
  /// - Parameters:
  ///   - path: a file, or the directory of an audit log.
  ///   - speed: 2: twice as fast as it was.
  public static func load(_ path: String, speed: Double) throws(ParseError) -> ReplayLog {
    guard speed > 0, speed.isFinite else {
      throw ParseError(
        message: "a log cannot be replayed at \(speed) times its speed", hint: "use 1")
    }
    var reader = Reading()
    for file in try files(path) {
      guard let data = FileManager.default.contents(atPath: file) else {
        throw ParseError(
          message: "cannot read \(file)", hint: "make sure that it exists and is readable")
      }
      try reader.take([UInt8](data), file)
    }
    return try reader.finish(path, speed)
  }

  private static func files(_ path: String) throws(ParseError) -> [String] {
    var isDirectory = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
      throw ParseError(
        message: "\(path) does not exist",
        hint: "write the path of a log or of an audit log's directory")
    }
    guard isDirectory else { return [path] }
    let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    let segments = names.filter { $0.hasSuffix(".jsonl") }.sorted()
    guard !segments.isEmpty else {
      throw ParseError(
        message: "\(path) contains no audit log segments (*.jsonl)",
        hint: "choose another directory")
    }
    return segments.map { path + "/" + $0 }
  }
}

/// One request of a log.
struct LoggedRequest {
  /// Nanoseconds since the epoch.
  var time: Int64
  var method: String
  var target: String
  /// Bytes of content, where the log knows them.
  var contentLength: Int
}

private struct Reading {
  private var format: ReplayLog.Format?
  /// Lines that came before one that told the format.
  private var undecided: [ArraySlice<UInt8>] = []
  private var requests: [LoggedRequest] = []
  private var skipped: [String: Int] = [:]

  mutating func take(_ bytes: [UInt8], _ file: String) throws(ReplayLog.ParseError) {
    for line in bytes.split(separator: UInt8(ascii: "\n")) where line.contains(where: { $0 > 0x20 })
    {
      if let format {
        take(line, format)
        continue
      }
      undecided.append(line)
      format = Self.format(of: line)
      if let format {
        for line in undecided { take(line, format) }
        undecided = []
      } else if undecided.count == ReplayLog.formatLines {
        throw Self.isNone(file)
      }
    }
  }

  private mutating func take(_ line: ArraySlice<UInt8>, _ format: ReplayLog.Format) {
    do throws(LogLine.Skip) {
      let found: LoggedRequest? =
        switch format {
        case .audit: try LogLine.audit(line)
        case .json: try LogLine.json(line)
        case .combined: try LogLine.combined(line)
        }
      if let found { requests.append(found) }
    } catch {
      skipped[error.reason, default: 0] += 1
    }
  }

  /// The format that a line tells; nil: it tells none.
  private static func format(of line: ArraySlice<UInt8>) -> ReplayLog.Format? {
    if line.first == UInt8(ascii: "{") {
      return String(decoding: line.prefix(200), as: UTF8.self).contains("\"kind\":")
        ? .audit : .json
    }
    return LogLine.isCombined(line) ? .combined : nil
  }

  private static func isNone(_ file: String) -> ReplayLog.ParseError {
    ReplayLog.ParseError(
      message: "\(file) is not a supported log: none of its first lines is JSON or in"
        + " nginx's combined format",
      hint: "use a Millrace audit log or an nginx access log")
  }

  mutating func finish(_ path: String, _ speed: Double) throws(ReplayLog.ParseError) -> ReplayLog {
    if format == nil && !undecided.isEmpty { throw Self.isNone(path) }
    guard let format, !requests.isEmpty else {
      let why = skipped.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
      throw ReplayLog.ParseError(
        message: "\(path) contains no request that can be replayed"
          + (why.isEmpty ? "" : " (\(why.joined(separator: ", ")))"),
        hint: "choose another log")
    }
    // Stable: the order of lines decides between equal times.
    let order = requests.indices.sorted { (requests[$0].time, $0) < (requests[$1].time, $1) }
    requests = order.map { requests[$0] }
    let hasSecondsOnly = requests.allSatisfy { $0.time % 1_000_000_000 == 0 }
    if hasSecondsOnly { spread() }
    return try schedule(format, speed, hasSecondsOnly)
  }

  /// Spreads the requests of each second evenly over it.
  private mutating func spread() {
    var at = 0
    while at < requests.count {
      var end = at
      while end < requests.count && requests[end].time == requests[at].time { end += 1 }
      let gap = 1_000_000_000 / Int64(end - at)
      for i in at..<end { requests[i].time += Int64(i - at) * gap }
      at = end
    }
  }

  private func schedule(
    _ format: ReplayLog.Format, _ speed: Double, _ hasSecondsOnly: Bool
  ) throws(ReplayLog.ParseError) -> ReplayLog {
    struct Key: Hashable {
      var method: String
      var target: String
      var length: Int
    }
    var templates: [RequestTemplate] = []
    var known: [Key: UInt32] = [:]
    var sendTimes: [Int64] = []
    var chosen: [UInt32] = []
    let start = requests[0].time
    let span = Double(requests[requests.count - 1].time - start) / speed
    guard span <= ReplayLog.spanMaximum else {
      throw ReplayLog.ParseError(
        message: "the log would take \(Int(min(span / 86_400e9, 1e15))) days at this speed",
        hint: "replay a part of it, raise --speed, or remove the lines with wrong times")
    }
    for request in requests {
      let key = Key(method: request.method, target: request.target, length: request.contentLength)
      if known[key] == nil {
        guard templates.count < ReplayLog.templatesMaximum else {
          throw ReplayLog.ParseError(
            message: "the log has more than \(ReplayLog.templatesMaximum) distinct requests",
            hint: "replay a part of it")
        }
        known[key] = UInt32(templates.count)
        var template = RequestTemplate(name: "\(request.method) \(request.target)")
        template.method = request.method
        template.target = request.target
        template.content = [UInt8](repeating: UInt8(ascii: "x"), count: request.contentLength)
        templates.append(template)
      }
      sendTimes.append(Int64(Double(request.time - start) / speed))
      chosen.append(known[key]!)
    }
    return ReplayLog(
      format: format, templates: templates,
      schedule: LoadSchedule(sendTimes: sendTimes, templates: chosen), skipped: skipped,
      hasSecondsOnly: hasSecondsOnly)
  }
}
