// `millrace top`: a live view of a running proxy in a terminal; on a pipe, a line for each interval.

import Admin
import ArgumentParser
import Glibc
import MillraceEngine

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Shows live what a running proxy does.",
    discussion: """
      In a terminal: s changes the order of the servers, / filters them by name, p pauses, q quits. \
      If the output is not a terminal, each interval is a line of key=value pairs.

      Exit status: 0 ended by q, --count or a signal, 2 no proxy answers or invalid address, 64 \
      invalid command-line arguments.
      """,
    version: Version.text)

  @OptionGroup var place: AdminAddressOptions

  @Option(name: .shortAndLong, help: "Interval in seconds, 0.1 to 3600 (default 1).")
  var interval: Double = 1

  @Option(
    name: [.customShort("n"), .long], help: "Number of intervals, then end (default: until q).")
  var count: Int?

  func validate() throws {
    guard interval >= 0.1, interval <= 3600 else {
      throw ValidationError("--interval must be from 0.1 to 3600")
    }
    if let count, count < 1 { throw ValidationError("--count must be 1 or more") }
  }

  mutating func run() throws {
    // The terminal is put back as it was found, however this ends; who reads along may have read enough.
    let signals = SignalWaiter(blocking: [SIGINT, SIGTERM, SIGHUP, SIGQUIT])
    let client = try place.client()
    var before = try status(client)
    let terminal = isatty(1) == 1 && isatty(0) == 1 ? Terminal() : nil
    defer { terminal?.restore() }
    var view = TopView()
    var shown = StatusInterval(from: nil, to: before)
    var left = count ?? .max
    while left > 0 {
      terminal?.show(view, shown)
      if let terminal {
        guard wait(terminal, signals, &view, shown) else { return }
      } else if signals.wait(nanoseconds: Int64(interval * 1e9)) != nil {
        return
      }
      if view.isPaused { continue }
      let now: JSONValue
      do {
        now = try status(client)
      } catch {
        terminal?.restore()
        throw error
      }
      shown = StatusInterval(from: before, to: now)
      before = now
      left -= 1
      if terminal == nil, !printLine(TopView.line(shown, time: Self.time())) { return }
    }
    terminal?.show(view, shown)
  }

  private func status(_ client: AdminClient) throws -> JSONValue {
    do throws(AdminClientFailure) {
      let response = try client.get("/status")
      if response.status == 200, let status = JSONValue(parsing: response.content) { return status }
      throw AdminClientFailure(
        description: "the admin server answers with status \(response.status)")
    } catch {
      Reporting.print("millrace top: \(error.description); \(error.hint)")
      throw ExitCode(2)
    }
  }

  /// Waits for the interval, and does what keys ask for. - Returns: false to quit.
  private func wait(
    _ terminal: Terminal, _ signals: SignalWaiter, _ view: inout TopView, _ shown: StatusInterval
  ) -> Bool {
    let end = SystemClock.monotonicNanoseconds() + Int64(interval * 1e9)
    while true {
      let left = end - SystemClock.monotonicNanoseconds()
      guard left > 0 else { return true }
      if signals.wait(nanoseconds: 0) != nil { return false }
      // A signal is noticed within this time.
      guard let key = terminal.key(milliseconds: min(100, Int32(clamping: left / 1_000_000 + 1)))
      else {
        continue
      }
      guard press(key, &view) else { return false }
      terminal.show(view, shown)
    }
  }

  /// - Returns: false to quit.
  private func press(_ key: UInt8, _ view: inout TopView) -> Bool {
    guard !view.isTyping else {
      switch key {
      case 13, 10: view.isTyping = false
      case 27:
        view.isTyping = false
        view.filter = ""
      case 8, 127: _ = view.filter.popLast()
      case 3: return false
      case 0x20...0x7E where view.filter.count < 60:
        view.filter.append(Character(Unicode.Scalar(key)))
      default: break
      }
      return true
    }
    switch key {
    case UInt8(ascii: "q"), 3: return false
    case UInt8(ascii: "s"): view.sort = view.sort.next
    case UInt8(ascii: "/"), UInt8(ascii: "f"): view.isTyping = true
    case UInt8(ascii: "p"): view.isPaused.toggle()
    default: break
    }
    return true
  }

  /// - Returns: false once nobody reads.
  private func printLine(_ line: String) -> Bool {
    let bytes = Array((HarmlessText.line(line) + "\n").utf8)
    return bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) } == bytes.count
  }

  /// UTC, RFC 3339.
  private static func time() -> String {
    var seconds = time_t(SystemClock.wallMicroseconds() / 1_000_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
      + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
  }
}

/// The terminal, as it was found and as the view wants it: no echo, keys at once, a screen of its own.
private final class Terminal {
  private var found = termios()
  private var isChanged = false

  init() {
    guard tcgetattr(0, &found) == 0 else { return }
    var raw = found
    raw.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
    guard tcsetattr(0, TCSANOW, &raw) == 0 else { return }
    isChanged = true
    put("\u{1B}[?1049h\u{1B}[?25l")
  }

  func restore() {
    guard isChanged else { return }
    isChanged = false
    put("\u{1B}[?25h\u{1B}[?1049l")
    _ = tcsetattr(0, TCSANOW, &found)
  }

  /// Columns and lines.
  private var size: (Int, Int) {
    var size = winsize()
    guard ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
      return (80, 24)
    }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  func show(_ view: TopView, _ interval: StatusInterval) {
    let (width, height) = size
    let lines = view.lines(interval, width: width, height: height)
    // Each line is cleared to its end, so that nothing flickers.
    let text = lines.map { HarmlessText.line($0) + "\u{1B}[K" }.joined(separator: "\r\n")
    put("\u{1B}[H" + text + "\u{1B}[J")
  }

  /// The next key; nil when the time is over. The end of the input is a q.
  func key(milliseconds: Int32) -> UInt8? {
    var wanted = pollfd(fd: 0, events: Int16(POLLIN), revents: 0)
    guard poll(&wanted, 1, milliseconds) > 0 else { return nil }
    var key: UInt8 = 0
    return read(0, &key, 1) == 1 ? key : UInt8(ascii: "q")
  }

  private func put(_ text: String) {
    let bytes = Array(text.utf8)
    var at = 0
    bytes.withUnsafeBytes { bytes in
      while at < bytes.count {
        let count = write(1, bytes.baseAddress.map { $0 + at }, bytes.count - at)
        if count <= 0 { return }
        at += count
      }
    }
  }
}
