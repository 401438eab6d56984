// The flags of `millrace load` that say what is asked: URLs, a mix, or a log.

import ArgumentParser
import Configuration
import Glibc
import Lab
import MillraceEngine

struct LoadRequestOptions: ParsableArguments {
  @Option(help: "Request method (default GET, or POST with content).")
  var method: String?

  @Option(
    name: .customLong("header"), help: "Header field, such as 'Accept: text/html'; repeatable.")
  var headers: [String] = []

  @Option(help: "Request content, as text.")
  var content: String?

  @Option(help: ArgumentHelp("Request content, from a file.", valueName: "file"))
  var contentFile: String?

  @Option(help: "Size of generated request content, such as 64KiB.")
  var contentSize: String?

  @Option(help: "Status that counts as success (default 200 to 399).")
  var expectStatus: Int?

  @Option(
    help: ArgumentHelp("Expected content of each response, from a file.", valueName: "file"))
  var expectContentFile: String?

  @Option(
    help: ArgumentHelp(
      "Weighted requests from a YAML file; the URL names the server.", valueName: "file"))
  var mix: String?

  /// Fills in servers and requests. - Returns: what is to be said before the run.
  func apply(
    to plan: inout LoadPlan, _ urls: [String], _ pace: LoadPaceOptions, _ problems: inout [Problem]
  ) -> [String] {
    guard !urls.isEmpty else {
      problems.append(
        Reporting.flag("URL", "is missing", "write for example http://127.0.0.1:8080/"))
      return []
    }
    if let flag = pace.replay != nil ? "--replay" : mix != nil ? "--mix" : nil, urls.count > 1 {
      problems.append(
        Reporting.flag(
          "URL", "is given \(urls.count) times, but \(flag) uses only the first one",
          flag == "--mix"
            ? "give one URL, and put the other servers into the mix: {target: \(urls[1])}"
            : "give one URL, and replay the log against each server in a separate run"))
      return []
    }
    var notes: [String] = []
    if let log = pace.replay {
      notes = replay(log, pace, urls[0], &plan, &problems)
    } else if let mix {
      readMix(mix, urls, &plan, &problems)
    } else {
      for url in urls {
        guard let (target, server) = Self.server(url, "URL", &plan, &problems) else { continue }
        var template = RequestTemplate(name: "\(method ?? "GET") \(target.target)")
        template.server = server
        template.target = target.target
        plan.requests.append(template)
      }
    }
    applyFlags(to: &plan, &problems)
    return notes
  }

  // MARK: Servers

  /// Finds or adds the server of a URL.
  private static func server(
    _ url: String, _ flag: String, _ plan: inout LoadPlan, _ problems: inout [Problem]
  ) -> (LoadTarget, Int)? {
    do throws(LoadTarget.ParseError) {
      let target = try LoadTarget(url)
      if let known = plan.servers.firstIndex(where: {
        $0.authority == target.authority && $0.usesTLS == target.usesTLS
          && $0.address.isUnix == (target.socketPath != nil) && target.socketPath == nil
      }) {
        return (target, known)
      }
      plan.servers.append(try target.resolve())
      return (target, plan.servers.count - 1)
    } catch {
      problems.append(Reporting.flag(flag, "\(url) \(error.message)", error.hint))
      return nil
    }
  }

  // MARK: A mix

  private func readMix(
    _ path: String, _ urls: [String], _ plan: inout LoadPlan, _ problems: inout [Problem]
  ) {
    guard let bytes = OutputFile.read(path) else {
      problems.append(Self.unreadable("--mix", path))
      return
    }
    let loaded = RequestMix.load(bytes: bytes, file: path) { name in
      getenv(name).map { String(cString: $0) }
    }
    problems += loaded.problems
    guard let mix = loaded.mix,
      let (_, usual) = Self.server(urls[0], "URL", &plan, &problems)
    else { return }
    for request in mix.requests {
      if let template = template(request, usual, &plan, &problems) {
        plan.requests.append(template)
      }
    }
  }

  private func template(
    _ request: RequestMix.Request, _ usual: Int, _ plan: inout LoadPlan,
    _ problems: inout [Problem]
  ) -> RequestTemplate? {
    func report(_ message: String, _ hint: String) {
      problems.append(Problem(location: request.location, message: message, hint: hint))
    }
    var template = RequestTemplate(name: request.name ?? "\(request.method) \(request.target)")
    template.server = usual
    template.method = request.method
    template.weight = Double(request.weight)
    if request.target.hasPrefix("/") || request.target == "*" {
      template.target = request.target
    } else {
      guard let (target, server) = Self.server(request.target, "target", &plan, &problems) else {
        return nil
      }
      template.target = target.target
      template.server = server
    }
    template.fields = request.fields.map { ($0.name, $0.value) }
    switch request.content {
    case nil: break
    case .text(let text): template.content = Array(text.utf8)
    case .size(let count): template.content = Self.filler(count)
    case .file(let path):
      guard let bytes = OutputFile.read(path) else {
        report("is \(path), which cannot be read", "check the path")
        return nil
      }
      template.content = bytes
    }
    template.expectedStatus = request.expectedStatus
    template.expectedLength = request.expectedLength
    if let path = request.expectedContentFile {
      guard let bytes = OutputFile.read(path) else {
        report("is \(path), which cannot be read", "check the path")
        return nil
      }
      template.expectedContent = bytes
    }
    return template
  }

  // MARK: A log

  private func replay(
    _ path: String, _ pace: LoadPaceOptions, _ url: String, _ plan: inout LoadPlan,
    _ problems: inout [Problem]
  ) -> [String] {
    guard mix == nil else {
      problems.append(Reporting.flag("--replay", "conflicts with --mix", "keep one of them"))
      return []
    }
    guard let (_, server) = Self.server(url, "URL", &plan, &problems), pace.hasSpeed else {
      return []
    }
    do throws(ReplayLog.ParseError) {
      let log = try ReplayLog.load(path, speed: pace.speed)
      plan.requests = log.templates.map {
        var template = $0
        template.server = server
        return template
      }
      plan.pacing = .replay(log.schedule)
      if pace.duration == nil { plan.durationNanoseconds = log.schedule.wholeNanoseconds }
      return Self.notes(log, plan)
    } catch {
      problems.append(Reporting.flag("--replay", error.message, error.hint))
      return []
    }
  }

  private static func notes(_ log: ReplayLog, _ plan: LoadPlan) -> [String] {
    let span = Double(log.schedule.spanNanoseconds) / 1e9
    var notes = [
      "replaying \(log.schedule.sendTimes.count) requests of \(Figures.three(span)) s from a"
        + " \(log.format.rawValue)"
    ]
    if log.hasSecondsOnly {
      notes.append("its times are in whole seconds: requests are spread evenly over each second")
    }
    let end = plan.warmUpNanoseconds + plan.durationNanoseconds
    if log.schedule.spanNanoseconds >= end {
      let sent = log.schedule.sendTimes.count { $0 < end }
      notes.append(
        "--duration truncates the log: the run ends \(Figures.three(Double(end) / 1e9)) s into it, after"
          + " \(sent) of its \(log.schedule.sendTimes.count) requests")
    }
    for (reason, count) in log.skipped.sorted(by: { $0.key < $1.key }) {
      notes.append("skipped: \(count) \(reason)")
    }
    return notes
  }

  // MARK: Flags for all requests

  private func applyFlags(to plan: inout LoadPlan, _ problems: inout [Problem]) {
    var fields: [(name: String, value: String)] = []
    for header in headers {
      let parts = header.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[0].isEmpty, !parts[0].contains(" ") else {
        problems.append(
          Reporting.flag(
            "--header", "is \"\(header)\"", "write a name and a value, as in 'Accept: */*'"))
        continue
      }
      let value = parts[1].drop { $0 == " " }
      guard !header.utf8.contains(where: { $0 < 0x20 && $0 != 0x09 || $0 == 0x7F }) else {
        problems.append(
          Reporting.flag("--header", "contains a control character", "remove it"))
        continue
      }
      fields.append((String(parts[0]), String(value)))
    }
    let content = chosenContent(&problems)
    let expected = expectContentFile.flatMap { path -> [UInt8]? in
      if let bytes = OutputFile.read(path) { return bytes }
      problems.append(Self.unreadable("--expect-content-file", path))
      return nil
    }
    if let expectStatus { LoadFlag.check("--expect-status", expectStatus, 100...599, &problems) }
    for i in plan.requests.indices {
      if let method { plan.requests[i].method = method }
      plan.requests[i].fields += fields
      if let content { plan.requests[i].content = content }
      if content != nil && method == nil && plan.requests[i].method == "GET" {
        plan.requests[i].method = "POST"
      }
      if let expectStatus { plan.requests[i].expectedStatus = expectStatus }
      if let expected { plan.requests[i].expectedContent = expected }
    }
  }

  private func chosenContent(_ problems: inout [Problem]) -> [UInt8]? {
    let given = [content != nil, contentFile != nil, contentSize != nil].filter { $0 }.count
    if given > 1 {
      problems.append(
        Reporting.flag(
          "--content", "conflicts with another content flag",
          "keep one of --content, --content-file and --content-size"))
    }
    if let content { return Array(content.utf8) }
    if let contentSize {
      return Self.filler(LoadFlag.size("--content-size", contentSize, 0...(1 << 30), &problems))
    }
    guard let contentFile else { return nil }
    if let bytes = OutputFile.read(contentFile) { return bytes }
    problems.append(Self.unreadable("--content-file", contentFile))
    return nil
  }

  private static func filler(_ count: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(ascii: "x"), count: count)
  }

  private static func unreadable(_ flag: String, _ path: String) -> Problem {
    Reporting.flag(
      flag, "cannot read \(path): \(String(cString: strerror(errno)))", "check the path")
  }
}
