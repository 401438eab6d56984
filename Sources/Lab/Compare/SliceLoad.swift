// A load that stays: one `millrace load --slices` for each subject, connected and warm, that does nothing
// until a slice is ordered. Orders and answers go through two named pipes, because a process that the
// comparison starts has no standard input.

import Glibc
import MillraceEngine

final class SliceLoad {
  let process: ChildProcess
  private let orders: Int32
  private let answers: Int32
  /// What was read and is no whole line yet.
  private var pending: [UInt8] = []

  /// - Parameter path: of the pipes and of the log, less their endings.
  init(
    _ tools: LabTools, urls: [String], arguments: [String], path: String
  ) throws(CompareFailure) {
    for end in [".orders", ".answers"] {
      _ = unlink(path + end)
      guard mkfifo(path + end, 0o600) == 0 else { throw Self.failure(path + end) }
    }
    // Open for both directions, so that neither end waits for the other one.
    orders = open(path + ".orders", O_RDWR | O_CLOEXEC)
    answers = open(path + ".answers", O_RDWR | O_NONBLOCK | O_CLOEXEC)
    let failure = orders < 0 || answers < 0 ? Self.failure(path) : nil
    let processors = tools.loadProcessors
    var command = [tools.program, "load"] + urls + arguments + ["--slices", path]
    command += ["--threads", String(processors.count)]
    command += ["--cpus", processors.map(String.init).joined(separator: ","), "--no-progress"]
    do {
      process = try ChildProcess(
        Launch(command: command, output: path + ".log", processors: processors))
    } catch {
      close(orders)
      close(answers)
      throw failure ?? error
    }
    if let failure { throw failure }
  }

  deinit {
    close(orders)
    close(answers)
  }

  private static func failure(_ path: String) -> CompareFailure {
    CompareFailure(
      "cannot make the pipe \(path): \(String(cString: strerror(errno)))",
      hint: "choose a writable directory with --keep")
  }

  func order(_ slice: LoadSlice) {
    let bytes = Array((slice.line + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(orders, $0.baseAddress, $0.count) }
  }

  /// The next line, waited for. - Returns: nil if the load has ended, or says nothing for so long.
  func answer(
    within seconds: Double, _ interruptibleWait: InterruptibleWait
  ) throws(CompareFailure) -> [UInt8]? {
    let end = SystemClock.monotonicNanoseconds() + Int64(seconds * 1e9)
    while true {
      if let line = takeLine() { return line }
      var buffer = [UInt8](repeating: 0, count: 65_536)
      let got = read(answers, &buffer, buffer.count)
      if got > 0 {
        pending += buffer.prefix(got)
        continue
      }
      guard process.isRunning, SystemClock.monotonicNanoseconds() < end else { return nil }
      try interruptibleWait.wait(milliseconds: 1)
    }
  }

  private func takeLine() -> [UInt8]? {
    guard let newline = pending.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
    let line = Array(pending[..<newline])
    pending.removeSubrange(...newline)
    return line
  }
}
