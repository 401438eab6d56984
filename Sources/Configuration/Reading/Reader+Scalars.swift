// Reads the scalars: text, numbers, words out of a few, durations, sizes, addresses. Each returns
// nil where the key is absent or wrong (the latter reported), and the caller keeps its default.

extension Reader {
  /// Text as it stands. Numbers and booleans are refused: YAML would rewrite `1.10` or `no`.
  mutating func text(_ fields: Fields, _ name: String) -> (text: String, value: Located)? {
    guard let value = fields[name] else { return nil }
    guard let text = text(value, fields.shape.key(name).value, key: name) else { return nil }
    return (text, value)
  }

  mutating func text(_ value: Located, _ shape: ValueShape, key: String) -> String? {
    let example = "\(key): \(shape.example)"
    guard case .scalar(let scalar) = value.node.content, !value.node.isNull else {
      reportType(value, shape, example: example)
      return nil
    }
    guard scalar.plainKind == .text else {
      report(
        value, "is \(value.node.found), expected text",
        "put quotes around it: \(key): \"\(excerpt(scalar.text))\"")
      return nil
    }
    if scalar.text.isEmpty {
      report(value, "is \(value.node.found)", "write for example \(example)")
      return nil
    }
    if hasControl(scalar.text) {
      report(
        value, "contains a control character or a line break: \(quoted(scalar.text))",
        "remove it")
      return nil
    }
    if case .text(let maximum, _) = shape, scalar.text.utf8.count > maximum {
      report(
        value, "has \(scalar.text.utf8.count) bytes, more than \(maximum)", "write a shorter one")
      return nil
    }
    return scalar.text
  }

  mutating func integer(_ fields: Fields, _ name: String) -> Int? {
    guard let value = fields[name] else { return nil }
    let key = fields.shape.key(name)
    // The default is a better example than a small number.
    let example = key.defaultText.flatMap { Int($0) == nil ? nil : $0 } ?? key.value.example
    return integer(value, key.value, example: "\(name): \(example)")
  }

  mutating func integer(_ value: Located, _ shape: ValueShape, example: String) -> Int? {
    let range = shape.integerRange
    guard case .scalar(let scalar) = value.node.content, !scalar.isQuoted || scalar.written != nil,
      let digits = Self.decimal(scalar.text)
    else {
      reportType(value, shape, example: example)
      return nil
    }
    if digits.count > 1, digits.utf8.first == UInt8(ascii: "0") {
      report(
        value, "is \(excerpt(scalar.text)), but some parsers read a leading 0 as octal",
        "write it without the 0")
      return nil
    }
    guard let number = Int(scalar.text), range.contains(number) else {
      reportRange(value, excerpt(scalar.text), shape, example)
      return nil
    }
    return number
  }

  mutating func boolean(_ fields: Fields, _ name: String) -> Bool? {
    guard let value = fields[name] else { return nil }
    if case .scalar(let scalar) = value.node.content, !scalar.isQuoted || scalar.written != nil {
      if scalar.text == "true" { return true }
      if scalar.text == "false" { return false }
    }
    reportType(value, .boolean, example: "\(name): true")
    return nil
  }

  /// Base 8 with or without a leading 0, quoted or not: `0660` and `"660"` are one mode, whatever a
  /// reader of YAML takes the digits for.
  mutating func fileMode(_ fields: Fields, _ name: String) -> UInt32? {
    guard let value = fields[name] else { return nil }
    if case .scalar(let scalar) = value.node.content, (1...4).contains(scalar.text.utf8.count),
      let mode = UInt32(scalar.text, radix: 8), scalar.text.utf8.allSatisfy({ isDigit($0) }),
      mode <= 0o777
    {
      return mode
    }
    reportType(value, .fileMode, example: "\(name): \(ValueShape.fileMode.example)")
    return nil
  }

  mutating func duration(_ fields: Fields, _ name: String) -> Int64? {
    guard let value = fields[name] else { return nil }
    let shape = fields.shape.key(name).value
    guard case .duration(let range) = shape else {
      preconditionFailure("\(name) is not a duration")
    }
    guard let number = quantity(value, shape, key: name, { Quantity.duration($0, in: range) })
    else { return nil }
    guard range.contains(number) else {
      reportRange(value, written(value), shape, "\(name): \(shape.example)")
      return nil
    }
    return number
  }

  mutating func size(_ fields: Fields, _ name: String) -> Int? {
    guard let value = fields[name] else { return nil }
    let shape = fields.shape.key(name).value
    guard case .size(let range) = shape else { preconditionFailure("\(name) is not a size") }
    guard let number = quantity(value, shape, key: name, Quantity.size) else { return nil }
    guard range.contains(Int(number)) else {
      reportRange(value, written(value), shape, "\(name): \(shape.example)")
      return nil
    }
    return Int(number)
  }

  mutating func word(_ fields: Fields, _ name: String) -> String? {
    guard let value = fields[name] else { return nil }
    return word(value, fields.shape.key(name).value, key: name)
  }

  /// One of a choice's words. A plain number is taken by its letters, for `minimum_version: 1.2`.
  mutating func word(_ value: Located, _ shape: ValueShape, key: String) -> String? {
    guard let choice = shape.choice else { preconditionFailure("\(key) is not a choice") }
    guard case .scalar(let scalar) = value.node.content, !value.node.isNull else {
      reportType(value, shape, example: "\(key): \(shape.example)")
      return nil
    }
    if choice.words.contains(scalar.text) { return scalar.text }
    if let other = choice.unavailable.first(where: { $0.name == lowercased(scalar.text) }) {
      report(value, other.message, other.hint)
      return nil
    }
    report(
      value, "is \(value.node.found), which is not \(choice.noun) (\(alternatives(choice.words)))",
      (choice.meant[lowercased(scalar.text)] ?? NearestName.of(scalar.text, among: choice.words))
        .map { "did you mean \($0)?" } ?? "write one of them")
    return nil
  }

  /// The words of a list of a choice, each at most once; the wrong ones are left out.
  mutating func words(_ fields: Fields, _ name: String) -> [String]? {
    let shape = fields.shape.key(name).value
    guard case .list(let item, _) = shape else { preconditionFailure("\(name) is not a list") }
    guard let list = fields[name], let items = items(list, shape) else { return nil }
    var words: [String] = []
    for value in items {
      guard let word = word(value, item, key: name) else { continue }
      if words.contains(word) {
        report(value, "is \(word), which is already in the list", "keep one of the two")
      } else {
        words.append(word)
      }
    }
    return words
  }

  mutating func address(
    _ value: Located, as role: EndpointAddress.Role, key: String, example: String
  ) -> EndpointAddress? {
    let shape = ValueShape.address(example: example)
    // A bare port is a number to YAML; the address grammar has the better advice for it.
    var text: String?
    if case .scalar(let scalar) = value.node.content, scalar.plainKind == .number {
      text = scalar.text
    } else {
      text = self.text(value, shape, key: key)
    }
    guard let text else { return nil }
    do throws(EndpointAddress.ParseError) {
      return try EndpointAddress.parse(text, as: role)
    } catch {
      report(value, error.message, error.hint)
      return nil
    }
  }

  private mutating func quantity(
    _ value: Located, _ shape: ValueShape, key: String, _ parse: (String) -> Quantity
  ) -> Int64? {
    let example = "\(key): \(shape.example)"
    guard case .scalar(let scalar) = value.node.content, !value.node.isNull else {
      reportType(value, shape, example: example)
      return nil
    }
    switch parse(scalar.text) {
    case .value(let number): return number
    case .tooLarge:
      reportRange(value, excerpt(scalar.text), shape, example)
    case .malformed(let message, let hint):
      report(value, message, hint ?? "write \(shape.expectation), for example \(example)")
    }
    return nil
  }

  private func written(_ value: Located) -> String {
    guard case .scalar(let scalar) = value.node.content else { return value.node.found }
    return excerpt(scalar.text)
  }

  private mutating func reportRange(
    _ value: Located, _ found: String, _ shape: ValueShape, _ example: String
  ) {
    report(
      value, "is \(found), out of range", "write \(shape.expectation), for example \(example)")
  }

  /// The digits of a decimal number, without its sign.
  private static func decimal(_ text: String) -> String? {
    let hasSign = text.hasPrefix("-") || text.hasPrefix("+")
    let digits = hasSign ? String(text.dropFirst()) : text
    return !digits.isEmpty && digits.utf8.allSatisfy { isDigit($0) } ? digits : nil
  }
}

extension ValueShape {
  /// A right value, as it is written in a file.
  var example: String {
    switch self {
    case .text(_, let example), .address(let example): example
    case .integer(let range): String(min(max(4, range.lowerBound), range.upperBound))
    case .duration: "30s"
    case .size(let range): range.contains(8 << 10) ? "8KiB" : "64MiB"
    case .boolean: "true"
    case .fraction: "0.1"
    case .fileMode: "\"0660\""
    case .choice(let choice): quotedIfNumber(choice.words.last ?? "")
    case .mapping(let shape):
      "{"
        + (shape.keys.filter(\.isRequired).isEmpty
        ? Array(shape.keys.prefix(1)) : shape.keys.filter(\.isRequired))
        .map { "\($0.name): \($0.value.example)" }.joined(separator: ", ") + "}"
    case .list(let item, _): "[\(item.example)]"
    case .named(let shape, _): "{web: \(ValueShape.mapping(shape).example)}"
    case .either(let shapes): shapes.first?.example ?? ""
    }
  }

  private func quotedIfNumber(_ word: String) -> String {
    Scalar.isNumber(word) ? "\"\(word)\"" : word
  }

  /// The range of the integer in this shape, alone or as an alternative.
  var integerRange: ClosedRange<Int> {
    switch self {
    case .integer(let range): return range
    case .either(let shapes):
      for case .integer(let range) in shapes { return range }
    default: break
    }
    preconditionFailure("the schema entry is not an integer")
  }

  /// The words in this shape, alone or as an alternative.
  var choice: Choice? {
    switch self {
    case .choice(let choice): return choice
    case .either(let shapes):
      for case .choice(let choice) in shapes { return choice }
      return nil
    default: return nil
    }
  }
}
