// Where the proxy shall run in the end, when that is not where it was measured: what the target
// container or host allows. A file gives it; the verdict recommends nothing that is refused there.

/// What a target environment allows.
public struct TargetFacts: Codable, Sendable {
  /// What it is, for a sentence: "the cluster's restricted profile".
  public var name = ""
  /// Features by name: "on", or "refused: why" or "off: why". `io_uring` is the engine as a whole;
  /// a name that is missing counts as allowed, and the verdict then says that it was not told.
  public var features: [String: String] = [:]

  public init() {}

  /// Why a subject cannot run there; nil if it can.
  func refusal(of subject: SubjectFacts) -> String? {
    if subject.engine == "io_uring", let why = Self.refusal(features["io_uring"]) { return why }
    for option in subject.options.keys.sorted() {
      if let why = Self.refusal(features[option]) { return "\(option): \(why)" }
    }
    return nil
  }

  /// Whether it says in so many words that the engine may be used there.
  var allowsUring: Bool { features["io_uring"]?.lowercased() == "on" }

  /// The words after "refused" or "off"; nil for what is on or unknown, and for what `millrace doctor`
  /// reports as available but off.
  static func refusal(_ feature: String?, words: [String] = ["refused", "off"]) -> String? {
    guard let feature else { return nil }
    for word in words where feature.lowercased().hasPrefix(word) {
      let rest = feature.dropFirst(word.count).drop { ":, ".contains($0) }
      let isBracketed = rest.hasPrefix("(") && rest.hasSuffix(")")
      let why = isBracketed ? rest.dropFirst().dropLast() : rest
      if word == "off", why.hasPrefix("available") || why == "not requested" { return nil }
      return why.isEmpty ? word : String(why)
    }
    return nil
  }
}
