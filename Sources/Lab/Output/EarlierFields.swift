// How a comparison reads what an older build wrote: a field that was added since is missing there,
// and gets the empty value of its type. The synthesized decoders of this module find the overloads
// below before the standard library's (they are more special, or hide them), so that a new field needs
// nothing but an empty default, which `EarlierFieldsTests` demands. A value of another type stays an error.

import FoundationEssentials

/// A type with a value for a field that is not there.
protocol HasEmptyValue: Decodable {
  static var empty: Self { get }
}

extension Array: HasEmptyValue where Element: Decodable {
  static var empty: Self { [] }
}
extension Dictionary: HasEmptyValue where Key: Decodable, Value: Decodable {
  static var empty: Self { [:] }
}

extension MachineFacts: HasEmptyValue { static var empty: Self { Self() } }
extension WorkloadFacts: HasEmptyValue { static var empty: Self { Self() } }
extension CourseFacts: HasEmptyValue { static var empty: Self { Self() } }
extension LatencySummary: HasEmptyValue { static var empty: Self { Self() } }
extension LoadResult: HasEmptyValue { static var empty: Self { Self() } }
extension Verdict: HasEmptyValue { static var empty: Self { Self() } }
extension SubjectFacts.Kind: HasEmptyValue { static var empty: Self { .variant } }
extension StageFacts.Kind: HasEmptyValue { static var empty: Self { .maximum } }
extension Ratio.Outcome: HasEmptyValue { static var empty: Self { .none } }

extension KeyedDecodingContainer {
  func decode<T: HasEmptyValue>(_ type: T.Type, forKey key: Key) throws -> T {
    try decodeIfPresent(type, forKey: key) ?? T.empty
  }

  // The standard library has these by name, and a generic one would lose to them.

  func decode(_ type: Int.Type, forKey key: Key) throws -> Int {
    try decodeIfPresent(type, forKey: key) ?? 0
  }
  func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 {
    try decodeIfPresent(type, forKey: key) ?? 0
  }
  func decode(_ type: Double.Type, forKey key: Key) throws -> Double {
    try decodeIfPresent(type, forKey: key) ?? 0
  }
  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool {
    try decodeIfPresent(type, forKey: key) ?? false
  }
  func decode(_ type: String.Type, forKey key: Key) throws -> String {
    try decodeIfPresent(type, forKey: key) ?? ""
  }
}

extension Comparison {
  /// The schema that this build writes, and the last that it reads.
  public static let newestSchema = 1

  /// What is read before everything else, which may have become something else.
  private struct Head: Decodable {
    var schema: Int
    var version: String
  }

  /// Decodes a comparison of this or an earlier build.
  static func read(_ json: Data, _ decoder: JSONDecoder) throws -> Comparison {
    let head = try decoder.decode(Head.self, from: json)
    guard head.schema > 0 else { throw ParseError(description: "schema is missing in the file") }
    guard head.schema <= newestSchema else {
      let writer = head.version.isEmpty ? "a newer millrace" : "millrace \(head.version)"
      throw ParseError(
        description:
          "it has schema \(head.schema), written by \(writer); this version reads schemas"
          + " up to \(newestSchema): use that millrace, or repeat the earlier run with this one")
    }
    let comparison = try decoder.decode(Comparison.self, from: json)
    // Every field may be missing from something, but not all: other JSON is no comparison.
    guard !comparison.subjects.isEmpty else {
      throw ParseError(description: "subjects is missing or empty in the file")
    }
    return comparison
  }
}
