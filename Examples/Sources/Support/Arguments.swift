// The command lines of the examples: `--name value` options and plain words, with errors that a person
// can use. An example says what it takes; whatever else is given is refused.

import Glibc
public import MillraceEngine

/// A command line, parsed.
public struct Arguments {
  private var values: [String: String] = [:]
  /// What came without a name, in order.
  public private(set) var words: [String] = []
  private let usage: String

  /// Parses the process's command line; ends it with status 64 where it is wrong, and with status 0
  /// after `--help`. `--engine` is always an option.
  /// - Parameters:
  ///   - usage: said after an error and for `--help`.
  ///   - options: names with a value.
  ///   - flags: names without one.
  ///   - words: how many words without a name are expected.
  public init(usage: String, options: [String], flags: [String] = [], words: Int = 0) {
    self.usage =
      "usage: " + usage + "\n       --engine io_uring|epoll|auto (auto: what works here)\n"
    var rest = CommandLine.arguments.dropFirst()
    while let word = rest.popFirst() {
      guard word.hasPrefix("--") else {
        self.words.append(word)
        continue
      }
      let name = String(word.dropFirst(2))
      if name == "help" {
        print(self.usage, terminator: "")
        exit(0)
      } else if flags.contains(name) {
        values[name] = "yes"
      } else if options.contains(name) || name == "engine" {
        guard let value = rest.popFirst() else { fail("--\(name) needs a value") }
        values[name] = value
      } else {
        fail("there is no option \(word)")
      }
    }
    guard self.words.count == words else {
      fail("\(words) words are expected beside the options, and \(self.words.count) were given")
    }
  }

  /// Whether a flag was given.
  public func has(_ name: String) -> Bool { values[name] != nil }

  /// The value of an option, or what it is by default.
  public func text(_ name: String, default fallback: String) -> String { values[name] ?? fallback }

  /// The number of an option in a range, or what it is by default.
  public func number(_ name: String, default fallback: Int, in range: ClosedRange<Int>) -> Int {
    guard let text = values[name] else { return fallback }
    guard let number = Int(text), range.contains(number) else {
      fail(
        "--\(name) \(text): a number from \(range.lowerBound) to \(range.upperBound) is expected")
    }
    return number
  }

  /// The address of `--listen`, as HOST:PORT or [HOST]:PORT.
  public func address(_ name: String, default fallback: String) -> SocketAddress {
    let text = values[name] ?? fallback
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else { fail("--\(name) \(text): HOST:PORT is expected") }
    let host = text[..<colon].drop { $0 == "[" }.prefix { $0 != "]" }
    do {
      return try SocketAddress.resolve(host: String(host), port: port)[0]
    } catch {
      fail("--\(name) \(text): \(error)")
    }
  }

  /// The engine that `--engine` names; for `auto` the one that works here, proved by a self-test
  /// in a forked child. To be called before there is any other thread.
  public func engine(_ options: inout EngineOptions) -> EngineKind {
    switch values["engine"] ?? "auto" {
    case "io_uring": return .uring
    case "epoll": return .epoll
    case "auto":
      let report = ProbeReport.run(options)
      if let refusal = report.refusal { say("epoll, because: \(refusal)") }
      if report.usable { options.apply(report) } else { options.apply(report.trials, to: .epoll) }
      return report.usable ? .uring : .epoll
    case let other: fail("--engine \(other): io_uring, epoll or auto is expected")
    }
  }

  /// Says what is wrong with the command line, and ends with status 64 (EX_USAGE, sysexits.h).
  public func fail(_ problem: String) -> Never {
    say("\(problem)\n\(usage)")
    exit(64)
  }
}

/// Writes a line for the person who runs the example.
public func say(_ line: String) {
  let name = CommandLine.arguments.first?.split(separator: "/").last ?? "example"
  let text = Array("\(name): \(line)\n".utf8)
  _ = text.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Says why the example cannot go on, and ends with status 1.
public func giveUp(_ reason: any Error) -> Never {
  say("\(reason)")
  exit(1)
}
