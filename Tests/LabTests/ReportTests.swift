// The report as a file: well formed, asking the network for nothing, with nothing of what was measured
// able to become markup, and with no figure that could end the program.

import Glibc
import Testing

@testable import Lab

/// A checker of pages as this report writes them: XML's nesting with HTML's void and raw elements.
struct PageChecker {
  private(set) var problems: [String] = []
  private(set) var elements: [String: Int] = [:]
  /// Content of the script elements.
  private(set) var scripts: [String] = []
  private var open: [String] = []
  private var ids: Set<String> = []
  private var references: [String] = []

  private static let void: Set<String> = ["meta", "link", "br", "hr", "img", "input"]
  private static let raw: Set<String> = ["script", "style"]

  init(_ page: String) {
    var rest = page.unicodeScalars[...]
    if page.hasPrefix("<!DOCTYPE html>\n") {
      rest = rest.dropFirst(16)
    } else {
      problems.append("no document type")
    }
    while let first = rest.first {
      if first == "<" {
        tag(&rest)
      } else {
        let text = rest.prefix { $0 != "<" }
        check(String(text))
        if open.isEmpty && text.contains(where: { !" \n".unicodeScalars.contains($0) }) {
          problems.append("text outside: \(text)")
        }
        rest = rest.dropFirst(text.count)
      }
    }
    if !open.isEmpty { problems.append("left open: \(open)") }
    for id in references where !ids.contains(id) { problems.append("no element \(id)") }
  }

  private mutating func tag(_ rest: inout Substring.UnicodeScalarView) {
    rest.removeFirst()
    let isEnd = rest.first == "/"
    if isEnd { rest.removeFirst() }
    let name = String(rest.prefix { $0.properties.isAlphabetic || ("0"..."9").contains($0) })
    rest = rest.dropFirst(name.unicodeScalars.count)
    guard !name.isEmpty else { return problems.append("a bare <") }
    let closesItself = isEnd ? false : attributes(name, &rest)
    if isEnd {
      guard rest.first == ">" else { return problems.append("</\(name) is unfinished") }
      rest.removeFirst()
      if open.last == name { open.removeLast() } else { problems.append("</\(name)> in \(open)") }
      return
    }
    elements[name, default: 0] += 1
    guard !closesItself, !Self.void.contains(name) else { return }
    open.append(name)
    guard Self.raw.contains(name) else { return }
    var content = ""
    while !rest.isEmpty, !(rest.first == "<" && String(rest.prefix(2)) == "</") {
      content.unicodeScalars.append(rest.removeFirst())
    }
    if name == "script" { scripts.append(content) }
    if name == "style"
      && (content.replacing("url(#", with: "").contains("url(") || content.contains("@import"))
    {
      problems.append("the style refers to something")
    }
  }

  /// - Returns: whether the tag ends with a slash.
  private mutating func attributes(_ tag: String, _ rest: inout Substring.UnicodeScalarView) -> Bool
  {
    var seen: Set<String> = []
    while true {
      rest = rest.drop { $0 == " " || $0 == "\n" }
      guard let first = rest.first else {
        problems.append("<\(tag) is unfinished")
        return true
      }
      if first == ">" || first == "/" {
        rest.removeFirst()
        guard first == "/" else { return false }
        if rest.first == ">" { rest.removeFirst() } else { problems.append("a slash in <\(tag)") }
        return true
      }
      let name = String(rest.prefix { !" =>/\"'\n<".unicodeScalars.contains($0) })
      guard !name.isEmpty else {
        problems.append("<\(tag) has \(first) among its attributes")
        rest.removeFirst()
        continue
      }
      rest = rest.dropFirst(name.unicodeScalars.count)
      if !seen.insert(name).inserted { problems.append("<\(tag) has \(name) twice") }
      if name.hasPrefix("on") { problems.append("<\(tag) has the handler \(name)") }
      guard rest.first == "=" else { continue }
      rest.removeFirst()
      guard rest.first == "\"" else {
        problems.append("\(name) of <\(tag) is not quoted")
        continue
      }
      rest.removeFirst()
      let value = String(rest.prefix { $0 != "\"" })
      rest = rest.dropFirst(value.unicodeScalars.count + 1)
      check(value)
      look(tag, name, value)
    }
  }

  private mutating func look(_ tag: String, _ name: String, _ value: String) {
    switch name {
    case "id":
      if !ids.insert(value).inserted { problems.append("two elements are \(value)") }
      if value.isEmpty || value.contains(" ") { problems.append("the id \(value)") }
    case "aria-labelledby": references += value.split(separator: " ").map(String.init)
    case "src", "href", "action", "data", "poster", "srcset", "xlink:href":
      if !value.hasPrefix("data:") && !value.hasPrefix("#") {
        problems.append("<\(tag) refers to \(value)")
      }
    case "style", "fill":
      if value.contains("url(") { problems.append("<\(tag) paints with \(value)") }
    case "d", "points", "x", "y", "width", "height", "cx", "cy", "x1", "x2", "y1", "y2", "viewBox":
      let odd = value.contains { !"0123456789.-, MLZ".contains($0) }
      if odd && tag != "meta" { problems.append("<\(tag) has the \(name) \(value)") }
    default: break
    }
  }

  /// Text or an attribute's value: no bare signs of markup, no control characters.
  private mutating func check(_ text: String) {
    for part in text.split(separator: "&", omittingEmptySubsequences: false).dropFirst() {
      if !["amp;", "lt;", "gt;", "quot;", "#39;"].contains(where: { part.hasPrefix($0) }) {
        problems.append("a bare &: \(part.prefix(20))")
      }
    }
    if text.contains("<") { problems.append("a bare < in \(text.prefix(40))") }
    for scalar in text.unicodeScalars where scalar.value < 32 && scalar != "\n" && scalar != "\t" {
      problems.append("the control character \(scalar.value)")
    }
  }
}

@Suite struct ReportTests {
  private static let hostile =
    "</script><script>alert(1)</script>&\"'<!--]]>\u{0}\u{1b}[31m\u{2028}&lt;<img src=x onerror=y>"

  static func comparison(_ rounds: Int = 6) -> Comparison {
    var told = ToldComparison("epoll", "io_uring")
    told.rounds = rounds
    told.subjects.append(ToldComparison.peer("nginx tuned"))
    told.tell("io_uring", .cpuPerRequest, 0.9)
    told.adjust = { m in
      m.load.latency.histogram = (1...40).map { [$0 * 50_000, 2000 / $0] }
      m.load.uncorrected.p99 = 1_000_000
      m.systemCalls = m.load.completed * 4
    }
    var comparison = told.make()
    comparison.machine.processors = [0, 1]
    comparison.machine.proxyProcessors = [0]
    comparison.machine.loadProcessors = [1]
    return comparison
  }

  private func check(_ comparison: Comparison, sourceLocation: SourceLocation = #_sourceLocation)
    -> PageChecker
  {
    let checker = PageChecker(ReportHTML.render(comparison))
    #expect(checker.problems.isEmpty, sourceLocation: sourceLocation)
    #expect(checker.scripts.count == 2, sourceLocation: sourceLocation)
    let columns = ComparisonText.render(comparison).split(separator: "\n").map(\.count).max() ?? 0
    #expect(columns <= 100, sourceLocation: sourceLocation)
    return checker
  }

  @Test func thePageIsWellFormedAndAsksForNothing() {
    var comparison = Self.comparison()
    comparison.conclude()
    let found = check(comparison)
    #expect(found.elements["svg"] ?? 0 >= 20 && found.elements["table"] ?? 0 >= 10)
    #expect(found.elements["img"] == nil && found.elements["iframe"] == nil)
  }

  @Test func theCheckerFindsWhatItIsFor() {
    let page = "<!DOCTYPE html>\n<p id=\"a\">b &amp; c<br><svg x=\"1\"/></p>"
    #expect(PageChecker(page).problems.isEmpty)
    for (old, new) in [
      ("</p>", ""), ("</p>", "</b>"), ("&amp;", "&"), ("b ", "b < "), ("\"a\"", "a"),
      ("<br>", "<br><b id=\"a\"></b>"), ("<br>", "<img src=\"http://h/x.png\">"),
      ("<br>", "<link href=\"/x.css\">"), ("id=", "onclick=\"x\" id="), ("\"1\"", "\"nan\""),
      ("b ", "b\u{1b} "), ("<br>", "<style>@import 'x'</style>"), ("<!DOCTYPE html>\n", ""),
      ("id=\"a\"", "aria-labelledby=\"c\""), ("id=\"a\"", "id=\"a\" id=\"b\""),
    ] {
      #expect(page.contains(old))
      #expect(!PageChecker(page.replacing(old, with: new)).problems.isEmpty, "\(old) as \(new)")
    }
  }

  // MARK: Hostile texts

  /// Every text that a comparison holds, made hostile at once.
  private static func poisoned() -> Comparison {
    var c = comparison()
    let names = c.subjects.map(\.name)
    for i in c.measurements.indices {
      c.measurements[i].subject += hostile
      c.measurements[i].stage += hostile
      c.measurements[i].processorBusy[hostile] = 0.5
      if c.measurements[i].round == 0 { c.measurements[i].failure = hostile }
      c.measurements[i].load.examples = [hostile: hostile]
    }
    for i in c.stages.indices {
      c.stages[i].name += hostile
      c.stages[i].reason = hostile
    }
    c.subjects = names.map { name in
      var subject =
        name.hasPrefix("nginx") ? ToldComparison.peer(name) : ToldComparison.variant(name)
      subject.name += hostile
      subject.version = hostile
      subject.program = hostile
      subject.arguments = [hostile]
      subject.options = [hostile: hostile]
      subject.configurations = [hostile: hostile]
      subject.source = hostile
      return subject
    }
    var failed = ToldComparison.peer("caddy")
    failed.failure = hostile
    c.subjects.append(failed)
    c.baseline = c.subjects[0].name
    c.findings = [MachineFinding(.warning, hostile), MachineFinding(.refusal, hostile)]
    c.workload.name = hostile
    c.workload.description = hostile
    c.workload.loadArguments = [hostile]
    c.workload.originArguments = [hostile]
    c.workload.files = [hostile: hostile]
    c.machine.kernel = hostile
    c.machine.processor = hostile
    c.machine.settings = [hostile: hostile]
    c.machine.features = [hostile: "refused: " + hostile]
    c.target = TargetFacts()
    c.target!.name = hostile
    c.target!.features = [hostile: hostile]
    (c.started, c.version, c.command) = (hostile, hostile, [hostile])
    return c
  }

  @Test func nothingThatWasMeasuredBecomesMarkup() throws {
    var comparison = Self.poisoned()
    comparison.conclude()
    let found = check(comparison)
    #expect(found.elements["img"] == nil)
    let page = ReportHTML.render(comparison)
    #expect(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"))
    // The data are whole in spite of it.
    let kept = try Comparison(json: Array(try #require(found.scripts.first).utf8))
    #expect(kept.subjects[0].name == "epoll" + Self.hostile)
    #expect(kept.verdict.headline == comparison.verdict.headline)
    #expect(kept.measurements.count == comparison.measurements.count)
    // A log's last words must not steer the terminal either.
    let text = ComparisonText.render(comparison)
    #expect(text.contains("epoll</script>"))
    #expect(!text.unicodeScalars.contains { $0.value < 32 && $0 != "\n" })
  }

  @Test func everyTextIsEscapedByItself() {
    #expect(
      HTML.escape("a<b>&\"'\u{0}\u{85}\n\t") == "a&lt;b&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}\n\t")
    #expect(
      HTML.escapeJSON("\"</script>&\u{2028}\u{2029}")
        == "\"\\u003c/script\\u003e\\u0026\\u2028\\u2029")
  }

  // MARK: Figures that are none

  private static let odd: [Double] = [
    .nan, .infinity, -.infinity, 0, -1, 1e300, -1e300, .leastNonzeroMagnitude, 9.3e18,
  ]

  @Test(arguments: 0..<9)
  func noFigureEndsTheReport(_ number: Int) throws {
    let value = Self.odd[number]
    var c = Self.comparison()
    c.seconds = value
    for i in c.stages.indices where c.stages[i].rate != nil { c.stages[i].rate = value }
    for i in c.measurements.indices {
      c.measurements[i].load.completedRate = value
      c.measurements[i].load.seconds = value
      c.measurements[i].processSeconds = value
      c.measurements[i].machineSeconds = value
      c.measurements[i].userSeconds = value
      c.measurements[i].systemSeconds = value
      c.measurements[i].proxyBusy = value
      c.measurements[i].processorBusy = ["0": value]
    }
    _ = check(c)
    c.conclude()
    _ = check(c)
    for i in c.ratios.indices {
      (c.ratios[i].estimate, c.ratios[i].low, c.ratios[i].high) = (value, value, value)
      c.ratios[i].outcome = .undecided
    }
    _ = check(c)
    #expect(!said(c.verdict).contains("nan"))
    // What is written can be read again.
    let again = try Comparison(json: c.json())
    #expect(again.seconds == value || value.isNaN && again.seconds.isNaN)
    #expect(again.measurements.count == c.measurements.count)
  }

  private func said(_ verdict: Verdict) -> String {
    ([verdict.headline] + verdict.reasons + verdict.wouldChange).joined(separator: "\n")
  }

  @Test func wholeNumbersOfAnySizeAreDrawn() {
    var c = Self.comparison()
    for i in c.measurements.indices {
      let far = i % 2 == 0 ? Int.max : 1
      c.measurements[i].load.latency.p50 = far
      c.measurements[i].load.latency.p99 = far
      c.measurements[i].load.latency.histogram = [[far, far / 1000], [0, 4], [5], []]
      c.measurements[i].load.completed = i % 3 == 0 ? far : 0
      c.measurements[i].systemCalls = far
      c.measurements[i].residentBytes = far
    }
    c.machine.memoryBytes = Int.max
    c.conclude()
    _ = check(c)
  }

  @Test func comparisonsWithHolesAreDrawn() {
    _ = check(Comparison())
    var c = Self.comparison()
    c.measurements = []
    c.conclude()
    _ = check(c)
    c = Self.comparison(1)
    c.conclude()
    _ = check(c)
    c = Self.comparison()
    c.stages = []
    c.conclude()
    _ = check(c)
    c = Self.comparison()
    c.conclude()
    c.subjects = []
    _ = check(c)
    c.stages = []
    _ = check(c)
    c = Self.comparison()
    for i in c.subjects.indices { c.subjects[i].failure = "did not start" }
    c.conclude()
    _ = check(c)
    c = Self.comparison()
    for i in c.measurements.indices { c.measurements[i].failure = "reset 9" }
    c.conclude()
    _ = check(c)
  }

  @Test(arguments: [
    (0.0, "0.00"), (.infinity, "∞"), (-.infinity, "\u{2212}∞"), (.nan, "–"), (1e300, "∞"),
    (1234, "1,234"), (99.94, "99.9"), (0.0123, "0.0123"),
  ])
  func threeDigitsOfAnything(_ value: Double, _ text: String) {
    #expect(Figure.three(value) == text)
  }

  @Test(arguments: [
    (1.0, "±0%"), (1.0004, "±0%"), (1.0006, "+0.1%"), (0.887, "\u{2212}11%"), (1.18, "+18%"),
    (0.95, "\u{2212}5.0%"), (.infinity, "+∞%"), (2.5, "+150%"), (9.9, "+890%"), (42, "×42.0"),
  ])
  func changesAreSigned(_ ratio: Double, _ text: String) { #expect(Figure.change(ratio) == text) }

  @Test(arguments: [
    (0.954, "95.4%"), (0.949, "94.9%"), (1, "100%"), (0.02, "2.0%"), (.nan, "–"),
  ])
  func sharesArePercentages(_ share: Double, _ text: String) {
    #expect(Figure.percent(share) == text)
  }

  @Test(arguments: [
    (0.0, "0.00"), (99, "99.0"), (24_349, "24,300"), (1_234_567, "1,230,000"), (.infinity, "∞"),
    (.nan, "–"), (1e300, "∞"),
  ])
  func ratesHaveThreeDigits(_ rate: Double, _ text: String) { #expect(Figure.rate(rate) == text) }

  // MARK: Axes

  @Test func ticksAreRoundFewAndOnTheAxis() {
    var random = TestRandom(state: 8)
    for _ in 0..<400 {
      let high = exp(40 * random.uniform() - 20)
      let most = 2 + Int(random.next() % 12)
      let linear = Axis.fromZero(high, from: 300, to: 10)
      let ticks = linear.ticks(atMost: most)
      #expect(!ticks.isEmpty && ticks.count <= most + 1)
      #expect(ticks.allSatisfy { $0 >= 0 && $0 <= linear.high * 1.001 })
      let values = [high, high * exp(8 * random.uniform())]
      let decades = Axis.logarithmic(around: values, from: 300, to: 10)
      #expect(decades.low <= values[0] && decades.high >= values[1])
      for (axis, found) in [(linear, ticks), (decades, decades.ticks(atMost: 9))] {
        #expect(zip(found, found.dropFirst()).allSatisfy { $0 < $1 })
        #expect(found.allSatisfy { (9...301).contains(axis.position($0)) })
      }
    }
  }

  // MARK: A terminal's width

  @Test func anyNameFitsAHundredColumns() {
    var c = Self.comparison()
    let long = String(repeating: "registered_buffers", count: 20)
    for i in c.stages.indices { c.stages[i].name += long }
    for i in c.measurements.indices { c.measurements[i].stage += long }
    c.findings = [MachineFinding(.warning, "see /\(long)/\(long) for more")]
    c.subjects[2].failure = "\(long) \(long)"
    c.conclude()
    let text = ComparisonText.render(c)
    #expect(text.split(separator: "\n").map(\.count).max() == 100)
    // Nothing of a sentence is lost by breaking it.
    #expect(text.filter { $0 != "\n" && $0 != " " }.contains("see/\(long)/\(long)formore"))
  }

  @Test func everyRowSaysHowBusyEachCPUWasAndWhatARequestTook() {
    var c = Self.comparison()
    for i in c.measurements.indices {
      c.measurements[i].processorBusy["1"] = 0.315
      c.measurements[i].turns = Int(c.measurements[i].requestsInTime / 2)
      c.measurements[i].completionQueueOverflows = c.measurements[i].round == 0 ? 3 : 0
    }
    c.conclude()
    let text = ComparisonText.render(c)
    #expect(text.contains("busy: CPU 0, 1") && text.contains("99%, 31%"), "\(text)")
    let lines = text.split(separator: "\n").map { $0.split(separator: " ") }
    let counts = lines.filter { $0.first == "io_uring" && $0.count == 10 && $0[1] == "4.00" }
    #expect(counts.count == c.stages.count, "\(text)")
    #expect(counts.allSatisfy { $0[4] == "0.50" && $0.last == "3" }, "\(counts)")
    // epoll has no completion queue, and a zero would say that it has.
    #expect(!lines.contains { $0.first?.hasPrefix("epoll") == true && $0.last == "3" })
    #expect(ReportHTML.render(c).contains("CQ overflows"))
    // More CPUs than a line can hold.
    c.machine.proxyProcessors = Array(0..<32)
    c.machine.loadProcessors = Array(32..<64)
    let many = ComparisonText.render(c)
    #expect(many.contains("busy: proxy, load"))
    #expect(many.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }

  @Test func theVerdictIsLast() throws {
    var c = Self.comparison()
    c.conclude()
    let text = ComparisonText.render(c)
    let parts = [
      "maximum\n", "equal: 9,000 requests/s\n", "io_uring against epoll", "\nVerdict\n", "\nWhy\n",
    ]
    var at = text.startIndex
    for part in parts {
      at = try #require(text[at...].firstRange(of: part), "\(part) in its place").upperBound
      at = text.index(before: at)
    }
    #expect(text.contains("* CPU per request"))
  }
}
