// AnchorFinder finds anchors in whatever a log went through since the proxy wrote it: among other
// text, in a string of a JSON log (quotes escaped, once or several times), printed anew with spaces,
// over several lines or with its members in another order, at the end of a file without a newline.
// It streams, keeps one window, and counts what looks like an anchor and is none.

internal import Glibc
public import MillraceEngine

/// Finds the anchors in a text.
public struct AnchorFinder {
  /// What was found, in the order of the text.
  public private(set) var anchors: [Anchor] = []
  /// Objects of the kind `anchor` that lack a member or have a wrong one.
  public private(set) var malformed = 0

  /// The longest anchor in bytes: 200 as the proxy writes it, with room for spaces, escapes and a few
  /// members that a log shipper adds.
  private static let window = 4096
  /// What is not decided yet.
  private var held: [UInt8] = []

  public init() {}

  /// Reads a file to its end; `-` is standard input. Pipes will do.
  public static func read(_ path: String) throws(Errno) -> AnchorFinder {
    var finder = AnchorFinder()
    try WholeFile.read(path) { finder.feed($0) }
    finder.finish()
    return finder
  }

  /// Takes the next part of the text.
  mutating func feed(_ bytes: UnsafeRawBufferPointer) {
    held.append(contentsOf: bytes)
    scan(isLast: false)
  }

  /// The text is at its end.
  mutating func finish() { scan(isLast: true) }

  private mutating func scan(isLast: Bool) {
    var found: [Anchor] = []
    var wrong = 0
    let used = held.withUnsafeBytes { bytes -> Int in
      var at = 0
      // TRAP: bytes are there where `at` is below their count, and then they have an address.
      while at < bytes.count,
        let hit = memchr(bytes.baseAddress! + at, 0x7B, bytes.count - at)
      {
        // TRAP: as above: something was found in the bytes.
        let start = UnsafeRawPointer(hit) - bytes.baseAddress!
        let end = min(start + Self.window, bytes.count)
        var reader = AnchorReader(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
        switch reader.read() {
        case .anchor(let anchor):
          found.append(anchor)
          at = start + reader.position
        case .malformed:
          wrong += 1
          at = start + 1
        case .other:
          at = start + 1
        case .incomplete:
          if !isLast && end == bytes.count && end - start < Self.window { return start }
          if reader.isAnchor { wrong += 1 }
          at = start + 1
        }
      }
      return bytes.count
    }
    held.removeFirst(used)
    anchors += found
    malformed += wrong
  }
}

/// Reads one flat object, with any spelling of its quotes and spaces.
private struct AnchorReader {
  enum Result {
    case anchor(Anchor)
    /// An anchor by its kind, and not by its other members.
    case malformed
    case other
    /// The bytes end within it.
    case incomplete
  }

  private let bytes: UnsafeRawBufferPointer
  private(set) var position = 1
  private(set) var isAnchor = false
  private var ended = false
  private var run: RunIdentity?
  private var seal: SealHash?
  private var numbers: (worker: UInt64?, workers: UInt64?, sequence: UInt64?) = (nil, nil, nil)

  /// - Parameter bytes: begins with the opening brace.
  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  mutating func read() -> Result {
    while true {
      skipSpace()
      guard let name = string(), skip(0x3A), member(name) else { break }
      skipSpace()
      if take(0x2C) { continue }
      if take(0x7D) { return result() }
      break
    }
    return ended ? .incomplete : isAnchor ? .malformed : .other
  }

  private func result() -> Result {
    guard isAnchor else { return .other }
    guard let run, let seal, let worker = numbers.worker, worker <= 999,
      let workers = numbers.workers, workers <= 1000, let sequence = numbers.sequence
    else { return .malformed }
    return .anchor(
      Anchor(
        run: run, worker: Int(worker), workers: Int(workers), sequence: sequence, seal: seal))
  }

  /// Takes a value. False if it is none, or given twice.
  private mutating func member(_ name: UnsafeRawBufferPointer) -> Bool {
    func named(_ text: StaticString) -> Bool {
      name.elementsEqual(
        UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
    skipSpace()
    guard position < bytes.count else {
      ended = true
      return false
    }
    if bytes[position] == 0x22 || bytes[position] == 0x5C {
      guard let value = string() else { return false }
      if named("kind") {
        isAnchor = value.elementsEqual("anchor".utf8)
        return isAnchor
      } else if named("run") {
        guard run == nil, let parsed = RunIdentity(hex: value) else { return false }
        run = parsed
      } else if named("seal") {
        guard seal == nil, value.count == 64, let parsed = SealHash(hex: value) else {
          return false
        }
        seal = parsed
      }
      return true
    }
    guard let value = bare() else { return false }
    var reader = ByteReader(value)
    let number = reader.decimal()
    guard named("worker") || named("workers") || named("seq") else { return true }
    guard let number, reader.atEnd else { return false }
    if named("worker") {
      guard numbers.worker == nil else { return false }
      numbers.worker = number
    } else if named("workers") {
      guard numbers.workers == nil else { return false }
      numbers.workers = number
    } else {
      guard numbers.sequence == nil else { return false }
      numbers.sequence = number
    }
    return true
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard position < bytes.count else {
      ended = true
      return false
    }
    guard bytes[position] == byte else { return false }
    position += 1
    return true
  }

  private mutating func skip(_ byte: UInt8) -> Bool {
    skipSpace()
    return take(byte)
  }

  /// Spaces and line ends, also escaped ones.
  private mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      case 0x5C:
        var end = position
        while end < bytes.count, bytes[end] == 0x5C { end += 1 }
        if end == bytes.count { ended = true }
        guard end < bytes.count, [0x6E, 0x72, 0x74].contains(bytes[end]) else { return }
        position = end + 1
      default: return
      }
    }
  }

  /// A quote with any number of backslashes before it.
  private mutating func quote() -> Bool {
    while position < bytes.count, bytes[position] == 0x5C { position += 1 }
    return take(0x22)
  }

  private mutating func string() -> UnsafeRawBufferPointer? {
    guard quote() else { return nil }
    let start = position
    while position < bytes.count, bytes[position] != 0x22, bytes[position] != 0x5C { position += 1 }
    let value = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
    return quote() ? value : nil
  }

  /// A number or a word.
  private mutating func bare() -> UnsafeRawBufferPointer? {
    let start = position
    while position < bytes.count {
      switch bytes[position] {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2B, 0x2D, 0x2E: position += 1
      default:
        return position == start ? nil : UnsafeRawBufferPointer(rebasing: bytes[start..<position])
      }
    }
    ended = true
    return nil
  }
}
