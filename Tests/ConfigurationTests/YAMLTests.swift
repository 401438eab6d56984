// The YAML that is refused and the YAML that is broken: each at its place, each with advice, and
// whatever bytes come in, an answer and not a crash.

import Configuration
import Testing

@Suite("YAML")
struct YAMLTests {
  @Test(
    "a syntax error is reported at its position with a hint",
    arguments: [
      ("listeners:\n\t- a", "document (m.yaml:2:1)", "indent with spaces, not with tabs"),
      ("pin: a: b", "(m.yaml:1:7)", "put quotes around the value if the colon is part of it"),
      ("listeners: [", "listeners (m.yaml:2:1)", "close every [ with ] and every { with }"),
      ("limits: {a: 1,\n b: 2", "(m.yaml:3:1)", "while parsing a flow mapping (line 1)"),
      ("pin: \"x", "(m.yaml:1:8)", "close the quotes"),
      ("pin: @x", "(m.yaml:1:6)", "put quotes around the value"),
      ("pin: on\nfoo", "(line 2)", "write KEY: VALUE, with a colon and a space"),
      ("a:\n  b: 1\n c: 2", "(m.yaml:3:2)", "align the keys of one mapping"),
      ("a: {b: ${C}}", "(m.yaml:1:", "put quotes around ${…} inside brackets"),
      ("pin: \u{1}", "document (m.yaml:1:6)", "remove the character"),
    ])
  func syntax(text: String, place: String, hint: String) {
    let found = lines(text)
    #expect(found.count == 1)
    #expect(found.first?.contains("is not valid YAML") == true)
    #expect(found.first?.contains(place) == true, "\(found)")
    #expect(found.first?.contains(hint) == true, "\(found)")
  }

  @Test("bytes that are no UTF-8 are reported at their line and column")
  func notText() {
    let bytes = Array("pin: on\nname: ä".utf8) + [0xFF]
    let result = ProxyConfiguration.load(bytes: bytes, file: "m.yaml") { _ in nil }
    #expect(result.configuration == nil)
    #expect(result.problems.map(\.location.line) == [2])
    #expect(result.problems.map(\.location.column) == [8])
    #expect(result.problems.first?.hint == "save the file as UTF-8 text")
  }

  @Test(
    "an empty document is reported with an example",
    arguments: ["", "\n\n", "# nothing\n", "---\n", "~", "null"])
  func empty(text: String) {
    #expect(
      lines(text) == [
        "document (m.yaml:1:1): is empty; write at least listeners: [{address: 0.0.0.0:8080}]"
          + " and upstreams: {web: {servers: [10.0.0.1:3000]}}"
      ])
  }

  @Test(
    "a document that is not a mapping is rejected",
    arguments: [("[1, 2]", "a list"), ("text", "the text \"text\""), ("7", "the number 7")])
  func notMapping(text: String, found: String) {
    #expect(
      lines(text) == [
        "document (m.yaml:1:1): is \(found), expected a mapping (a configuration);"
          + " write for example listeners: [{address: 0.0.0.0:8080}]"
      ])
  }

  @Test(
    "anchors, aliases, tags, merge keys and duplicate keys are rejected at their position",
    arguments: [
      ("pin: &p on", "pin (m.yaml:3:6): has an anchor (&p), and anchors are not accepted"),
      ("limits: &l {}", "limits (m.yaml:3:9): has an anchor (&l), and anchors are not accepted"),
      ("pin: !!str on", "pin (m.yaml:3:6): has a tag (!!str), and tags are not accepted"),
      ("pin: !secret on", "pin (m.yaml:3:6): has a tag (!secret), and tags are not accepted"),
      ("limits: !!map {}", "limits (m.yaml:3:9): has a tag (!!map), and tags are not accepted"),
      ("&k pin: on", "pin (m.yaml:3:1): has an anchor (&k), and anchors are not accepted"),
      ("<<: {pin: on}", "\"<<\" (m.yaml:3:1): is a merge key, and merge keys are not accepted"),
      ("? [a]\n: b", "document (m.yaml:3:3): has a key that is not text"),
      ("---\npin: on", "document (m.yaml:3:1): has a second document (after ---)"),
      ("pin: on\npin: off", "pin (m.yaml:4:1): is a duplicate key, first defined on line 3"),
      (
        "limits: {connections: 1, \"connections\": 2}",
        "limits.connections (m.yaml:3:26): is a duplicate key, first defined on line 3"
      ),
    ])
  func refused(extra: String, expected: String) {
    let result = load(minimal(extra))
    #expect(result.configuration == nil)
    #expect(result.problems.count == 1, "\(result.problems)")
    #expect(result.problems.first?.description.hasPrefix(expected) == true, "\(result.problems)")
  }

  @Test("an alias is refused once, and its place is not judged again")
  func alias() {
    #expect(
      lines(minimal("pin: &p on\nworkers: *p")).map { $0.prefix { $0 != ";" } } == [
        "pin (m.yaml:3:6): has an anchor (&p), and anchors are not accepted",
        "workers (m.yaml:4:10): is an alias (*p), and aliases are not accepted",
      ])
  }

  @Test("aliases that multiply cost nothing: they are refused, not followed")
  func billionLaughs() {
    var text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in 1...40 {
      let item = "*a\(level - 1)"
      text += "a\(level): &a\(level) [\(item), \(item), \(item), \(item), \(item)]\n"
    }
    #expect(load(text).problems.count == LoadResult.maximumProblems + 1)
  }

  @Test("sixteen levels are read and seventeen are refused")
  func depth() {
    func nested(_ levels: Int) -> String {
      // The root and the value of x are levels too.
      "x: " + String(repeating: "[", count: levels - 2) + "a"
        + String(repeating: "]", count: levels - 2)
    }
    for levels in [15, 16] {
      #expect(!lines(nested(levels)).contains { $0.contains("nested deeper") })
    }
    let found = lines(nested(17))
    #expect(found.count == 1)
    #expect(found.first?.contains("is nested deeper than 16 levels") == true)
  }

  @Test("a file of exactly 1 MiB is read and one byte more is refused")
  func size() {
    let text = minimal()
    for (length, right) in [((1 << 20) - 1, true), (1 << 20, true), ((1 << 20) + 1, false)] {
      let result = load(text + "\n#" + String(repeating: "x", count: length - text.utf8.count - 2))
      #expect((result.configuration != nil) == right)
      if !right {
        #expect(
          result.problems.map(\.description) == [
            "document (m.yaml:1:1): has 1048577 bytes, more than 1MiB;"
              + " check that it is a configuration file"
          ])
      }
    }
  }

  @Test("a list without end is cut at 65536 keys and values")
  func nodes() {
    func document(_ items: Int) -> String {
      "x: [" + String(repeating: "1,", count: items) + "]"
    }
    // The root, the key x and the list are three.
    #expect(!lines(document(65533)).contains { $0.contains("keys and values per file") })
    let found = lines(document(65534))
    #expect(found.count == 1)
    #expect(found.first?.contains("exceeds the limit of 65536 keys and values per file") == true)
  }

  @Test("whatever bytes come in, the answer is a configuration or an error", arguments: 0..<64)
  func mutations(seed: UInt64) {
    // Knuth's MMIX generator: the same mutations on every machine.
    var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1
    func draw(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(bound))
    }
    let pool = Array("[]{}:,&*!|>'\"%@`#-? \n\t$~<\\\u{0}\u{FF}".utf8) + [0x80, 0xC3, 0xFE]
    let original = Array(LoadTests.everything.utf8)
    for _ in 0..<40 {
      var bytes = original
      for _ in 0...draw(6) {
        switch draw(3) {
        case 0: bytes[draw(bytes.count)] = pool[draw(pool.count)]
        case 1: bytes.insert(pool[draw(pool.count)], at: draw(bytes.count))
        default:
          let start = draw(bytes.count)
          bytes.removeSubrange(start..<min(bytes.count, start + 1 + draw(20)))
        }
      }
      let result = ProxyConfiguration.load(bytes: bytes, file: "m.yaml") { _ in nil }
      let errors = result.problems.filter { $0.severity == .error }
      #expect((result.configuration == nil) == !errors.isEmpty)
      for problem in result.problems {
        #expect(problem.location.line > 0 && problem.location.column > 0)
        #expect(!problem.message.isEmpty && !problem.hint.isEmpty)
      }
    }
  }
}
