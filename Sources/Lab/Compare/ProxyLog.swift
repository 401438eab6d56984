// What Millrace says of itself in its log: the engine that it took, what the kernel refused it, and its
// counters between two reports.

struct ProxyLog: Equatable {
  /// io_uring or epoll.
  var engine: String?
  /// Features that the kernel refused, and why.
  var refused: [String: String] = [:]
  /// Counters between the first and the second report, summed over the workers; nil without two
  /// whole reports, or if no response was counted between them.
  var counted: Counted?

  struct Counted: Equatable {
    var responses: Int
    var differences: [String: Int]
  }

  init(_ text: String) {
    var workers = 0
    for line in text.split(separator: "\n") {
      if line.contains("engine selected ") {
        engine = Self.value("engine", in: line)
        refused = Self.refusals(Self.value("refused", in: line) ?? "")
      } else if line.contains("ready workers=") {
        workers = Self.value("workers", in: line).flatMap { Int($0) } ?? 0
      }
    }
    let lines = CountersLine.all(in: text)
    guard workers > 0, lines.count >= workers * 2 else { return }
    let first = CountersLine.sum(lines[..<workers])
    let second = CountersLine.sum(lines[workers..<(workers * 2)])
    var differences: [String: Int] = [:]
    for (name, value) in second { differences[name] = value - (first[name] ?? 0) }
    guard let responses = differences["responses"], responses > 0 else { return }
    counted = Counted(responses: responses, differences: differences)
  }

  /// `name=word` or `name="words"` of a log line.
  static func value(_ name: String, in line: Substring) -> String? {
    var rest = line
    while let space = rest.firstIndex(of: " ") {
      rest = rest[rest.index(after: space)...]
      guard rest.hasPrefix(name + "=") else { continue }
      let value = rest.dropFirst(name.count + 1)
      if value.first == "\"" { return String(value.dropFirst().prefix { $0 != "\"" }) }
      return String(value.prefix { $0 != " " })
    }
    return nil
  }

  /// `sqpoll (not here; Linux 5.13 brings it), busy_poll (…)`.
  static func refusals(_ text: String) -> [String: String] {
    var found: [String: String] = [:]
    var rest = Substring(text)
    while let open = rest.firstRange(of: " (") {
      let name = rest[..<open.lowerBound].drop { $0 == "," || $0 == " " }
      // A cause may hold brackets of its own.
      var depth = 1
      var end = open.upperBound
      while end < rest.endIndex {
        if rest[end] == "(" { depth += 1 }
        if rest[end] == ")" { depth -= 1 }
        if depth == 0 { break }
        end = rest.index(after: end)
      }
      found[String(name)] = String(rest[open.upperBound..<end])
      rest = end < rest.endIndex ? rest[rest.index(after: end)...] : ""
    }
    return found
  }
}
