// `millrace ctl`: asks a running proxy, or tells it what to do.

import Admin
import ArgumentParser
import Glibc

struct Control: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ctl",
    abstract: "Asks a running proxy for its status, or controls it.",
    discussion: """
      Speaks to the admin address (`admin` in the configuration), by default the Unix socket that \
      the proxy uses by default.

      Exit status: 0 done, 1 the proxy refused, 2 no proxy answers or invalid address, 64 invalid \
      command-line arguments.
      """,
    version: Version.text,
    subcommands: [
      ControlStatus.self, ControlServer.self, ControlDrain.self, ControlReload.self,
      ControlReopenLogs.self,
      ControlLogLevel.self, ControlConfiguration.self, ControlMetrics.self,
    ])
}

/// What all of them take.
struct ControlOptions: ParsableArguments {
  @OptionGroup var place: AdminAddressOptions

  @Flag(help: "Print the proxy's answer as JSON.")
  var json = false

  /// Asks, prints the answer, and ends with the exit status that it means.
  /// - Parameter text: what is printed of a good answer; nil: nothing but the JSON can be.
  func run(
    _ ask: (AdminClient) throws(AdminClientFailure) -> AdminResponse,
    _ text: (JSONValue) -> String
  ) throws {
    let response: AdminResponse
    do throws(AdminClientFailure) {
      response = try ask(try place.clientOrFailure())
    } catch {
      if !error.description.isEmpty {
        Reporting.print("millrace ctl: \(error.description); \(error.hint)")
      }
      throw ExitCode(2)
    }
    let answer = JSONValue(parsing: response.content)
    guard response.status < 300 else {
      if json { print(String(decoding: response.content, as: UTF8.self), terminator: "") }
      let error = answer?["error"]?.string ?? "status \(response.status)"
      let hint = answer?["hint"]?.string.map { "; \($0)" } ?? ""
      Reporting.print("millrace ctl: \(HarmlessText.line(error + hint))")
      throw ExitCode(1)
    }
    guard !json, let answer else {
      print(String(decoding: response.content, as: UTF8.self), terminator: "")
      return
    }
    print(HarmlessText.lines(text(answer)))
  }
}

extension AdminAddressOptions {
  /// The client; what is wrong with the address was told where the failure has no text.
  fileprivate func clientOrFailure() throws(AdminClientFailure) -> AdminClient {
    do {
      return try client()
    } catch {
      throw AdminClientFailure(description: "")
    }
  }
}

struct ControlStatus: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Shows what runs, and how it is doing.")

  @OptionGroup var options: ControlOptions

  mutating func run() throws {
    try options.run({ client throws(AdminClientFailure) in try client.get("/status") }) {
      StatusText($0).text
    }
  }
}

struct ControlServer: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "server", abstract: "Sets the state of a server: up, drain or maintenance.",
    discussion: """
      drain: the server gets no new request; those in progress go on. maintenance: the same, and \
      its idle connections are closed. The state holds until it is set again or the process ends.
      """)

  @Argument(help: "The server, as UPSTREAM/ADDRESS, for example web/10.0.0.1:8080.")
  var server: String

  @Argument(help: "up, drain or maintenance.")
  var state: String

  @OptionGroup var options: ControlOptions

  mutating func run() throws {
    let content = JSONValue.object([.init("server", .text(server)), .init("state", .text(state))])
    try options.run({ client throws(AdminClientFailure) in
      try client.post("/server", content.text)
    }) { answer in
      "\(answer["server"]?.string ?? "") is in state \(answer["state"]?.string ?? "")"
    }
  }
}

struct ControlDrain: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Stops the proxy in order: listeners close, requests in progress finish.")

  @OptionGroup var options: ControlOptions

  mutating func run() throws {
    try options.run({ client throws(AdminClientFailure) in try client.post("/drain") }) { _ in
      "draining"
    }
  }
}

struct ControlReload: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reload", abstract: "Reads the configuration anew and puts it in force.")

  @OptionGroup var options: ControlOptions

  mutating func run() throws {
    try options.run({ client throws(AdminClientFailure) in try client.post("/reload") }) {
      answer in answer["message"]?.string ?? answer.text
    }
  }
}

struct ControlReopenLogs: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reopen-logs",
    abstract: "Opens the access log's file anew, after it was moved (as SIGUSR1 does).")

  @OptionGroup var options: ControlOptions

  mutating func run() throws {
    try options.run({ client throws(AdminClientFailure) in try client.post("/reopen-logs") }) {
      _ in "reopened"
    }
  }
}

struct ControlLogLevel: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log-level", abstract: "Sets the minimum log level of the running proxy.")

  @Argument(help: "trace, debug, info, notice, warning, error or critical.")
  var level: String

  @OptionGroup var options: ControlOptions

  mutating func run() throws {
    let content = JSONValue.object([.init("level", .text(level))])
    try options.run({ client throws(AdminClientFailure) in
      try client.post("/log-level", content.text)
    }) { answer in
      "log level \(answer["level"]?.string ?? "") (was \(answer["before"]?.string ?? ""))"
    }
  }
}

struct ControlConfiguration: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Shows the configuration in force, with defaults.")

  @OptionGroup var options: ControlOptions

  mutating func run() throws {
    try options.run({ client throws(AdminClientFailure) in try client.get("/config") }) {
      IndentedText.of($0)
    }
  }
}

struct ControlMetrics: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Prints the metrics in Prometheus' text format.")

  @OptionGroup var place: AdminAddressOptions

  mutating func run() throws {
    var options = ControlOptions()
    options.place = place
    options.json = true
    try options.run({ client throws(AdminClientFailure) in try client.get("/metrics") }) { $0.text }
  }
}
