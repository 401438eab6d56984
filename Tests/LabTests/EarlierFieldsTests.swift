// What an older build wrote is read by this one; what a newer one wrote is refused in words.

import FoundationEssentials
import Testing

@testable import Lab

@Suite struct EarlierFieldsTests {
  /// A value with all of its defaults is what is read from an object without any field: so a field that is
  /// added must have the empty value of its type as its default.
  private func isEmptyByDefault<T: Codable>(_ value: T, _ mend: (inout T) -> Void = { _ in }) throws
  {
    var read = try JSONDecoder().decode(T.self, from: Data("{}".utf8))
    mend(&read)
    #expect(try text(read) == text(value), "\(T.self)")
  }

  private func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  @Test func everyFieldMayBeMissing() throws {
    // The schema is the one that must be there: `otherTextIsRefused`.
    try isEmptyByDefault(Comparison()) { $0.schema = Comparison.newestSchema }
    try isEmptyByDefault(LoadResult()) { $0.schema = 1 }
    try isEmptyByDefault(MachineFacts())
    try isEmptyByDefault(WorkloadFacts())
    try isEmptyByDefault(TargetFacts())
    try isEmptyByDefault(SubjectFacts())
    try isEmptyByDefault(StageFacts())
    try isEmptyByDefault(Measurement()) { $0.load.schema = 1 }
    try isEmptyByDefault(Ratio())
    try isEmptyByDefault(Verdict())
    try isEmptyByDefault(CourseFacts())
    try isEmptyByDefault(SliceFacts())
    try isEmptyByDefault(RequestResult())
    try isEmptyByDefault(LoadInterval())
    try isEmptyByDefault(LatencySummary())
  }

  /// A whole comparison, once without each of the fields that it has at any depth.
  @Test func aComparisonWithoutAnyOneFieldIsReadAndTheRestIsKept() throws {
    let whole = try JSONDecoder().decode(JSON.self, from: Data(ReportTests.comparison(1).json()))
    let required = ["schema", "subjects", "severity", "text"]
    var tried = 0
    for key in whole.keys.subtracting(required).sorted() {
      let earlier = try Comparison(json: [UInt8](JSONEncoder().encode(whole.without(key))))
      // Of what it has, nothing is lost: it is written again as it was, but for the field.
      let again = try JSONDecoder().decode(JSON.self, from: Data(earlier.json()))
      #expect(again.without(key) == whole.without(key), "\(key)")
      tried += 1
    }
    #expect(tried > 80)
  }

  @Test(arguments: [
    (#"{"schema": 2, "version": "3.1", "subjects": 7}"#, "schema 2, written by millrace 3.1"),
    (#"{"schema": 99}"#, "written by a newer millrace; this version reads schemas up to 1"),
    (#"{"subjects": []}"#, "schema is missing"),
    (#"{"schema": 1}"#, "subjects is missing"),
    (#"{"schema": 1, "subjects": [{}], "seconds": "long"}"#, "seconds"),
    (#"{"schema": 1, "subjects": [{}], "findings": [{}]}"#, "severity is missing in findings"),
    (#"{"schema": "one"}"#, "schema"), (#"{"schema": 1, "subj"#, ""), ("[]", ""),
  ])
  func otherTextIsRefused(_ text: String, _ words: String) {
    do {
      _ = try Comparison(json: Array(text.utf8))
      Issue.record("\(text) was read")
    } catch {
      #expect(words.isEmpty || error.description.contains(words), "\(error)")
      #expect(!error.description.isEmpty)
    }
  }
}

/// JSON as it is.
private indirect enum JSON: Codable, Equatable {
  case object([String: JSON])
  case list([JSON])
  case text(String)
  case flag(Bool)
  case number(Double)

  init(from decoder: any Decoder) throws {
    let one = try decoder.singleValueContainer()
    if let object = try? one.decode([String: JSON].self) {
      self = .object(object)
    } else if let list = try? one.decode([JSON].self) {
      self = .list(list)
    } else if let flag = try? one.decode(Bool.self) {
      self = .flag(flag)
    } else if let number = try? one.decode(Double.self) {
      self = .number(number)
    } else {
      self = .text(try one.decode(String.self))
    }
  }

  func encode(to encoder: any Encoder) throws {
    var one = encoder.singleValueContainer()
    switch self {
    case .object(let object): try one.encode(object)
    case .list(let list): try one.encode(list)
    case .text(let text): try one.encode(text)
    case .flag(let flag): try one.encode(flag)
    case .number(let number): try one.encode(number)
    }
  }

  /// The names of all fields at any depth.
  var keys: Set<String> {
    switch self {
    case .object(let object):
      object.reduce(into: Set(object.keys)) { $0.formUnion($1.value.keys) }
    case .list(let list): list.reduce(into: []) { $0.formUnion($1.keys) }
    default: []
    }
  }

  /// Without the fields of this name at any depth.
  func without(_ key: String) -> JSON {
    switch self {
    case .object(let object):
      .object(object.filter { $0.key != key }.mapValues { $0.without(key) })
    case .list(let list): .list(list.map { $0.without(key) })
    default: self
    }
  }
}
