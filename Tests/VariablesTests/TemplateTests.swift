// The compiler of templates: what it makes, what it refuses and where, and its limits.

import Testing

@testable import Variables

@Suite("Templates")
struct TemplateTests {
  @Test("text and variables become parts in their order")
  func parts() throws {
    #expect(
      try Template("a {method}{path} b").parts == [
        .text("a "), .variable(.method), .variable(.path), .text(" b"),
      ])
    #expect(try Template("").parts == [])
    #expect(try Template("{status}").parts == [.variable(.status)])
  }

  @Test("a doubled brace is the character")
  func doubled() throws {
    #expect(
      try Template("{{x}} {{{method}}}").parts == [
        .text("{x} {"), .variable(.method), .text("}"),
      ])
  }

  @Test(
    "what is wrong is told with its place",
    arguments: [
      ("{nope}", Template.ParseError.unknownVariable("nope", at: 1)),
      ("ü {Method}", .unknownVariable("Method", at: 3)),
      ("{}", .unknownVariable("", at: 1)),
      ("{ method}", .unknownVariable(" method", at: 1)),
      ("a {method", .unclosedBrace(at: 2)),
      ("a } b", .strayBrace(at: 2)),
      ("{", .unclosedBrace(at: 0)),
    ])
  func wrong(_ source: String, _ error: Template.ParseError) {
    #expect(throws: error) { try Template(source) }
  }

  @Test("a template tells what it was made from", arguments: ["{{a}} {status}{path}", "", "x}}"])
  func source(_ text: String) throws {
    #expect(try Template(text).source == text)
  }

  @Test("limits of text and variables")
  func limits() throws {
    let most = Template.textMaximum
    #expect(throws: Never.self) { try Template(String(repeating: "x", count: most - 1)) }
    #expect(throws: Never.self) { try Template(String(repeating: "x", count: most)) }
    #expect(throws: Template.ParseError.tooLong) {
      try Template(String(repeating: "x", count: most + 1))
    }
    let many = Template.variablesMaximum
    for count in [many - 1, many] {
      let template = try Template(String(repeating: "{status}", count: count))
      #expect(template.parts.count == count)
    }
    #expect(throws: Template.ParseError.tooManyVariables) {
      try Template(String(repeating: "{status}", count: many + 1))
    }
  }

  @Test("every name is unique, in snake_case, and leads to its variable")
  func names() {
    let names = Variable.allCases.map(\.name)
    #expect(Set(names).count == names.count)
    for variable in Variable.allCases {
      #expect(Variable(name: variable.name) == variable)
      #expect(variable.name.utf8.allSatisfy { $0 == 0x5F || $0 >= 0x61 && $0 <= 0x7A })
      #expect(!variable.entry.meaning.isEmpty)
    }
  }
}
