// The access log and tracing as they are configured: what is taken, and what is refused at its place.

import Configuration
import Testing
import Variables

@Suite("The access log's configuration")
struct AccessLogTests {
  private func log(_ text: String) throws -> AccessLogConfiguration {
    let result = load(minimal("access_log: \(text)"))
    #expect(result.problems == [])
    return try #require(result.configuration?.accessLog)
  }

  @Test("destinations and formats")
  func taken() throws {
    #expect(load(minimal("")).configuration?.accessLog == nil)
    #expect(try log("{to: stdout}") == AccessLogConfiguration(destination: .standardOutput))
    #expect(try log("{to: /a/b.log}").destination == .file("/a/b.log"))
    #expect(try log("{to: syslog}").destination == .syslog(.init()))
    #expect(
      try log("{to: syslog, syslog: {address: '127.0.0.1:514', facility: daemon, tag: x}}")
        .destination
        == .syslog(.init(address: .ip(host: "127.0.0.1", port: 514), facility: 3, tag: "x")))
    #expect(try log("{to: stdout, format: common}").format == .common)
    #expect(
      try log("{to: stdout, format: '{status} x'}").format == .text(Template("{status} x")))
    #expect(
      try log("{to: stdout, format: json, fields: [status, path]}").format
        == .json([.status, .path]))
  }

  @Test(
    "shares of a million",
    arguments: [
      ("0", 0), ("1", 1_000_000), ("1.0", 1_000_000), ("0.5", 500_000), ("0.000001", 1),
      ("0.999999", 999_999),
    ])
  func shares(_ text: String, _ millionths: Int) throws {
    #expect(try log("{to: stdout, sample: \(text)}").samplePerMillion == millionths)
  }

  @Test(
    "what is wrong is refused at its place",
    arguments: [
      ("{}", "access_log.to", "is missing"),
      ("{to: stdout, format: '{stats}'}", "access_log.format", "did you mean status?"),
      ("{to: stdout, format: combind}", "access_log.format", "did you mean combined?"),
      ("{to: stdout, format: '{status'}", "access_log.format", "without }"),
      ("{to: stdout, format: 'status}'}", "access_log.format", "without {"),
      ("{to: stdout, format: json, fields: [stat]}", "access_log.fields[0]", "did you mean"),
      ("{to: stdout, fields: [status]}", "access_log.fields", "no effect"),
      ("{to: stdout, sample: 1.000001}", "access_log.sample", "a number from 0 to 1"),
      ("{to: stdout, sample: 2}", "access_log.sample", "a number from 0 to 1"),
      ("{to: stdout, sample: -0.1}", "access_log.sample", "a number from 0 to 1"),
      ("{to: stdout, sample: 0.0000001}", "access_log.sample", "a number from 0 to 1"),
      ("{to: stdout, sample: '0.5'}", "access_log.sample", "a number from 0 to 1"),
      ("{to: stdout, syslog: {}}", "access_log.syslog", "no effect"),
      ("{to: syslog, syslog: {facility: local8}}", "access_log.syslog.facility", "did you mean"),
      ("{to: syslog, syslog: {tag: 'a b'}}", "access_log.syslog.tag", "without spaces"),
    ])
  func refused(_ text: String, _ path: String, _ message: String) {
    let problems = load(minimal("access_log: \(text)")).problems
    #expect(problems.count == 1, "\(problems)")
    #expect(problems.first?.location.keyPath == path)
    #expect(problems.first?.description.contains(message) == true, "\(problems)")
  }

  @Test("an unknown variable is told with its own column")
  func column() {
    let before = "access_log: {to: stdout, format: \"{status} {"
    let problem = load(minimal(before + "pth}\"}")).problems.first
    #expect(problem?.location.column == before.count + 1)
  }

  @Test("listeners and routes have lines unless they say otherwise")
  func switches() throws {
    for (text, expected) in [("on", true), ("off", false), ("true", true), ("false", false)] {
      let result = load(minimal(listener: "access_log: \(text)"))
      #expect(result.problems == [])
      #expect(result.configuration?.listeners.first?.logsAccess == expected)
    }
    #expect(load(minimal("")).configuration?.listeners.first?.logsAccess == true)
    #expect(load(minimal("")).configuration?.routes.first?.logsAccess == true)
  }

  @Test("a collector is an http URL, whose port is 4318 by default")
  func collector() {
    func tracing(_ endpoint: String) -> TracingConfiguration? {
      load(minimal("tracing: {endpoint: \"\(endpoint)\"}")).configuration?.tracing
    }
    #expect(tracing("http://127.0.0.1:9")?.address == .ip(host: "127.0.0.1", port: 9))
    #expect(tracing("http://[::1]")?.address == .ip(host: "::1", port: 4318))
    #expect(tracing("http://a.b/otlp/")?.path == "/otlp")
    #expect(tracing("http://a.b/v1/traces")?.path == "")
    for wrong in ["https://a.b", "a.b:1", "http://", "http://a.b/?x", "http://unix:/x"] {
      #expect(tracing(wrong) == nil, "\(wrong)")
    }
  }
}
