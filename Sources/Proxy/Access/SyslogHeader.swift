// What stands in front of a line as a message of syslog (RFC 5424): priority, version, time, and who says
// it. There is no structured data: the line itself has a form.

import Configuration
import Glibc
import MillraceEngine
import Text

struct SyslogHeader: Sendable, Equatable {
  /// `<190>1 `
  private let opening: [UInt8]
  /// ` host millrace 123 access - `
  private let origin: [UInt8]

  init(_ syslog: SyslogConfiguration) {
    self.init(
      priority: syslog.facility * 8 + syslog.severity, host: HostName.current, tag: syslog.tag,
      process: HostName.process)
  }

  init(priority: Int, host: String, tag: String, process: Int) {
    opening = Array("<\(priority)>1 ".utf8)
    origin = Array(
      " \(Self.name(host, maximum: 255)) \(Self.name(tag, maximum: 48)) \(process) access - ".utf8)
  }

  /// Printable ASCII without spaces, or the nil value (6.2.4, 6.2.5).
  private static func name(_ text: String, maximum: Int) -> String {
    let kept = text.utf8.filter { $0 > 0x20 && $0 < 0x7F }.prefix(maximum)
    return kept.isEmpty ? "-" : String(decoding: kept, as: UTF8.self)
  }

  /// Bytes in front of a line.
  var count: Int { opening.count + Timestamp.length + origin.count }

  /// Writes a message. - Parameters:
  ///   - line: with its newline, which is left out.
  ///   - memory: of `count` and the line's bytes at least.
  /// - Returns: its length.
  func write(
    _ line: UnsafeRawBufferPointer, microseconds: Int64,
    into memory: UnsafeMutableRawBufferPointer
  ) -> Int {
    guard let base = memory.baseAddress else { return 0 }
    var cursor = ByteCursor(base: base, capacity: memory.count)
    opening.withUnsafeBytes { cursor.raw($0) }
    Timestamp.write(microseconds, into: &cursor)
    origin.withUnsafeBytes { cursor.raw($0) }
    cursor.raw(UnsafeRawBufferPointer(rebasing: line.dropLast(line.last == 0x0A ? 1 : 0)))
    return min(cursor.position, memory.count)
  }
}
