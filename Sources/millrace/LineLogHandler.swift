// The log: one line per event on standard error, time and level first, then the message with its
// key=value pairs. Written whole and in order by the line writer's thread.

import Glibc
import Logging
import MillraceEngine
import Synchronization

/// The level of a log, which all copies of its logger share: it can be set while the process runs.
final class SharedLogLevel: Sendable {
  private let place: Atomic<Int>

  init(_ level: Logger.Level) { place = Atomic(Self.place(level)) }

  var level: Logger.Level {
    get {
      let levels = Logger.Level.allCases
      return levels[min(max(0, place.load(ordering: .relaxed)), levels.count - 1)]
    }
    set { place.store(Self.place(newValue), ordering: .relaxed) }
  }

  private static func place(_ level: Logger.Level) -> Int {
    Logger.Level.allCases.firstIndex(of: level) ?? 0
  }
}

struct LineLogHandler: LogHandler {
  let writer: LineWriter
  var metadata: Logger.Metadata = [:]
  private let shared = SharedLogLevel(.info)

  var logLevel: Logger.Level {
    get { shared.level }
    nonmutating set { shared.level = newValue }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    writer.write(Self.line(event.level, "\(event.message)"))
  }

  init(writer: LineWriter) { self.writer = writer }

  private static func line(_ level: Logger.Level, _ message: String) -> [UInt8] {
    Array("\(timestamp()) \(level.rawValue) \(HarmlessText.line(message))\n".utf8)
  }

  /// What the log says once its reader reads again.
  static func lossLine(_ count: Int) -> [UInt8] {
    line(.warning, "log lines dropped count=\(count)")
  }

  /// UTC with milliseconds, RFC 3339.
  private static func timestamp() -> String {
    let wall = SystemClock.wallMicroseconds()
    var seconds = time_t(wall / 1_000_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let milliseconds = Int(wall / 1000 % 1000)
    let fraction = String(String(1000 + milliseconds).dropFirst())
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
      + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(fraction)Z"
  }
}
