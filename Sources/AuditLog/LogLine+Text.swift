// How a line of the log is shown to a person. Its strings come from strangers, so nothing that
// drives a terminal leaves here as it is: control characters, line separators, and the invisible
// characters that reorder or hide text are shown as escapes.

extension LogLine {
  /// The JSON with every character that can drive a terminal as `\uXXXX`: the same value.
  public var safeJSON: [UInt8] {
    guard json.contains(where: { $0 >= 0x7F }) else { return json }
    var out: [UInt8] = []
    out.reserveCapacity(json.count + 16)
    for scalar in String(decoding: json, as: UTF8.self).unicodeScalars {
      if Self.isShown(scalar) {
        // TRAP: each Unicode scalar has an encoding in UTF-8 and in UTF-16.
        out += UTF8.encode(scalar)!
      } else {
        // TRAP: each scalar has an encoding, as above.
        for unit in UTF16.encode(scalar)! {
          let digits = String(unit, radix: 16)
          out += ("\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits).utf8
        }
      }
    }
    return out
  }

  /// One line without a newline: time, worker, client, request, status, size, time taken, upstream.
  public var text: String {
    var members: [String: String] = [:]
    var order: [String] = []
    RecordMembers.forEach(json) { name, value in
      members[name] = value
      order.append(name)
    }
    let kind = members["kind"] ?? "?"
    let start = "\(members["time"] ?? "?") w\(worker)"
    guard let method = members["method"] else {
      let rest = order.filter { !["seq", "kind", "time"].contains($0) }
        // TRAP: `order` holds the names that were put into `members`.
        .map { "\($0)=\(members[$0]!)" }
      return ([start, kind] + rest).joined(separator: " ")
    }
    var parts = [start, members["client"] ?? "-", method, Self.target(members)]
    if kind == "begin" {
      parts.append("(not ended)")
      return parts.joined(separator: " ")
    }
    parts.append(members["status"] ?? "-")
    if let bytes = members["response_bytes"] { parts.append("\(bytes)B") }
    if let total = members["total_us"].flatMap({ Int($0) }) { parts.append(Self.duration(total)) }
    if let upstream = members["upstream"] { parts.append(upstream) }
    if let ending = members["ending"], ending != "complete" { parts.append(ending) }
    if kind == "abort" { parts.append("(aborted)") }
    return parts.joined(separator: " ")
  }

  private static func target(_ members: [String: String]) -> String {
    let query = members["query"].map { "?" + $0 } ?? (members["query_redacted"] != nil ? "?…" : "")
    return (members["host"] ?? "") + (members["path"] ?? "") + query
  }

  /// Three digits or so: `87us`, `4.21ms`, `1.50s`.
  private static func duration(_ microseconds: Int) -> String {
    func hundredths(_ value: Int, _ unit: String) -> String {
      let rest = value % 100
      return "\(value / 100).\(rest < 10 ? "0" : "")\(rest)\(unit)"
    }
    switch microseconds {
    case ..<1_000: return "\(microseconds)us"
    case ..<1_000_000: return hundredths(microseconds / 10, "ms")
    default: return hundredths(microseconds / 10_000, "s")
    }
  }

  /// Letters, marks, digits, punctuation and symbols, and the space.
  static func isShown(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.isASCII { return scalar.value >= 0x20 && scalar.value != 0x7F }
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
      .paragraphSeparator:
      return false
    default: return true
    }
  }
}

/// The members of a flat JSON object whose grammar was checked before.
enum RecordMembers {
  /// - Parameter body: called with each name and its value: a string's content fit to be shown, or
  ///   the text of any other value.
  static func forEach(_ json: [UInt8], _ body: (String, String) -> Void) {
    var at = 1
    while at < json.count, json[at] == 0x22 {
      let name = string(json, &at)
      guard at < json.count, json[at] == 0x3A else { return }
      at += 1
      guard at < json.count else { return }
      if json[at] == 0x22 {
        body(name, string(json, &at))
      } else {
        let start = at
        while at < json.count, json[at] != 0x2C, json[at] != 0x7D { at += 1 }
        body(name, shown(String(decoding: json[start..<at], as: UTF8.self)))
      }
      if at < json.count, json[at] == 0x2C { at += 1 }
    }
  }

  /// A string's content; the place is behind its closing quote then.
  private static func string(_ json: [UInt8], _ at: inout Int) -> String {
    at += 1
    var text = ""
    var plain = at
    func take(_ end: Int) { text += shown(String(decoding: json[plain..<end], as: UTF8.self)) }
    while at < json.count, json[at] != 0x22 {
      guard json[at] == 0x5C, at + 1 < json.count else {
        at += 1
        continue
      }
      take(at)
      let length = json[at + 1] == 0x75 ? 6 : 2
      let end = min(at + length, json.count)
      text += escape(json[at..<end])
      at = end
      plain = end
    }
    take(min(at, json.count))
    at += 1
    return text
  }

  /// An escape as it is shown: quotes and slashes as themselves, a raw byte as `\xXX`.
  private static func escape(_ bytes: ArraySlice<UInt8>) -> String {
    let text = String(decoding: bytes, as: UTF8.self)
    switch text {
    case "\\\"": return "\""
    case "\\\\": return "\\\\"
    case "\\/": return "/"
    default: break
    }
    // docs/audit-log.md: U+F780…U+F7FF are bytes that are no part of valid UTF-8.
    if text.hasPrefix("\\uf7") { return "\\x" + text.dropFirst(4) }
    return text
  }

  private static func shown(_ text: String) -> String {
    if text.unicodeScalars.allSatisfy(LogLine.isShown) { return text }
    var out = ""
    for scalar in text.unicodeScalars {
      if LogLine.isShown(scalar) {
        out.unicodeScalars.append(scalar)
      } else {
        out += "\\u{\(String(scalar.value, radix: 16))}"
      }
    }
    return out
  }
}
