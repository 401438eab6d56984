// The vocabulary of the configuration's shape: which keys a mapping has, what each takes, in which
// range, and which keys belong to later versions. The reader takes its ranges from here, the JSON
// Schema and the documentation are tested against it: there is one truth.

/// What a key takes.
package indirect enum ValueShape: Sendable {
  /// Text of 1…`maximum` bytes; `example` is a right value.
  case text(maximum: Int, example: String)
  case address(example: String)
  case integer(ClosedRange<Int>)
  /// Nanoseconds.
  case duration(ClosedRange<Int64>)
  /// Bytes.
  case size(ClosedRange<Int>)
  case boolean
  /// A share from 0 to 1, with at most six digits behind the point.
  case fraction
  /// The permissions of a file, in octal.
  case fileMode
  case choice(Choice)
  case mapping(MappingShape)
  case list(ValueShape, count: ClosedRange<Int>)
  /// A mapping whose keys are names that the operator chooses.
  case named(MappingShape, count: ClosedRange<Int>)
  /// The first is the usual one.
  case either([ValueShape])
}

/// One of a few words.
package struct Choice: Sendable {
  /// What the words are, for messages: `an engine`.
  package let noun: String
  package let words: [String]
  /// Words of later versions or of a past that is not coming back: what to say and what to do.
  package let unavailable: [Unavailable]
  /// What other programs call one of the words, in lower case, and which it is here.
  let meant: [String: String]

  init(
    _ noun: String, _ words: [String], unavailable: [Unavailable] = [],
    meant: [String: String] = [:]
  ) {
    self.noun = noun
    self.words = words
    self.unavailable = unavailable
    self.meant = meant
  }
}

/// A key or word that has a meaning, but not here.
package struct Unavailable: Sendable {
  package let name: String
  /// The sentence part that follows the key path.
  package let message: String
  package let hint: String
  /// The required key whose place it takes, which is then not reported as missing.
  let standsFor: String?

  /// Something that a later version brings.
  init(_ name: String, instead hint: String, standsFor: String? = nil) {
    self.name = name
    self.message = "\(name) is not available in this version"
    self.hint = hint
    self.standsFor = standsFor
  }

  /// Something that is refused for a reason.
  init(_ name: String, because message: String, hint: String) {
    self.name = name
    self.message = message
    self.hint = hint
    self.standsFor = nil
  }
}

/// A key of a mapping.
package struct KeyShape: Sendable {
  package let name: String
  package let value: ValueShape
  package let isRequired: Bool
  /// The default as it would be written; nil if there is none.
  package let defaultText: String?

  init(
    _ name: String, _ value: ValueShape, required: Bool = false, default defaultText: String? = nil
  ) {
    self.name = name
    self.value = value
    self.isRequired = required
    self.defaultText = defaultText
  }
}

/// A mapping with a fixed set of keys.
package struct MappingShape: Sendable {
  /// What the mapping is, for messages: `a listener`.
  package let noun: String
  package let keys: [KeyShape]
  package let unavailable: [Unavailable]

  init(_ noun: String, _ keys: [KeyShape], unavailable: [Unavailable] = []) {
    self.noun = noun
    self.keys = keys
    self.unavailable = unavailable
  }

  /// The shape of one of its keys. Asking for a key that it has not is a bug of the reader.
  func key(_ name: String) -> KeyShape {
    guard let key = keys.first(where: { $0.name == name }) else {
      preconditionFailure("\(noun) has no key \(name)")
    }
    return key
  }
}

extension ValueShape {
  /// What a right value is, with its range: `a duration from 1ms to 24h`.
  package var expectation: String {
    switch self {
    case .text: "text"
    case .address: "an address"
    case .integer(let range):
      "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .duration(let range):
      "a duration from \(durationText(range.lowerBound)) to \(durationText(range.upperBound))"
    case .size(let range):
      "a size from \(sizeText(range.lowerBound)) to \(sizeText(range.upperBound))"
    case .boolean: "true or false"
    case .fraction: "a number from 0 to 1"
    case .fileMode: "an octal file mode from 0 to 0777"
    case .choice(let choice): alternatives(choice.words)
    case .mapping(let shape): "a mapping (\(shape.noun))"
    case .list(let item, _): "a list, each item \(item.expectation)"
    case .named(let shape, _): "a mapping of names, each with \(shape.noun)"
    case .either(let shapes): shapes.map(\.expectation).joined(separator: ", or ")
    }
  }
}
