// A variant of Millrace as it is written: an engine, perhaps another program, and options:
// `epoll`, `io_uring+sqpoll`, `io_uring-zero_copy_send+batch_completions=16`, `epoll@/opt/old/millrace`.
// What an option may be is the configuration's to say: it is read with the same words and ranges.

public import Configuration

/// Millrace with an engine and options.
public struct Variant: Sendable, Equatable {
  /// As it was written, and with #2 where it was written before.
  public var name: String
  /// auto, io_uring or epoll.
  public var engine: String
  /// Another build of Millrace than this one.
  public var program: String?
  /// Options by their name in the configuration, in the order in which they were written.
  public var options: [Option]

  /// One option and its value as YAML.
  public struct Option: Sendable, Equatable {
    public var name: String
    public var value: String
  }

  /// Keys of the configuration's top level that are options too; the others are the engine's.
  static let topLevel = ["workers", "pin", "placement"]

  /// What people call some options, and their names in the configuration.
  static let otherNames = [
    "registered_files": "direct_descriptors", "zero_copy": "zero_copy_send",
    "batch_wait": "min_wait", "bundles": "receive_bundles", "multishot": "multishot_receive",
    "napi": "busy_poll",
  ]

  /// Reads a list that commas separate; a name that comes again gets a number.
  /// - Throws: `CompareFailure` with status 2.
  public static func list(_ text: String) throws(CompareFailure) -> [Variant] {
    var variants: [Variant] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      var variant = try Variant(part.trimmed)
      let count = variants.count { $0.written == variant.written }
      if count > 0 { variant.name += "#\(count + 1)" }
      variants.append(variant)
    }
    return variants
  }

  private var written: Substring { name.prefix { $0 != "#" } }

  init(_ text: String) throws(CompareFailure) {
    name = text
    options = []
    let head = text.prefix { $0 != "+" && $0 != "@" && !Self.isMinus($0) }
    engine = String(head)
    guard EngineChoice(rawValue: engine) != nil else {
      throw CompareFailure(
        "--variants: \"\(text)\" is not a valid engine",
        hint: "write auto, io_uring or epoll, with options as in io_uring+sqpoll", status: 2)
    }
    var rest = text.dropFirst(head.count)
    if rest.first == "@" {
      // A path may hold every sign but the two that separate variants and options.
      let path = rest.dropFirst().prefix { $0 != "+" }
      guard !path.isEmpty else {
        throw CompareFailure(
          "--variants: \"\(text)\" has no program after @",
          hint: "write ENGINE@/path/to/millrace",
          status: 2)
      }
      program = String(path)
      rest = rest.dropFirst(1 + path.count)
      name = engine + "@" + (path.split(separator: "/").last ?? "") + rest
    }
    while let sign = rest.first {
      let word = rest.dropFirst().prefix { $0 != "+" && !Self.isMinus($0) }
      rest = rest.dropFirst(1 + word.count)
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let isBare = parts.count == 1
      guard let first = parts.first, !first.isEmpty, isBare || sign == "+" else {
        throw CompareFailure(
          "--variants: \"\(text)\" has the invalid option \"\(sign)\(word)\"",
          hint: "write +NAME, -NAME or +NAME=VALUE", status: 2)
      }
      let value = isBare ? (sign == "+" ? "true" : "false") : String(parts[1])
      let name = Self.otherNames[String(first)] ?? String(first)
      options.append(Option(name: name, value: value))
    }
  }

  private static func isMinus(_ character: Character) -> Bool { character == "-" }

  /// The values of the configuration that make a proxy this variant.
  public var overrides: [Override] {
    var engineParts = ["kind: \(engine)"]
    var result: [Override] = []
    for option in options {
      if Self.topLevel.contains(option.name) {
        result.append(Override(path: option.name, value: option.value))
      } else {
        engineParts.append("\(option.name): \(option.value)")
      }
    }
    return [Override(path: "engine", value: "{\(engineParts.joined(separator: ", "))}")] + result
  }
}

extension Substring {
  /// Without spaces at either end.
  var trimmed: String {
    var text = self.drop { $0 == " " || $0 == "\t" || $0 == "\n" }
    while let last = text.last, last == " " || last == "\t" || last == "\n" { text.removeLast() }
    return String(text)
  }
}
