// `${NAME}` in scalars: what it becomes, where it is refused, and that it cannot change the shape.

import Configuration
import Testing

@Suite("Environment variables")
struct ExpansionTests {
  static let environment = ["A": "alpha", "EMPTY": "", "N": "7", "_x9": "under"]

  static func directory(_ written: String) -> LoadResult {
    load(minimal("audit: {directory: '\(written)'}"), environment)
  }

  @Test(
    "scalars expand",
    arguments: [
      ("${A}", "alpha"), ("/x/${A}/y${N}", "/x/alpha/y7"), ("${A}${A}", "alphaalpha"),
      ("${_x9}", "under"), ("${A:-b}", "alpha"), ("${NONE:-b}", "b"), ("${EMPTY:-b}", "b"),
      ("x${NONE:-}", "x"), ("x${EMPTY}", "x"), ("${NONE:-a:-b c}", "a:-b c"),
      ("$${A}", "${A}"), ("$$${A}", "$${A}"), ("$A", "$A"), ("$", "$"), ("a$$b", "a$$b"),
      ("${NONE:-$}", "$"), ("}", "}"), ("${A}}", "alpha}"),
    ])
  func expands(written: String, expected: String) {
    let result = Self.directory(written)
    #expect(result.configuration?.audit?.directory == expected, "\(result.problems)")
  }

  @Test(
    "what cannot be expanded is a problem at its place",
    arguments: [
      (
        "${NONE}", 21,
        "needs the environment variable NONE, which is not set;"
          + " set it, or give a default: ${NONE:-VALUE}"
      ),
      (
        "/x/${NONE}", 24,
        "needs the environment variable NONE, which is not set;"
          + " set it, or give a default: ${NONE:-VALUE}"
      ),
      (
        "${A", 21, "has a ${ without a closing }; write ${NAME}, or $${ for a literal ${"
      ),
      (
        "${}", 21,
        "has ${}, which is not a valid variable name;"
          + " write ${NAME} (letters, digits and _), or $${ for a literal ${"
      ),
      (
        "${9a}", 21,
        "has ${9a}, which is not a valid variable name;"
          + " write ${NAME} (letters, digits and _), or $${ for a literal ${"
      ),
      ("${A-b}", 21, "has ${A-b}, which is not a supported form; write ${A} or ${A:-DEFAULT}"),
      ("${A:=b}", 21, "has ${A:=b}, which is not a supported form; write ${A} or ${A:-DEFAULT}"),
      ("${A b}", 21, "has ${A b}, which is not a supported form; write ${A} or ${A:-DEFAULT}"),
      ("${NONE:-${A}}", 21, "has a variable inside the default of NONE; write a literal default"),
    ])
  func refused(written: String, column: Int, expected: String) {
    let result = Self.directory(written)
    #expect(result.configuration == nil)
    #expect(
      result.problems.map(\.description) == ["audit.directory (m.yaml:3:\(column)): \(expected)"])
  }

  @Test("every unset variable of a scalar is named, each at its column")
  func several() {
    let problems = load(minimal("audit:\n  directory: /${X}/${Y}")).problems
    #expect(problems.map(\.location.column) == [15, 20])
    #expect(problems.map(\.location.line) == [4, 4])
  }

  @Test("numbers, durations and words may come from the environment, quoted or not")
  func typed() throws {
    let text = minimal(
      "workers: ${N}\npin: \"${P:-off}\"\ndrain: {deadline: \"${D:-5s}\"}\nlimits: {connections: \"${N}\"}"
    )
    let it = try #require(load(text, Self.environment).configuration)
    #expect(it.workers == .count(7))
    #expect(it.pin == .off)
    #expect(it.drain.deadlineNanoseconds == 5_000_000_000)
    #expect(it.limits.connections == 7)
  }

  @Test("a wrong value from the environment names its source")
  func wrongValue() {
    #expect(
      lines(minimal("workers: ${W:-9x}")) == [
        "workers (m.yaml:3:10): is the text \"9x\" (from ${W:-9x}), expected a whole number from"
          + " 1 to 999, or auto; write for example workers: 4"
      ])
  }

  @Test("a value cannot add keys, and is not looked at again")
  func shape() {
    let environment = ["A": "x\ndrain: {deadline: 0s}", "B": "${N}", "N": "7"]
    let first = load(minimal("audit: {directory: \"${A}\"}"), environment)
    #expect(first.problems.map(\.location.keyPath) == ["audit.directory"])
    let second = load(minimal("audit: {directory: \"${B}\"}"), environment)
    #expect(second.configuration?.audit?.directory == "${N}")
  }

  @Test("keys are not expanded")
  func keys() {
    let found = load(minimal("${A}: on"), Self.environment).problems
    #expect(found.map(\.message) == ["is not a key of a configuration"])
  }

  @Test("an empty variable is an empty text, not a missing value")
  func emptyVariable() {
    #expect(
      load(minimal("pin: ${EMPTY}"), Self.environment).problems.map(\.message) == [
        "is an empty text (from ${EMPTY}), which is not a pinning mode (auto, on or off)"
      ])
  }

  @Test("an expanded text is bounded")
  func bounded() {
    let value = String(repeating: "v", count: 40000)
    let problems = load(minimal("pin: ${V}${V}"), ["V": value]).problems
    #expect(problems.map(\.message) == ["has more than 65536 characters once expanded"])
  }
}
