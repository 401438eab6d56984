// `millrace audit cat` and `millrace audit tail`: the log's records as one stream, for jq or for a
// person. Both end in order when the pipe that they write to is closed.

import ArgumentParser
import AuditLog
import Glibc
import MillraceEngine

/// What both commands take.
struct AuditReadingOptions: ParsableArguments {
  enum Format: String, ExpressibleByArgument, CaseIterable {
    case json, text
  }

  @Argument(help: "Audit directory.")
  var directory: String

  @Option(help: "Output format: json (JSON Lines) or text (default text on a terminal, else json).")
  var format: Format?

  @Flag(inversion: .prefixedNo, help: "Join begin and end records of one exchange.")
  var join = true

  var isText: Bool { (format ?? (isatty(1) == 1 ? .text : .json)) == .text }

  func open(lines: Int? = nil) throws -> LogReader {
    // A closed pipe is told by write(2) and is no failure.
    signal(SIGPIPE, SIG_IGN)
    let reader: LogReader
    do throws(Errno) {
      reader = try LogReader(directory: directory, joins: join, lines: lines)
    } catch {
      throw Audit.fail(error)
    }
    if !reader.hasLog { throw Audit.noLog(directory) }
    return reader
  }
}

/// Standard output in large writes.
struct AuditOutput {
  private static let flushSize = 64 << 10
  private let isText: Bool
  private var bytes: [UInt8] = []

  init(_ options: AuditReadingOptions) { isText = options.isText }

  mutating func write(_ line: LogLine) throws {
    if isText { bytes += line.text.utf8 } else { bytes += line.safeJSON }
    bytes.append(0x0A)
    if bytes.count >= Self.flushSize { try flush() }
  }

  mutating func flush() throws {
    defer { bytes.removeAll(keepingCapacity: true) }
    guard !bytes.isEmpty, !OutputFile.writeStandard(bytes) else { return }
    // The reader of the pipe has ended, such as head(1).
    if errno == EPIPE { throw ExitCode(0) }
    Reporting.print("cannot write standard output: \(String(cString: strerror(errno)))")
    throw ExitCode(1)
  }

  /// What was left out, on standard error.
  func tell(_ reader: LogReader) {
    for notice in reader.takeNotices() { Reporting.print(notice) }
  }
}

extension Audit {
  struct Cat: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints the records of all workers in chronological order.",
      discussion: """
        Prints committed records only: no seals, no segment headers, no unused space. A streamed \
        exchange has a begin and an end record; they become one object of kind "exchange" with the \
        members of both (begin and abort: one of kind "abort"). An exchange that has not ended is \
        printed last, as its begin record. This does not verify the log: see millrace audit verify.

        Exit status: 0 complete; 1 damaged records were skipped, or the output cannot be written; 2 no \
        audit log in the directory, or it cannot be read.
        """,
      version: Version.text)

    @OptionGroup var options: AuditReadingOptions

    mutating func run() throws {
      let reader = try options.open()
      var output = AuditOutput(options)
      do {
        try reader.poll()
        while let line = try reader.next() { try output.write(line) }
        for line in reader.takeUnfinished() { try output.write(line) }
        try output.flush()
      } catch let error as Errno {
        throw Audit.fail(error)
      }
      output.tell(reader)
      if reader.damages > 0 { throw ExitCode(1) }
    }
  }

  struct Tail: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints the last records, and with -f new ones as they are written.",
      discussion: """
        Prints the end of the output of millrace audit cat. With -f it continues across rotation, \
        restarts and new workers until SIGINT or SIGTERM, or until its output is closed.

        Exit status: as millrace audit cat; 0 after a signal.
        """,
      version: Version.text)

    @Option(name: [.customShort("n"), .long], help: "Number of records.")
    var lines = 10

    @Flag(name: .shortAndLong, help: "Wait for new records.")
    var follow = false

    @OptionGroup var options: AuditReadingOptions

    /// What is kept of the end until it is printed.
    private static let linesMaximum = 100_000

    mutating func validate() throws {
      if !(0...Self.linesMaximum).contains(lines) {
        throw ValidationError("--lines is \(lines): write 0 to \(Self.linesMaximum)")
      }
    }

    mutating func run() throws {
      let reader = try options.open(lines: lines)
      var output = AuditOutput(options)
      // Before the first line, so that a signal never cuts one.
      let interruption = follow ? Interruption {} : nil
      do {
        for line in try last(reader) { try output.write(line) }
        try output.flush()
        output.tell(reader)
        if let interruption { try follow(reader, &output, interruption) }
      } catch let error as Errno {
        throw Audit.fail(error)
      }
      if reader.damages > 0 && !follow { throw ExitCode(1) }
    }

    /// The last lines of what is there now.
    private func last(_ reader: LogReader) throws -> [LogLine] {
      var kept: [LogLine] = []
      try reader.poll()
      while let line = try reader.next() {
        kept.append(line)
        // In batches: to remove one at a time would move all of them for each line.
        if kept.count >= 2 * lines + 1_000 { kept.removeFirst(kept.count - lines) }
      }
      if !follow { kept += reader.takeUnfinished() }
      return Array(kept.suffix(lines))
    }

    private func follow(
      _ reader: LogReader, _ output: inout AuditOutput, _ interruption: Interruption
    ) throws {
      while !interruption.hasCome {
        try reader.poll()
        while let line = try reader.next() { try output.write(line) }
        try output.flush()
        output.tell(reader)
        // Also how a closed pipe is noticed while nothing is written.
        var standard = pollfd(fd: 1, events: 0, revents: 0)
        if Glibc.poll(&standard, 1, Self.lookMilliseconds) > 0 { return }
      }
    }

    /// Between two looks: short to a person, and nothing to the machine.
    private static let lookMilliseconds: Int32 = 100
  }
}
