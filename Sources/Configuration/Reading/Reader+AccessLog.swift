// Reads the access log's settings. A format is compiled here, so that a wrong one is told with its place.

import Variables

extension Reader {
  mutating func accessLog(_ value: Located) -> AccessLogConfiguration? {
    let example = "access_log: {to: /var/log/millrace/access.log}"
    guard let fields = fields(value, Shapes.accessLog, example: example) else { return nil }
    var log = AccessLogConfiguration(destination: .standardOutput)
    let to = text(fields, "to")
    let syslog = fields["syslog"].flatMap { syslogReceiver($0) }
    switch to?.text {
    case "stdout", nil: break
    case "syslog": log.destination = .syslog(syslog ?? SyslogConfiguration())
    case let path?: log.destination = .file(path)
    }
    if let to, to.text != "syslog", let place = fields["syslog"] {
      report(
        location(place), "has no effect with to: \(excerpt(to.text))",
        "write to: syslog, or remove it",
        .warning)
    }
    if let value = fields["format"], let format = lineFormat(value) { log.format = format }
    if let names = words(fields, "fields"), let place = fields["fields"] {
      if case .json = log.format {
        log.format = .json(names.compactMap { Variable(name: $0) })
      } else {
        report(
          location(place), "has no effect without format: json", "write format: json, or remove it",
          .warning)
      }
    }
    if let sample = fraction(fields, "sample") { log.samplePerMillion = sample }
    if let keeps = boolean(fields, "keep_errors") { log.keepsErrors = keeps }
    if let redacts = boolean(fields, "redact_query") { log.redactQuery = redacts }
    return to == nil ? nil : log
  }

  private mutating func syslogReceiver(_ value: Located) -> SyslogConfiguration? {
    guard let fields = fields(value, Shapes.syslog, example: "syslog: {address: unix:/dev/log}")
    else { return nil }
    var syslog = SyslogConfiguration()
    if let place = fields["address"] {
      guard
        let address = address(
          place, as: .upstream, key: "address",
          example: "unix:\(SyslogConfiguration.standardPath)")
      else { return nil }
      syslog.address = address
    }
    if let word = word(fields, "facility"),
      let number = SyslogConfiguration.facilities.firstIndex(of: word)
    {
      syslog.facility = number
    }
    if let tag = text(fields, "tag") {
      if tag.text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
        syslog.tag = tag.text
      } else {
        report(
          tag.value, "is \(quoted(tag.text)), but a tag is printable ASCII without spaces",
          "write for example tag: millrace")
      }
    }
    return syslog
  }

  // MARK: Formats

  private mutating func lineFormat(_ value: Located) -> LineFormat? {
    let shape = ValueShape.text(maximum: Template.textMaximum, example: "combined")
    guard let text = text(value, shape, key: "format") else { return nil }
    switch text {
    case "common": return .common
    case "combined": return .combined
    case "json": return .json
    default: break
    }
    guard text.contains("{") || text.contains("}") else {
      let words = ["common", "combined", "json"]
      report(
        value,
        "is \(quoted(text)), which is not a format (\(alternatives(words))) and names no variable",
        NearestName.of(text, among: words).map { "did you mean \($0)?" }
          ?? "write one of them, or for example \"{client_address} {method} {path} {status}\"")
      return nil
    }
    return template(text, value).map { .text($0) }
  }

  /// Compiles a template; what is wrong is told with the place in it.
  mutating func template(_ text: String, _ value: Located) -> Template? {
    do throws(Template.ParseError) {
      return try Template(text)
    } catch {
      switch error {
      case .unknownVariable(let name, let offset):
        report(
          location(value, offset), "has {\(excerpt(name))}, which is not a variable",
          hintForUnknown(name, among: Variable.allCases.map(\.name), none: ""))
      case .unclosedBrace(let offset):
        report(
          location(value, offset), "has a { without }", "write }, or {{ for the character itself")
      case .strayBrace(let offset):
        report(
          location(value, offset), "has a } without {", "write }} for the character itself")
      case .tooLong:
        report(
          value, "has \(text.utf8.count) bytes, more than \(Template.textMaximum)",
          "write a shorter one")
      case .tooManyVariables:
        report(
          value, "has more than \(Template.variablesMaximum) variables", "write fewer")
      }
      return nil
    }
  }

  /// The place of a character of a text, where it can be counted off.
  private func location(_ value: Located, _ offset: Int) -> SourceLocation {
    guard case .scalar(let scalar) = value.node.content, scalar.written == nil,
      let mark = scalar.textMark
    else { return location(value) }
    return location(Mark(line: mark.line, column: mark.column + offset), value.path)
  }

  // MARK: Switches

  /// Whether exchanges have lines: `on`, `off`, or the booleans that editors make of them.
  mutating func accessLogSwitch(_ fields: Fields) -> Bool? {
    if case .scalar(let scalar)? = fields["access_log"]?.node.content, scalar.plainKind == .boolean
    {
      return lowercased(scalar.text) == "true"
    }
    return word(fields, "access_log").map { $0 == "on" }
  }

  /// A share in millionths.
  mutating func fraction(_ fields: Fields, _ name: String) -> Int? {
    guard let value = fields[name] else { return nil }
    guard case .scalar(let scalar) = value.node.content, !scalar.isQuoted || scalar.written != nil,
      let millionths = Self.millionths(scalar.text)
    else {
      reportType(value, .fraction, example: "\(name): \(ValueShape.fraction.example)")
      return nil
    }
    return millionths
  }

  /// `0`, `0.25`, `1.0`: at most six digits behind the point, and at most 1.
  static func millionths(_ text: String) -> Int? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), let whole = Int(parts[0]), ["0", "1"].contains(parts[0])
    else { return nil }
    guard parts.count == 2 else { return whole * 1_000_000 }
    let digits = parts[1]
    guard (1...6).contains(digits.utf8.count), digits.utf8.allSatisfy({ isDigit($0) }),
      let number = Int(digits)
    else { return nil }
    var result = number
    for _ in digits.utf8.count..<6 { result *= 10 }
    let total = whole * 1_000_000 + result
    return total <= 1_000_000 ? total : nil
  }
}
