// The JSON Schema, the documentation and the commented example against the reader's own table of
// keys: none may know a key, a range or a default that the others do not.

import Configuration
import Foundation
import Testing
import Variables

/// Every mapping of the configuration with its definition in the schema ("" is the root).
let allShapes: [(shape: MappingShape, definition: String)] = [
  (Shapes.root, ""), (Shapes.engine, "engine"), (Shapes.listener, "listener"),
  (Shapes.relayName, "relayName"), (Shapes.tls, "tls"),
  (Shapes.certificate, "certificate"), (Shapes.downstreamTimeouts, "downstreamTimeouts"),
  (Shapes.route, "route"), (Shapes.match, "match"), (Shapes.upstream, "upstream"),
  (Shapes.server, "server"), (Shapes.upstreamTLS, "upstreamTLS"), (Shapes.retries, "retries"),
  (Shapes.upstreamTimeouts, "upstreamTimeouts"), (Shapes.audit, "audit"),
  (Shapes.segment, "segment"), (Shapes.accessLog, "accessLog"),
  (Shapes.syslog, "syslog"), (Shapes.tracing, "tracing"), (Shapes.admin, "admin"),
  (Shapes.limits, "limits"),
  (Shapes.drain, "drain"), (Shapes.reload, "reload"),
]

private func content(_ path: String) throws -> String {
  let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  return try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
}

@Suite("The JSON Schema agrees with the reader")
struct SchemaTests {
  let root: [String: Any]
  let definitions: [String: [String: Any]]

  init() throws {
    let data = Data(try content("docs/millrace.schema.json").utf8)
    root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    definitions = try #require(root["definitions"] as? [String: [String: Any]])
  }

  func object(_ definition: String) throws -> [String: Any] {
    definition.isEmpty ? root : try #require(definitions[definition], "no definition \(definition)")
  }

  @Test("every mapping has the same keys, the same required ones, and no others")
  func keys() throws {
    for (shape, definition) in allShapes {
      let object = try object(definition)
      let properties = try #require(object["properties"] as? [String: Any])
      #expect(Set(properties.keys) == Set(shape.keys.map(\.name)), "\(shape.noun)")
      let required = object["required"] as? [String] ?? []
      #expect(Set(required) == Set(shape.keys.filter(\.isRequired).map(\.name)), "\(shape.noun)")
      #expect(object["additionalProperties"] as? Bool == false, "\(shape.noun)")
    }
  }

  @Test("the schema has no mapping that the reader has not")
  func definitionsKnown() {
    let objects = definitions.filter { $0.value["properties"] != nil }.map(\.key)
    #expect(Set(objects) == Set(allShapes.map(\.definition).filter { !$0.isEmpty }))
  }

  @Test("the table of the tests reaches every mapping that the reader opens")
  func reached() {
    var reached: Set<String> = [Shapes.root.noun]
    func visit(_ value: ValueShape) {
      switch value {
      case .mapping(let shape), .named(let shape, _):
        reached.insert(shape.noun)
        walk(shape)
      case .list(let item, _): visit(item)
      case .either(let values): for value in values { visit(value) }
      default: break
      }
    }
    func walk(_ shape: MappingShape) { for key in shape.keys { visit(key.value) } }
    walk(Shapes.root)
    #expect(reached == Set(allShapes.map(\.shape.noun)))
  }

  @Test("ranges, words and defaults are the same")
  func values() throws {
    for (shape, definition) in allShapes {
      let properties = try #require(
        try object(definition)["properties"] as? [String: [String: Any]])
      for key in shape.keys {
        let property = try #require(properties[key.name])
        try check(key.value, property, "\(shape.noun).\(key.name)")
        if let text = key.defaultText {
          #expect(Self.text(property["default"]) == text, "\(shape.noun).\(key.name)")
        } else {
          #expect(property["default"] == nil, "\(shape.noun).\(key.name)")
        }
      }
    }
  }

  private func check(_ value: ValueShape, _ property: [String: Any], _ name: String) throws {
    let parts = alternatives(of: property)
    switch value {
    case .integer(let range):
      #expect(
        parts.contains {
          $0["minimum"] as? Int == range.lowerBound && $0["maximum"] as? Int == range.upperBound
        }, "\(name)")
    case .duration(let range):
      #expect(property["$ref"] as? String == "#/definitions/duration", "\(name)")
      try describes(property, durationText(range.lowerBound), durationText(range.upperBound), name)
    case .size(let range):
      #expect(property["$ref"] as? String == "#/definitions/size", "\(name)")
      try describes(property, sizeText(range.lowerBound), sizeText(range.upperBound), name)
    case .choice(let choice):
      let words = parts.compactMap { $0["enum"] as? [Any] }.joined()
        .compactMap { $0 as? String }
      #expect(Set(words) == Set(choice.words), "\(name)")
    case .either(let values):
      for part in values {
        if case .mapping = part { continue }
        try check(part, property, name)
      }
    case .list(let item, let count):
      #expect(property["minItems"] as? Int == count.lowerBound, "\(name)")
      #expect(property["maxItems"] as? Int == count.upperBound, "\(name)")
      if case .choice = item {
        try check(item, try #require(property["items"] as? [String: Any]), name)
      }
    case .named(_, let count):
      #expect(property["minProperties"] as? Int == count.lowerBound, "\(name)")
      #expect(property["maxProperties"] as? Int == count.upperBound, "\(name)")
    case .text(let maximum, _):
      #expect(parts.contains { $0["maxLength"] as? Int == maximum }, "\(name)")
    case .fraction:
      #expect(
        parts.contains { $0["minimum"] as? Int == 0 && $0["maximum"] as? Int == 1 }, "\(name)")
    case .boolean:
      #expect(parts.contains { $0["type"] as? String == "boolean" }, "\(name)")
    case .address, .fileMode:
      #expect(parts.contains { $0["type"] as? String == "string" }, "\(name)")
    case .mapping: break
    }
  }

  private func alternatives(of property: [String: Any]) -> [[String: Any]] {
    [property] + (property["anyOf"] as? [[String: Any]] ?? [])
  }

  private func describes(
    _ property: [String: Any], _ low: String, _ high: String, _ name: String
  ) throws {
    let text = try #require(property["description"] as? String, "\(name)")
    #expect(text.contains("\(low) to \(high)"), "\(name)")
  }

  /// A default of the schema as it would be written in a file.
  private static func text(_ value: Any?) -> String? {
    switch value {
    case let words as [String]: return "[\(words.joined(separator: ", "))]"
    case let text as String: return Double(text) != nil ? "\"\(text)\"" : text
    case let number as NSNumber:
      return isBoolean(number) ? (number.boolValue ? "true" : "false") : "\(number)"
    default: return nil
    }
  }

  private static func isBoolean(_ number: NSNumber) -> Bool {
    String(cString: number.objCType) == "c"
  }
}

@Suite("The documentation agrees with the reader")
struct DocumentationTests {
  /// The headings of the tables, in the order of `allShapes`.
  static let headings = [
    "The top level", "`engine`", "`listeners[]`", "`listeners[].sni[]`", "`listeners[].tls`",
    "`listeners[].tls.certificates[]`", "`listeners[].timeouts`", "`routes[]`", "`routes[].match`",
    "`upstreams.NAME`", "`upstreams.NAME.servers[]`", "`upstreams.NAME.tls`",
    "`upstreams.NAME.retries`",
    "`upstreams.NAME.timeouts`", "`audit`", "`audit.segment`", "`access_log`",
    "`access_log.syslog`", "`tracing`", "`admin`", "`limits`", "`drain`",
    "`reload`",
  ]

  /// The rows of the table under a heading: key, type and range, default.
  static func rows(_ heading: String, in text: String) -> [[String]] {
    var isInside = false
    var rows: [[String]] = []
    for line in text.split(separator: "\n") {
      if line.hasPrefix("#") {
        isInside = line.drop { $0 == "#" }.dropFirst() == heading
      } else if isInside, line.hasPrefix("| `") {
        rows.append(
          line.split(separator: "|").map {
            $0.trimmingCharacters(in: CharacterSet(charactersIn: " "))
          })
      }
    }
    return rows
  }

  @Test("every key has its row with its default and its range, and there is no other row")
  func tables() throws {
    let text = try content("docs/configuration-reference.md")
    for ((shape, _), heading) in zip(allShapes, Self.headings) {
      let rows = Self.rows(heading, in: text)
      #expect(rows.map { $0[0] } == shape.keys.map { "`\($0.name)`" }, "\(heading)")
      for (row, key) in zip(rows, shape.keys) {
        let name = "\(heading) \(key.name)"
        if let value = key.defaultText { #expect(row[2] == "`\(value)`", "\(name)") }
        #expect((row[2] == "required") == key.isRequired, "\(name)")
        for word in Self.words(key.value) { #expect(row[1].contains(word), "\(name): \(word)") }
      }
    }
    #expect(allShapes.count == Self.headings.count)
  }

  /// What the column of types must name.
  private static func words(_ value: ValueShape) -> [String] {
    switch value {
    case .integer, .duration, .size: [value.expectation]
    case .choice(let choice): choice.words.filter { Double($0) == nil }
    case .boolean: ["`true`", "`false`"]
    case .list(let item, let count):
      if case .choice = item { words(item) } else { ["\(count.lowerBound) to \(count.upperBound)"] }
    case .named(_, let count): ["\(count.lowerBound) to \(count.upperBound)"]
    case .text(let maximum, _): maximum == 4095 ? ["at most 4095 bytes"] : ["text"]
    case .either(let values): values.flatMap(words)
    case .address: ["address"]
    case .fileMode: ["octal"]
    case .fraction: ["0 to 1"]
    case .mapping: ["mapping"]
    }
  }

  @Test("every variable has its row, and there is no other one")
  func variables() throws {
    let text = try content("docs/configuration.md")
    let rows = Self.rows("Variables", in: text).map { Array($0.prefix(3)) }
    #expect(
      rows
        == Variable.allCases.map { variable in
          let entry = variable.entry
          return ["`\(entry.name)`", entry.kind == .number ? "number" : "text", entry.meaning]
        })
  }

  @Test("every example of the documentation loads without a problem")
  func examples() throws {
    let text = try content("docs/configuration.md")
    let parts = text.components(separatedBy: "```yaml\n").dropFirst()
    #expect(parts.count >= 5)
    for part in parts {
      let example = part.components(separatedBy: "```")[0]
      #expect(lines(example) == [], "\(example)")
    }
  }

  @Test("the problems that the documentation shows are the ones that are printed")
  func shownProblems() throws {
    let text = try content("docs/configuration.md")
    for (document, shown) in [
      (
        minimal(listener: "timeouts: {head: 10}"),
        "is 10, a number without a unit; write 10s for seconds or 10ms for milliseconds"
      ),
      (minimal(upstream: "balanse: hash"), "is not a key of an upstream; did you mean balance?"),
    ] {
      let found = load(document).problems.map { "\($0.message); \($0.hint)" }
      #expect(found == [shown])
      #expect(text.contains(shown))
    }
  }

  @Test("every default that is written down is the one that an absent key has")
  func defaults() throws {
    func written(_ shape: MappingShape) -> String {
      let pairs = shape.keys.compactMap { key in key.defaultText.map { "\(key.name): \($0)" } }
      return pairs.joined(separator: ", ")
    }
    let tls = "tls: {certificates: [{certificate: a, key: b}]"
    let explicit = """
      \(written(Shapes.root).split(separator: ", ").joined(separator: "\n"))
      listeners:
        - {name: e, address: ":1", \(tls), \(written(Shapes.tls))}, \(written(Shapes.listener)),
           timeouts: {\(written(Shapes.downstreamTimeouts))}}
      upstreams:
        w: {servers: [{address: "a.b:1", \(written(Shapes.server))}], \(written(Shapes.upstream)),
            tls: {\(written(Shapes.upstreamTLS))},
            retries: {\(written(Shapes.retries))}, timeouts: {\(written(Shapes.upstreamTimeouts))}}
      access_log: {to: stdout, \(written(Shapes.accessLog)), syslog: {\(written(Shapes.syslog))}}
      tracing: {endpoint: "http://a.b", \(written(Shapes.tracing))}
      audit: {directory: d, \(written(Shapes.audit)), segment: {\(written(Shapes.segment))}}
      admin: {\(written(Shapes.admin))}
      limits: {\(written(Shapes.limits))}
      drain: {\(written(Shapes.drain))}
      """
    let absent = """
      listeners: [{name: e, address: ":1", \(tls)}}]
      upstreams: {w: {servers: ["a.b:1"], tls: {}}}
      audit: {directory: d}
      access_log: {to: stdout}
      tracing: {endpoint: "http://a.b"}
      admin: {}
      """
    let full = load(explicit)
    #expect(full.problems.filter { $0.severity == .error } == [])
    let one = try #require(full.configuration)
    let other = try #require(load(absent).configuration)
    #expect(one.engine == other.engine)
    #expect(one.workers == other.workers)
    #expect(one.pin == other.pin)
    #expect(one.listeners[0].mode == other.listeners[0].mode)
    #expect(one.listeners[0].timeouts == other.listeners[0].timeouts)
    #expect(one.listeners[0].tls?.minimumVersion == other.listeners[0].tls?.minimumVersion)
    var serverTLS = try #require(one.upstreams[0].tls)
    serverTLS.caLocation = try #require(other.upstreams[0].tls).caLocation
    #expect(serverTLS == other.upstreams[0].tls)
    #expect(one.upstreams[0].balance == other.upstreams[0].balance)
    #expect(one.upstreams[0].retries == other.upstreams[0].retries)
    #expect(one.upstreams[0].timeouts == other.upstreams[0].timeouts)
    #expect(one.upstreams[0].idleConnections == other.upstreams[0].idleConnections)
    #expect(one.upstreams[0].servers[0].weight == other.upstreams[0].servers[0].weight)
    #expect(one.limits == other.limits)
    #expect(one.drain == other.drain)
    #expect(one.admin?.address == other.admin?.address)
    #expect(one.admin != nil)
    #expect(one.accessLog != nil && one.accessLog == other.accessLog)
    #expect(one.tracing != nil && one.tracing == other.tracing)
    var audit = try #require(one.audit)
    audit.directoryLocation = try #require(other.audit).directoryLocation
    #expect(audit == other.audit)
  }

  @Test("the commented example loads, and names every key")
  func example() throws {
    let text = try content("packaging/millrace.yaml")
    #expect(lines(text) == [])
    let it = try #require(load(text, ["MILLRACE_UPSTREAM": "10.9.8.7:6"]).configuration)
    #expect(it.upstreams[0].servers[0].address == .ip(host: "10.9.8.7", port: 6))
    for (shape, _) in allShapes where shape.noun != Shapes.engine.noun {
      for key in shape.keys where key.name != "path_exact" {
        #expect(text.contains("\(key.name):"), "\(shape.noun).\(key.name)")
      }
    }
  }

  @Test("the example loads with every comment that holds a key taken away")
  func uncommented() throws {
    let text = try content("packaging/millrace.yaml")
    let bare = text.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
      guard let hash = line.firstIndex(of: "#"), line[..<hash].allSatisfy({ $0 == " " }) else {
        return String(line)
      }
      let inner = line[line.index(after: hash)...].dropFirst()
      let isKey = inner.drop { $0 == " " || $0 == "-" }.prefix { $0 != " " }.contains(":")
      return isKey ? String(line[..<hash]) + inner : String(line)
    }
    let result = load(bare.joined(separator: "\n"))
    #expect(result.problems.filter { $0.severity == .error } == [])
    let it = try #require(result.configuration)
    #expect(it.routes.count == 2)
    #expect(it.upstreams[0].servers.count == 3)
    #expect(it.audit?.directory == "/var/log/millrace")
    #expect(it.listeners[0].tls?.certificates.count == 1)
  }
}
