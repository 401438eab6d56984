// What of a configuration or of arguments lasts from one run to the next: everything but the ports that
// were free and the directories that were made for the run. Two texts that are the same after that ask
// for the same.

enum NormalizedText {
  /// The text with `*` for every port and every directory of a comparison.
  static func of(_ text: String) -> String {
    portless(scratchless(text))
  }

  /// Files by name, each as `of` makes it.
  static func of(_ files: [String: String]) -> [String: String] { files.mapValues { of($0) } }

  /// With `*` for digits that stand where an address or a field has its port: behind `host:`, behind
  /// `":` as in `":8080"`, and behind `port: ` or `port_value: ` (h2o's and Envoy's configurations).
  static func portless(_ text: String) -> String {
    let signs = Array(text)
    var out: [Character] = []
    var i = 0
    while i < signs.count {
      out.append(signs[i])
      i += 1
      guard out.last == ":" else { continue }
      var start = i
      if start < signs.count, signs[start] == " ", endsInPort(out.dropLast()) { start += 1 }
      let digits = signs[start...].prefix { $0.isASCII && $0.isNumber }
      guard !digits.isEmpty, digits.count <= 5 else { continue }
      let next = digits.endIndex < signs.count ? signs[digits.endIndex] : nil
      guard start > i || isBehindHost(out.dropLast(), next) else { continue }
      out.append(contentsOf: signs[i..<start])
      out.append("*")
      i = digits.endIndex
    }
    return String(out)
  }

  private static func endsInPort(_ signs: ArraySlice<Character>) -> Bool {
    let word = String(signs.reversed().prefix { $0.isLetter || $0 == "_" }.reversed())
    return word == "port" || word == "port_value"
  }

  /// Whether what ends before the colon may be a host, or is nothing but an opening quote.
  private static func isBehindHost(_ signs: ArraySlice<Character>, _ next: Character?) -> Bool {
    guard let last = signs.last else { return true }
    // `"a":5` is a key and its value; `":5"` is a port.
    if last == "\"" || last == "'" { return next == last }
    return last.isLetter || last.isNumber || "]./*:- ".contains(last)
  }

  /// With `*` for the directory of a comparison, and all that leads to it.
  private static func scratchless(_ text: String) -> String {
    var out: [Character] = []
    var word: [Character] = []
    for sign in text {
      if sign.isWhitespace || "\"'`,;()[]{}=".contains(sign) {
        out += shortened(word)
        out.append(sign)
        word = []
      } else {
        word.append(sign)
      }
    }
    return String(out + shortened(word))
  }

  private static func shortened(_ word: [Character]) -> [Character] {
    guard word.contains("/") else { return word }
    let parts = word.split(separator: "/", omittingEmptySubsequences: false)
    guard let made = parts.lastIndex(where: { isMade(String($0)) }) else { return word }
    return ["*"] + parts[(made + 1)...].flatMap { ["/"] + $0 }
  }

  /// A name that `Workspace` gives: its own, that beside an audit log, or that below `--keep`.
  private static func isMade(_ name: String) -> Bool {
    for prefix in ["millrace-compare-", ".millrace-compare-", "run-"] where name.hasPrefix(prefix) {
      return name.dropFirst(prefix.count).count == 6
    }
    return false
  }
}
