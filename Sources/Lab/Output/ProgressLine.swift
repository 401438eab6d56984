// The course of a run while it lasts: on a terminal one line that is redrawn, elsewhere one line per
// second. It writes to standard error, so that results can be piped.

import Glibc

/// Shows how a run goes.
public final class ProgressLine {
  public enum Style: Sendable { case redrawn, lines, none }

  private let descriptor: Int32
  private let style: Style
  private var nextLine: Int64 = 0
  private var isDrawn = false

  /// - Parameter style: nil: redrawn on a terminal that can, otherwise lines.
  public init(descriptor: Int32 = 2, style: Style? = nil) {
    self.descriptor = descriptor
    let canRedraw = isatty(descriptor) == 1 && getenv("TERM").map { String(cString: $0) } != "dumb"
    self.style = style ?? (canRedraw ? .redrawn : .lines)
  }

  /// Columns of the terminal; 80 where it does not say.
  private var width: Int {
    var size = winsize()
    return ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
      ? Int(size.ws_col) : 80
  }

  public func show(_ snapshot: LoadSnapshot) {
    switch style {
    case .none: return
    case .redrawn:
      isDrawn = true
      // To the line's start, the text, and whatever an earlier, longer one left behind.
      write("\r" + Self.text(snapshot, width: width - 1) + "\u{1B}[K")
    case .lines:
      guard snapshot.elapsedNanoseconds >= nextLine else { return }
      nextLine = (snapshot.elapsedNanoseconds / 1_000_000_000 + 1) * 1_000_000_000
      write(Self.text(snapshot, width: 200) + "\n")
    }
  }

  /// Removes the redrawn line.
  public func finish() {
    guard isDrawn else { return }
    isDrawn = false
    write("\r\u{1B}[K")
  }

  /// What fits: the parts in the order of their importance.
  static func text(_ s: LoadSnapshot, width: Int) -> String {
    let left = Figures.decimals(Double(s.nanosecondsLeft) / 1e9, 0) + " s left"
    let parts = [
      s.phase == .counting ? "running" : s.phase.rawValue, left, "\(Figures.rate(s.rate))/s",
      "p99 \(Figures.time(s.p99))",
      "\(Figures.grouped(s.failed)) failed", "p50 \(Figures.time(s.p50))",
      "\(Figures.grouped(s.completed)) done",
    ]
    var text = ""
    for part in parts {
      let next = text.isEmpty ? part : text + "  " + part
      guard next.count <= width else { break }
      text = next
    }
    return text
  }

  private func write(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress!, $0.count) }
      // A closed pipe or a full disk: the run goes on without an audience.
      guard written > 0 else { return }
      bytes = bytes.dropFirst(written)
    }
  }
}
