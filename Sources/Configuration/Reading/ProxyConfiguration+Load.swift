// From bytes to a configuration: parse, expand, read, resolve names, cross-check. Every step runs
// even where an earlier value was wrong, so that one run tells everything. Nothing here touches a
// file, a clock or the environment; what it needs comes in as arguments.

extension ProxyConfiguration {
  /// Reads a configuration.
  ///
  /// - Parameters:
  ///   - bytes: the file's content, UTF-8 (or UTF-16 with a byte order mark), at most 1 MiB.
  ///   - file: the file's name for messages; it is not opened.
  ///   - overrides: values that take the place of the file's, in this order.
  ///   - environment: gives the value of a variable, nil if it is not set.
  /// - Returns: the configuration, or nil and at least one error; the problems in file order.
  public static func load(
    bytes: [UInt8], file: String, overrides: [Override] = [],
    environment: (String) -> String?
  ) -> LoadResult {
    let composed = YAMLComposer.compose(bytes, file: file)
    var reader = Reader(file: file)
    reader.problems = composed.problems
    var configuration: ProxyConfiguration?
    if var root = composed.root, !root.isNull {
      for override in overrides { override.apply(to: &root, problems: &reader.problems) }
      Expansion.expand(
        &root, at: rootPath, file: file, environment: environment, problems: &reader.problems)
      configuration = reader.configuration(Located(node: root, path: rootPath))
    } else if composed.problems.isEmpty {
      reader.report(
        SourceLocation(file: file, line: 1, column: 1, keyPath: rootPath), "is empty",
        "write at least listeners: [{address: 0.0.0.0:8080}]"
          + " and upstreams: {web: {servers: [10.0.0.1:3000]}}")
    }
    let hasErrors = reader.problems.contains { $0.severity == .error }
    return LoadResult(
      configuration: hasErrors ? nil : configuration, partial: configuration,
      problems: inFileOrder(reader.problems, file))
  }

  /// Sorted by place, stable, and cut where nobody reads on.
  private static func inFileOrder(_ problems: [Problem], _ file: String) -> [Problem] {
    let order = problems.indices.sorted { left, right in
      let (first, second) = (problems[left].location, problems[right].location)
      return (first.line, first.column, left) < (second.line, second.column, right)
    }
    let sorted = order.map { problems[$0] }
    guard sorted.count > LoadResult.maximumProblems else { return sorted }
    let kept = sorted.prefix(LoadResult.maximumProblems)
    let rest = sorted.dropFirst(LoadResult.maximumProblems)
    let hasError = rest.contains { $0.severity == .error }
    return kept + [
      Problem(
        location: rest.first?.location ?? SourceLocation(file: file),
        message: "is the first of \(rest.count) further problems, which are not shown",
        hint: "fix those above and check again", severity: hasError ? .error : .warning)
    ]
  }
}

extension Reader {
  mutating func configuration(_ root: Located) -> ProxyConfiguration? {
    guard let fields = fields(root, Shapes.root, example: "listeners: [{address: 0.0.0.0:8080}]")
    else { return nil }
    var configuration = ProxyConfiguration()
    if let engine = engine(fields) {
      if let kind = engine.kind { configuration.engine = kind }
      configuration.engineSettings = engine.settings
    }
    if let workers = workers(fields) { configuration.workers = workers }
    if let pin = pin(fields) { configuration.pin = pin }
    if let word = word(fields, "placement"), let placement = Placement(rawValue: word) {
      configuration.placement = placement
    }
    if let limits = limits(fields) { configuration.limits = limits }
    if let via = via(fields) { configuration.via = via }
    if case .mapping(let entries)? = fields["limits"]?.node.content {
      configuration.connectionsAreConfigured = entries.contains { $0.key == "connections" }
    }
    if let value = fields["drain"],
      let drain = self.fields(value, Shapes.drain, example: "drain: {deadline: 30s}")
    {
      if let deadline = duration(drain, "deadline") {
        configuration.drain.deadlineNanoseconds = deadline
      }
      configuration.drain.tunnelsNanoseconds = duration(drain, "tunnels")
    }
    if let value = fields["reload"],
      let reload = self.fields(value, Shapes.reload, example: "reload: {watch: true}"),
      let watch = boolean(reload, "watch")
    {
      configuration.reload.watch = watch
    }
    if let value = fields["audit"] { configuration.audit = audit(value) }
    if let value = fields["access_log"] { configuration.accessLog = accessLog(value) }
    if let value = fields["tracing"] { configuration.tracing = tracing(value) }

    var listeners = self.listeners(fields)
    if let value = fields["admin"] { configuration.admin = admin(value, listeners: listeners) }
    let upstreams = self.upstreams(fields)
    resolveRelays(&listeners, upstreams)
    let routes = self.routes(fields, listeners: listeners, upstreams: upstreams)
    configuration.listeners = listeners.compactMap(\.configuration)
    configuration.upstreams = upstreams.compactMap(\.configuration)
    configuration.routes = routes
    // What is missing because it was wrong must not be reported again as unused or empty.
    if !problems.contains(where: { $0.severity == .error }) {
      problems += configuration.warnings()
    }
    return configuration
  }

  private mutating func workers(_ root: Fields) -> WorkerCount? {
    guard let value = root["workers"] else { return nil }
    if case .scalar(let scalar) = value.node.content, scalar.text == "auto" { return .automatic }
    return integer(root, "workers").map { .count($0) }
  }

  /// YAML 1.1 readers, editors among them, take `on` and `off` for booleans; so `true` and `false`
  /// mean the same here.
  private mutating func pin(_ root: Fields) -> Pinning? {
    if case .scalar(let scalar)? = root["pin"]?.node.content, scalar.plainKind == .boolean {
      return lowercased(scalar.text) == "true" ? .on : .off
    }
    return word(root, "pin").flatMap { Pinning(rawValue: $0) }
  }

  /// `on`, `off` (or the booleans that editors make of them), or a name.
  private mutating func via(_ root: Fields) -> ViaSetting? {
    guard let value = root["via"] else { return nil }
    if case .scalar(let scalar) = value.node.content, scalar.plainKind == .boolean {
      return lowercased(scalar.text) == "true" ? .standard : .off
    }
    let shape = ValueShape.text(maximum: ViaSetting.pseudonymBytesMaximum, example: "on")
    guard let text = text(value, shape, key: "via") else { return nil }
    if text == "on" { return .standard }
    if text == "off" { return .off }
    // received-by = pseudonym (a token) or uri-host [ ":" port ], RFC 9110 7.6.3.
    let others = "!#$%&'*+-.^_`|~:[]".utf8
    let isName = text.utf8.allSatisfy { byte in
      isDigit(byte) || (byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z"))
        || others.contains(byte)
    }
    if isName { return .pseudonym(text) }
    report(
      value, "is \(quoted(text)), which is neither on, off nor a valid name for Via",
      "write one word of letters, digits and -._:, for example via: edge-1")
    return nil
  }

  private mutating func limits(_ root: Fields) -> LimitsConfiguration? {
    guard let value = root["limits"],
      let fields = fields(value, Shapes.limits, example: "limits: {connections: 65536}")
    else { return nil }
    var limits = LimitsConfiguration()
    if let count = integer(fields, "connections") { limits.connections = count }
    limits.streams = integer(fields, "streams")
    if let size = size(fields, "request_head") { limits.requestHead = size }
    if let size = size(fields, "request_target") { limits.requestTarget = size }
    if let count = integer(fields, "request_fields") { limits.requestFields = count }
    if let target = fields["request_target"], limits.requestTarget > limits.requestHead {
      report(
        target,
        "is \(sizeText(limits.requestTarget)), but request_head is limited to"
          + " \(sizeText(limits.requestHead))",
        "make request_head larger or request_target smaller")
    }
    // Who makes the head small need not know that the target is part of it.
    limits.requestTarget = min(limits.requestTarget, limits.requestHead)
    return limits
  }
}
