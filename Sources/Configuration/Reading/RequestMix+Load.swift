// Reads a mix file by the same rules, and with the same words about what is wrong, as a configuration.

extension RequestMix {
  /// What reading gave: the mix, or nil and at least one error.
  public struct Loaded: Sendable {
    public var mix: RequestMix?
    public var problems: [Problem]
  }

  /// Reads a mix file.
  ///
  ///     requests:
  ///       - {target: /, weight: 9}
  ///       - {name: upload, method: POST, target: /in, content_size: 64KiB, expect: {status: 201}}
  ///
  /// - Parameters:
  ///   - bytes: the file's content, at most 1 MiB.
  ///   - file: the file's name for messages; it is not opened.
  ///   - environment: gives the value of a variable, nil if it is not set.
  public static func load(
    bytes: [UInt8], file: String, environment: (String) -> String?
  ) -> Loaded {
    let composed = YAMLComposer.compose(bytes, file: file)
    var reader = Reader(file: file)
    reader.problems = composed.problems
    var mix: RequestMix?
    if var root = composed.root, !root.isNull {
      Expansion.expand(
        &root, at: rootPath, file: file, environment: environment, problems: &reader.problems)
      mix = reader.mix(Located(node: root, path: rootPath))
    } else if composed.problems.isEmpty {
      reader.report(
        SourceLocation(file: file, line: 1, column: 1, keyPath: rootPath), "is empty",
        "write at least requests: [{target: /}]")
    }
    let hasErrors = reader.problems.contains { $0.severity == .error }
    return Loaded(mix: hasErrors ? nil : mix, problems: reader.problems)
  }
}

enum MixShapes {
  static let expectation = MappingShape(
    "an expectation",
    [
      KeyShape("status", .integer(100...999)),
      KeyShape("length", .size(0...(1 << 40))),
      KeyShape("content_file", .text(maximum: 4096, example: "answer.json")),
    ])

  static let field = MappingShape(
    "a field",
    [
      KeyShape("name", .text(maximum: 256, example: "Accept"), required: true),
      KeyShape("value", .text(maximum: 8192, example: "text/html"), required: true),
    ])

  static let request = MappingShape(
    "a request",
    [
      KeyShape("name", .text(maximum: 128, example: "upload")),
      KeyShape("target", .text(maximum: 8192, example: "/"), required: true),
      KeyShape("method", .text(maximum: 64, example: "POST"), default: "GET"),
      KeyShape("weight", .integer(0...1_000_000), default: "1"),
      KeyShape("fields", .list(.mapping(field), count: 1...100)),
      KeyShape("content", .text(maximum: 1 << 20, example: "a=1")),
      KeyShape("content_file", .text(maximum: 4096, example: "body.json")),
      KeyShape("content_size", .size(0...(1 << 30))),
      KeyShape("expect", .mapping(expectation)),
    ])

  static let root = MappingShape(
    "a request mix",
    [KeyShape("requests", .list(.mapping(request), count: 1...4096), required: true)])
}

extension Reader {
  mutating func mix(_ root: Located) -> RequestMix? {
    guard let fields = fields(root, MixShapes.root, example: "requests: [{target: /}]"),
      let list = fields["requests"], let items = items(list, MixShapes.root.key("requests").value)
    else { return nil }
    var mix = RequestMix()
    for item in items {
      if let request = mixRequest(item) { mix.requests.append(request) }
    }
    if !mix.requests.isEmpty && mix.requests.allSatisfy({ $0.weight == 0 }) {
      report(list, "has no request with a weight", "give at least one a weight of 1 or more")
    }
    return mix
  }

  private mutating func mixRequest(_ item: Located) -> RequestMix.Request? {
    guard let fields = fields(item, MixShapes.request, example: "{target: /}") else { return nil }
    var request = RequestMix.Request(
      target: text(fields, "target")?.text ?? "/", location: location(item))
    request.name = text(fields, "name")?.text
    if let method = text(fields, "method")?.text { request.method = method }
    if let weight = integer(fields, "weight") { request.weight = weight }
    if let list = fields["fields"],
      let items = items(list, MixShapes.request.key("fields").value)
    {
      for item in items {
        guard
          let field = self.fields(item, MixShapes.field, example: "{name: Accept, value: '*/*'}"),
          let name = text(field, "name")?.text, let value = text(field, "value")?.text
        else { continue }
        request.fields.append(RequestMix.Field(name: name, value: value))
      }
    }
    let contents = ["content", "content_file", "content_size"].filter { fields.has($0) }
    if contents.count > 1, let second = fields[contents[1]] {
      report(
        second, "stands beside \(contents[0]), and a request has one content",
        "remove one of the two")
    }
    if let content = text(fields, "content")?.text { request.content = .text(content) }
    if let file = text(fields, "content_file")?.text { request.content = .file(file) }
    if let size = size(fields, "content_size") { request.content = .size(size) }
    if let value = fields["expect"],
      let expect = self.fields(value, MixShapes.expectation, example: "{status: 200}")
    {
      request.expectedStatus = integer(expect, "status")
      request.expectedLength = size(expect, "length")
      request.expectedContentFile = text(expect, "content_file")?.text
    }
    return request
  }
}
