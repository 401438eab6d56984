// What `--container-profile` is given: a person's words about a machine that is not this one. They are
// read strictly, unlike what an older build stored: a file of another kind (a seccomp profile, a word
// that is not known) must not become "the target allows it" by saying nothing that is understood.

import FoundationEssentials
import MillraceEngine

extension TargetFacts {
  /// What is wrong with a profile: where, and in which words.
  struct ProfileError: Error, CustomStringConvertible {
    /// The key, as in `features.io_uring`; empty for the file as a whole.
    var key: String
    var message: String

    var description: String { key.isEmpty ? message : "\(key) \(message)" }
  }

  /// A profile as it should be, for messages.
  static let profileExample =
    #"{"name": "production", "features": {"io_uring": "refused: RuntimeDefault seccomp"}}"#

  /// Names that a profile may speak of: the engine, and each line of `millrace doctor`.
  static let profileNames = ["io_uring"] + ProbeReport.names

  /// Reads a profile.
  /// - Throws: `ProfileError` at whatever would otherwise be passed over.
  init(profile text: String) throws(ProfileError) {
    let whole: ProfileValue
    do {
      whole = try JSONDecoder().decode(ProfileValue.self, from: Data(text.utf8))
    } catch {
      throw ProfileError(key: "", message: "not valid JSON")
    }
    guard case .object(let parts) = whole else {
      throw ProfileError(key: "", message: "\(whole.kind), expected an object")
    }
    for key in parts.keys.sorted() where key != "name" && key != "features" {
      throw ProfileError(key: key, message: "is not a known key (name or features)")
    }
    if let name = parts["name"] {
      guard case .text(let words) = name else {
        throw ProfileError(key: "name", message: "is \(name.kind), expected a string")
      }
      self.name = words
    }
    guard let found = parts["features"] else {
      throw ProfileError(key: "features", message: "is missing")
    }
    guard case .object(let values) = found else {
      throw ProfileError(key: "features", message: "is \(found.kind), expected an object")
    }
    guard !values.isEmpty else { throw ProfileError(key: "features", message: "is empty") }
    for key in values.keys.sorted() {
      features[key] = try Self.profileState(key, values[key] ?? .other)
    }
  }

  private static func profileState(
    _ key: String, _ value: ProfileValue
  ) throws(ProfileError) -> String {
    let place = "features.\(key)"
    guard profileNames.contains(key) else {
      throw ProfileError(
        key: place, message: "is not a known feature (\(profileNames.joined(separator: ", ")))")
    }
    guard case .text(let state) = value else {
      throw ProfileError(key: place, message: "is \(value.kind), expected a string")
    }
    guard state == "on" || ["off", "refused"].contains(where: { isState(state, $0) }) else {
      throw ProfileError(
        key: place,
        message:
          "is \"\(state)\", expected on, off, \"off: REASON\", refused or \"refused: REASON\"")
    }
    return state
  }

  private static func isState(_ text: String, _ word: String) -> Bool {
    text == word || text.hasPrefix(word + ":")
  }
}

/// As much of JSON as a profile can hold.
private enum ProfileValue: Decodable {
  case object([String: ProfileValue])
  case text(String)
  case other

  init(from decoder: any Decoder) throws {
    let one = try decoder.singleValueContainer()
    if let text = try? one.decode(String.self) {
      self = .text(text)
    } else if let object = try? one.decode([String: ProfileValue].self) {
      self = .object(object)
    } else {
      self = .other
    }
  }

  var kind: String {
    switch self {
    case .object: "an object"
    case .text: "a text"
    case .other: "another value"
    }
  }
}
