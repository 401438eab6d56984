// Which known name a misspelt one was meant to be, by the fewest single-character edits. It prefers
// to say nothing over guessing wildly.

enum NearestName {
  /// Longer names are not compared: the table below grows with the product of the lengths.
  static let charactersMaximum = 64

  /// The candidate that is closest to `name`, if it is close: one character may be wrong, or a
  /// third of them. Of equals the first wins.
  static func of(_ name: String, among candidates: [String]) -> String? {
    let typed = Array(lowercased(name).utf8)
    guard typed.count <= charactersMaximum else { return nil }
    var best: (name: String, edits: Int)?
    for candidate in candidates where candidate.utf8.count <= charactersMaximum {
      let known = Array(lowercased(candidate).utf8)
      let edits = distance(typed, known)
      guard edits <= max(1, max(typed.count, known.count) / 3), edits < (best?.edits ?? .max)
      else { continue }
      best = (candidate, edits)
    }
    return best?.name ?? whole(typed, among: candidates)
  }

  /// The one candidate that contains the word or is contained in it: `uring`, `TLSv1.2`.
  private static func whole(_ typed: [UInt8], among candidates: [String]) -> String? {
    // Shorter words are parts of nearly everything.
    guard typed.count >= 3 else { return nil }
    var found: String?
    for candidate in candidates where candidate.utf8.count >= 3 {
      let known = Array(lowercased(candidate).utf8)
      guard contains(known, typed) || contains(typed, known) else { continue }
      if found != nil { return nil }
      found = candidate
    }
    return found
  }

  private static func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
    guard part.count <= text.count else { return false }
    return (0...(text.count - part.count)).contains { text[$0...].starts(with: part) }
  }

  /// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
  static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    let width = right.count + 1
    var table = [Int](repeating: 0, count: (left.count + 1) * width)
    for column in 0..<width { table[column] = column }
    for row in 0..<left.count {
      table[(row + 1) * width] = row + 1
      for column in 0..<right.count {
        let cell = (row + 1) * width + column + 1
        let same = left[row] == right[column]
        var edits = min(
          table[cell - width] + 1, table[cell - 1] + 1, table[cell - width - 1] + (same ? 0 : 1))
        if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
          edits = min(edits, table[cell - 2 * width - 2] + 1)
        }
        table[cell] = edits
      }
    }
    return table[table.count - 1]
  }
}

/// The end of a message about an unknown word: the nearest known one, or all of them.
func hintForUnknown(_ name: String, among candidates: [String], none: String) -> String {
  if let nearest = NearestName.of(name, among: candidates) { return "did you mean \(nearest)?" }
  if candidates.isEmpty { return none }
  // A page of names helps nobody; a file with hundreds of upstreams has its author at hand.
  let listed = candidates.prefix(20).map { excerpt($0) }.joined(separator: ", ")
  return "known: \(listed)" + (candidates.count > 20 ? ", …" : "")
}
