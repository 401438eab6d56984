// What a wrong configuration is told: the exact line, because the line is the product. Each row
// holds one mistake; nothing may be said beside it.

import Configuration
import Testing

@Suite("A wrong configuration")
struct ProblemTests {
  @Test(
    "one wrong value gets one line with its place, what is wrong and what to do",
    arguments: [
      (
        "engine: uring",
        "engine (m.yaml:3:9): is the text \"uring\", which is not an engine"
          + " (auto, io_uring or epoll); did you mean io_uring?"
      ),
      (
        "engine: {kind: kqueue}",
        "engine.kind (m.yaml:3:16): is the text \"kqueue\", which is not an engine"
          + " (auto, io_uring or epoll); write one of them"
      ),
      (
        "engine: {sqpol: true}",
        "engine.sqpol (m.yaml:3:10): is not a key of an engine; did you mean sqpoll?"
      ),
      (
        "engine: [epoll]",
        "engine (m.yaml:3:9): is a list, expected auto, io_uring or epoll,"
          + " or a mapping (an engine); write for example engine: epoll"
      ),
      (
        "workers: many",
        "workers (m.yaml:3:10): is the text \"many\", expected a whole number from 1 to 999,"
          + " or auto; write for example workers: 4"
      ),
      (
        "workers: \"4\"",
        "workers (m.yaml:3:10): is the text \"4\", expected a whole number from 1 to 999,"
          + " or auto; write for example workers: 4"
      ),
      (
        "workers: 010",
        "workers (m.yaml:3:10): is 010, but some parsers read a leading 0 as octal;"
          + " write it without the 0"
      ),
      (
        "workers: 99999999999999999999",
        "workers (m.yaml:3:10): is 99999999999999999999, out of range;"
          + " write a whole number from 1 to 999, or auto, for example workers: 4"
      ),
      (
        "workers:",
        "workers (m.yaml:3:9): has no value, expected a whole number from 1 to 999, or auto;"
          + " write one, for example workers: 4, or remove the key"
      ),
      (
        "pin: maybe",
        "pin (m.yaml:3:6): is the text \"maybe\", which is not a pinning mode (auto, on or off);"
          + " write one of them"
      ),
      (
        "lmits: {}",
        "lmits (m.yaml:3:1): is not a key of a configuration; did you mean limits?"
      ),
      (
        "xyzzy: {}",
        "xyzzy (m.yaml:3:1): is not a key of a configuration; known: engine, workers, pin,"
          + " placement, listeners, routes, upstreams, audit, access_log, tracing, admin, limits, via, drain, reload"
      ),
      (
        "admin: {address: ':9901'}",
        "admin.address (m.yaml:3:18): is [::]:9901, which other machines can reach;"
          + " write unix:/run/millrace/admin.sock, or a loopback address such as 127.0.0.1:9901"
      ),
      (
        "drain: 30s",
        "drain (m.yaml:3:8): is the text \"30s\", expected a mapping (the drain);"
          + " write for example drain: {deadline: 30s}"
      ),
      (
        "limits: {request_head: 64KB}",
        "limits.request_head (m.yaml:3:24): is \"64KB\", and \"KB\" is not a unit of size"
          + " (B, KiB, MiB or GiB); write 64KiB"
      ),
      (
        "limits: {request_target: 16KiB, request_head: 8KiB}",
        "limits.request_target (m.yaml:3:26): is 16KiB, but request_head is limited to 8KiB;"
          + " make request_head larger or request_target smaller"
      ),
      (
        "limits: {connections: 65.5}",
        "limits.connections (m.yaml:3:23): is the number 65.5, expected a whole number from 1 to"
          + " 1048576; write for example connections: 65536"
      ),
      (
        "limits: {requests_per_second: {rate: 1}}",
        "limits.requests_per_second (m.yaml:3:10): requests_per_second is not available in this"
          + " version; remove it; limits.connections limits the number of connections"
      ),
      (
        "audit: {}",
        "audit.directory (m.yaml:3:8): is missing; add directory: /var/log/millrace"
      ),
      (
        "audit: {directory: 7}",
        "audit.directory (m.yaml:3:20): is the number 7, expected text;"
          + " put quotes around it: directory: \"7\""
      ),
      (
        "audit: {directory: \"\"}",
        "audit.directory (m.yaml:3:20): is an empty text;"
          + " write for example directory: /var/log/millrace"
      ),
      (
        "audit: {directory: \"a\\0b\"}",
        "audit.directory (m.yaml:3:20): contains a control character or a line break:"
          + " \"a\\u{0}b\"; remove it"
      ),
      (
        "audit: {directory: d, redact_query: yes}",
        "audit.redact_query (m.yaml:3:37): is the text \"yes\", expected true or false;"
          + " write for example redact_query: true"
      ),
      (
        "audit: {directory: d, segment: {size: 1048577}}",
        "audit.segment.size (m.yaml:3:39): is 1048577 bytes, which is not a multiple of 4096;"
          + " write 1MiB"
      ),
      (
        "audit: {directory: d, durability: interval, interval: 10s, segment: {age: 5s}}",
        "audit.interval (m.yaml:3:55): is 10s, longer than the lifetime of a segment"
          + " (segment.age is 5s); make interval shorter or segment.age longer"
      ),
      (
        "audit: {directory: d, interval: 1s}",
        "audit.interval (m.yaml:3:33): warning: has no effect with durability: before_response;"
          + " write durability: interval, or remove it"
      ),
      (
        "drain: {deadline: 10}",
        "drain.deadline (m.yaml:3:19): is 10, a number without a unit;"
          + " write 10s for seconds or 10ms for milliseconds"
      ),
      (
        "drain: {deadline: 1d}",
        "drain.deadline (m.yaml:3:19): is \"1d\", and \"d\" is not a unit of time (ms, s, m or h);"
          + " write a duration from 0s to 24h, for example deadline: 30s"
      ),
      (
        "drain: {deadline: 1.5s}",
        "drain.deadline (m.yaml:3:19): is \"1.5s\", but a duration must be a whole number"
          + " (use a smaller unit);"
          + " write a duration from 0s to 24h, for example deadline: 30s"
      ),
      (
        "drain: {deadline: soon}",
        "drain.deadline (m.yaml:3:19): is \"soon\", expected a duration;"
          + " write a duration from 0s to 24h, for example deadline: 30s"
      ),
      (
        "drain: {deadline: 99999999999999999h}",
        "drain.deadline (m.yaml:3:19): is 99999999999999999h, out of range;"
          + " write a duration from 0s to 24h, for example deadline: 30s"
      ),
    ])
  func oneMistake(extra: String, expected: String) {
    #expect(lines(minimal(extra)) == [expected])
  }

  @Test(
    "a wrong listener is reported with what is wrong",
    arguments: [
      (
        "name: 7", "listeners[0].name",
        "is the number 7, expected text; put quotes around it: name: \"7\""
      ),
      (
        "name: \"a b\"", "listeners[0].name",
        "is \"a b\", but a name must not contain spaces; remove the spaces"
      ),
      (
        "protocol: tcp", "listeners[0].protocol",
        "is the text \"tcp\", which is not a protocol (http or relay); did you mean relay?"
      ),
      (
        "upstream: web", "listeners[0].upstream",
        "applies to protocol: relay only; write a route:"
          + " routes: [{match: {listener: NAME}, upstream: NAME}]"
      ),
      (
        "http_versions: [http/1.1, h3]", "listeners[0].http_versions[1]",
        "h3 is not available in this version; write h2 or http/1.1"
      ),
      (
        "http_versions: []", "listeners[0].http_versions",
        "is empty; write at least one, for example [http/1.1]"
      ),
      (
        "http_versions: [http/1.1, http/1.1]", "listeners[0].http_versions[1]",
        "is http/1.1, which is already in the list; keep one of the two"
      ),
      (
        "tls: true", "listeners[0].tls",
        "is true, expected a mapping (the TLS of a listener); write for example"
          + " tls: {certificates: [{certificate: site.pem, key: site.key}]}"
      ),
      (
        "tls: {}", "listeners[0].tls.certificates",
        "is missing; add certificates: [{certificate: site.pem, key: site.key}]"
      ),
      (
        "tls: {certificates: []}", "listeners[0].tls.certificates",
        "is empty; write at least one, for example [{certificate: site.pem, key: site.key}]"
      ),
      (
        "tls: {certificates: [{certificate: a}]}", "listeners[0].tls.certificates[0].key",
        "is missing; add key: site.key"
      ),
      (
        "tls: {certificates: [{certificate: a, key: b}], minimum_version: \"1.1\"}",
        "listeners[0].tls.minimum_version",
        "TLS 1.1 is not supported: it is deprecated by RFC 8996;"
          + " write \"1.2\" or \"1.3\""
      ),
      (
        "tls: {certificates: [{certificate: a, key: b}], minimum_version: 1.0}",
        "listeners[0].tls.minimum_version",
        "TLS 1.0 is not supported: it is deprecated by RFC 8996;"
          + " write \"1.2\" or \"1.3\""
      ),
      (
        "tls: {certificates: [{certificate: a, key: b}], minimum_version: TLSv1.2}",
        "listeners[0].tls.minimum_version",
        "is the text \"TLSv1.2\", which is not a TLS version (1.2 or 1.3); did you mean 1.2?"
      ),
      (
        "tls: {certificates: [{certificate: a, key: b}], record_layer: libcrypto}",
        "listeners[0].tls.record_layer",
        "is the text \"libcrypto\", which is not a record layer (auto or openssl); write one of them"
      ),
      (
        "timeouts: {idel: 1s}", "listeners[0].timeouts.idel",
        "is not a key of the timeouts of a listener; did you mean idle?"
      ),
    ])
  func listener(extra: String, path: String, expected: String) throws {
    let problems = load(minimal(listener: extra)).problems
    #expect(problems.count == 1)
    let problem = try #require(problems.first)
    #expect(problem.location.keyPath == path)
    #expect(problem.location.line == 1)
    #expect(problem.description.hasSuffix("): " + expected), "\(problem)")
  }

  @Test(
    "a wrong upstream is reported with what is wrong",
    arguments: [
      (
        "protocol: h2", "upstreams.web.protocol",
        "is h2, which needs TLS, and the upstream has no tls; add tls: {}, or write h2c"
      ),
      (
        "balance: least", "upstreams.web.balance",
        "is the text \"least\", which is not a balance"
          + " (round_robin, least_requests or random_two); did you mean least_requests?"
      ),
      (
        "balance: hash", "upstreams.web.balance",
        "hash is not available in this version;"
          + " write round_robin, least_requests or random_two"
      ),
      (
        "balance: {hash: {cookie: id}}", "upstreams.web.balance",
        "hash is not available in this version;"
          + " write round_robin, least_requests or random_two"
      ),
      (
        "health: {path: /}", "upstreams.web.health",
        "health is not available in this version; remove it;"
          + " retries send a failed request to another server"
      ),
      (
        "source_address: web.internal", "upstreams.web.source_address",
        "is \"web.internal\", which is not a valid IP address;"
          + " write an IP address of this host without a port, for example 10.0.0.9"
      ),
      (
        "source_address: \"::1\"", "upstreams.web.source_address",
        "is ::1, but the server 127.0.0.1:3000 is of the other address family;"
          + " use either IPv4 or IPv6 for source_address and all servers of the upstream"
      ),
      (
        "source_ports: 20000-", "upstreams.web.source_ports",
        "is \"20000-\", which is not a valid port range;"
          + " write the first and last port, for example 20000-29999"
      ),
      (
        "source_ports: 1-65536", "upstreams.web.source_ports",
        "is \"1-65536\", which is not a valid port range;"
          + " write the first and last port, for example 20000-29999"
      ),
      (
        "source_ports: 200-100", "upstreams.web.source_ports",
        "is \"200-100\", a range whose end is below its start; write 100-200"
      ),
      (
        "retries: {on: []}", "upstreams.web.retries.on",
        "is empty; write at least one, for example [reset_before_response]"
      ),
      (
        "retries: {on: [connect]}", "upstreams.web.retries.on[0]",
        "is the text \"connect\", which is not a retry condition"
          + " (connect_failure or reset_before_response); did you mean connect_failure?"
      ),
      (
        "retries: 3", "upstreams.web.retries",
        "is the number 3, expected a mapping (the retries of an upstream);"
          + " write for example retries: {attempts: 2}"
      ),
    ])
  func upstream(extra: String, path: String, expected: String) throws {
    let problems = load(minimal(upstream: extra)).problems
    #expect(problems.count == 1)
    let problem = try #require(problems.first)
    #expect(problem.location.keyPath == path)
    #expect(problem.location.line == 2)
    #expect(problem.description.hasSuffix("): " + expected), "\(problem)")
  }

  @Test(
    "each kind of wrong server has its own message",
    arguments: [
      ("[]", "is empty; write at least one, for example [10.0.0.1:8080]"),
      (
        "10.0.0.1:80",
        "is the text \"10.0.0.1:80\", expected a list, each item an address,"
          + " or a mapping (a server); write for example [10.0.0.1:8080]"
      ),
      ("[{weight: 2}]", "is missing; add address: 10.0.0.1:8080"),
      (
        "[\"10.0.0.1:80\", {address: \"10.0.0.1:80\"}]",
        "is 10.0.0.1:80, which is already in this upstream (line 2);"
          + " remove one of the two; weight: 2 gives a server twice the requests"
      ),
      (
        "[http://10.0.0.1/]",
        "is a URL (\"http\" is its scheme), expected an address; write 10.0.0.1:80"
      ),
    ])
  func servers(written: String, expected: String) {
    let text = "listeners: [{address: 127.0.0.1:1}]\nupstreams: {web: {servers: \(written)}}"
    let found = lines(text)
    #expect(found.count == 1)
    #expect(found.first?.hasSuffix("): " + expected) == true, "\(found)")
  }

  @Test("all problems of a file come at once and in its order, and give no configuration")
  func allAtOnce() {
    let text = """
      workers: 0
      listeners:
        - address: 127.0.0.1:1
          tls: {certificates: [{certificate: c, key: }]}
          timeouts: {head: 3}
        - address: nowhere
      routes: [{upstream: wbe}]
      upstreams:
        web: {servers: [a.example:1], idle_connections: -1}
      """
    let result = load(text)
    #expect(result.configuration == nil)
    #expect(
      result.problems.map(\.location.keyPath) == [
        "workers", "listeners[0].tls.certificates[0].key", "listeners[0].timeouts.head",
        "listeners[1].address", "routes[0].upstream", "upstreams.web.idle_connections",
      ])
    #expect(result.problems.map(\.location.line) == [1, 4, 5, 6, 7, 9])
    #expect(
      result.problems[4].description
        == "routes[0].upstream (m.yaml:7:21): is \"wbe\", but there is no upstream with this name;"
        + " did you mean web?")
  }

  @Test("a misspelt required key is reported once, not as missing too")
  func misspeltRequired() {
    let text = "listenrs: [{address: 127.0.0.1:1}]\nupstreams: {web: {servers: [a.example:1]}}"
    #expect(
      lines(text) == [
        "listenrs (m.yaml:1:1): is not a key of a configuration; did you mean listeners?"
      ])
  }

  @Test("warnings leave the configuration usable")
  func warningsOnly() {
    let result = load(minimal("audit: {directory: d, interval: 1s}"))
    #expect(result.problems.map(\.severity) == [.warning])
    #expect(result.configuration != nil)
  }

  @Test(
    "after a hundred problems the rest is counted", arguments: [(100, 100), (101, 101), (150, 101)])
  func cap(mistakes: Int, reported: Int) throws {
    let keys = (0..<mistakes).map { "zzzzzz\($0): 1\n" }.joined()
    let result = load(
      "listeners: [{address: 127.0.0.1:1}]\n" + "upstreams: {w: {servers: [a.b:1]}}\n" + keys)
    #expect(result.problems.count == reported)
    #expect(result.configuration == nil)
    if mistakes > 100 {
      let last = try #require(result.problems.last)
      #expect(last.message.contains("first of \(mistakes - 100) further problems"))
    }
  }

  @Test("a hostile value cannot break the line or the terminal")
  func hostileValue() throws {
    let result = load(minimal("pin: \"x\\n\\e[31m\\u202Ey\(String(repeating: "a", count: 500))\""))
    let line = try #require(result.problems.first?.description)
    #expect(!line.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x202E })
    #expect(line.count < 250)
  }

  @Test("the report has one line per problem and counts them at the end")
  func report() {
    let place = SourceLocation(file: "m.yaml", line: 1, column: 2, keyPath: "a")
    let flag = SourceLocation(file: "--from")
    let problems = [
      Problem(location: place, message: "is wrong", hint: "fix it"),
      Problem(location: place, message: "is odd", hint: "look", severity: .warning),
      Problem(location: flag, message: "is bad\nreally", hint: ""),
    ]
    #expect(
      renderReport(problems) == """
        a (m.yaml:1:2): is wrong; fix it
        a (m.yaml:1:2): warning: is odd; look
        --from: is bad\\nreally
        2 errors, 1 warning

        """)
    #expect(renderReport([]) == "no errors, no warnings\n")
  }
}
