// An HTTP/1.1 reader of the simulator's own, for both sides: the product's parser must not be the
// judge of what the product writes. It is strict where RFC 9112 lets a sender no choice, and slow.

/// The head of a message as it came.
struct MessageHead {
  var start: [String]
  /// Names in lower case.
  var fields: [(name: String, value: String)]

  func all(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }
  func first(_ name: String) -> String? { fields.first { $0.name == name }?.value }
  var status: Int { start.count > 1 ? Int(start[1]) ?? 0 : 0 }
}

final class MessageReader {
  enum Item {
    case head(MessageHead)
    case content(ArraySlice<UInt8>)
    case end
    case broken(String)
  }

  private enum Step {
    case head, fixed(Int), chunkSize, chunk(Int), chunkEnd, trailers, untilClose, broken
  }

  private let isRequest: Bool
  private var bytes: [UInt8] = []
  private var at = 0
  private var step = Step.head
  /// For responses: the head to come answers HEAD.
  var answersHead = false
  /// Trailer fields of the last chunked message.
  private(set) var trailers: [(name: String, value: String)] = []
  private static let headMaximum = 1 << 20

  init(isRequest: Bool) { self.isRequest = isRequest }

  /// True between messages, with nothing of the next one there.
  var isBetween: Bool {
    if case .head = step { return at == bytes.count }
    return false
  }
  /// Whether a head has been read whose message has not ended.
  var isInside: Bool {
    if case .head = step { return false }
    return true
  }
  var unread: Int { bytes.count - at }

  func feed(_ more: [UInt8]) {
    if at > 65_536 || at == bytes.count {
      bytes.removeFirst(at)
      at = 0
    }
    bytes += more
  }

  /// The next thing that the bytes so far tell; nil if they tell no more.
  func next() -> Item? {
    switch step {
    case .broken: return nil
    case .head: return readHead()
    case .fixed(let left):
      if left == 0 { return ended() }
      return content(left) { $0 == 0 ? nil : .fixed($0) }
    case .untilClose:
      return content(.max) { _ in .untilClose }
    case .chunk(let left):
      return content(left) { $0 == 0 ? .chunkEnd : .chunk($0) }
    case .chunkSize: return readChunkSize()
    case .chunkEnd:
      guard unread >= 2 else { return nil }
      guard bytes[at] == 13, bytes[at + 1] == 10 else { return broken("no CRLF behind a chunk") }
      at += 2
      step = .chunkSize
      return next()
    case .trailers: return readTrailers()
    }
  }

  /// The stream has ended. - Returns: `.end` if that is how the message ends.
  func finish() -> Item? {
    if case .untilClose = step { return ended() }
    return nil
  }

  private func ended() -> Item {
    step = .head
    return .end
  }

  private func broken(_ why: String) -> Item {
    step = .broken
    return .broken(why)
  }

  private func content(_ left: Int, _ then: (Int) -> Step?) -> Item? {
    guard unread > 0 else { return nil }
    let count = min(left, unread)
    let slice = bytes[at..<(at + count)]
    at += count
    if let next = then(left - count) { step = next } else { step = .fixed(0) }
    return .content(slice)
  }

  // MARK: Lines

  /// The next line without its CRLF; nil if it is not there yet.
  private func line() -> String?? {
    guard let end = bytes[at...].firstIndex(of: 10) else { return .some(nil) }
    guard end > at, bytes[end - 1] == 13 else { return nil }
    let content = bytes[at..<(end - 1)]
    guard !content.contains(13), !content.contains(0) else { return nil }
    at = end + 1
    return String(decoding: content, as: UTF8.self)
  }

  private func fieldLine(_ line: String) -> (name: String, value: String)? {
    guard let colon = line.utf8.firstIndex(of: 58), colon != line.startIndex else { return nil }
    let name = line[..<colon]
    for byte in name.utf8 where byte <= 32 || byte >= 127 { return nil }
    var value = line[line.index(after: colon)...]
    while let first = value.utf8.first, first == 32 || first == 9 { value.removeFirst() }
    while let last = value.utf8.last, last == 32 || last == 9 { value.removeLast() }
    return (name.lowercased(), String(value))
  }

  /// Lines up to the empty one; nil if they are not all there, an error as a text.
  private func section() -> (lines: [String], error: String?)? {
    let start = at
    var lines: [String] = []
    while true {
      switch line() {
      case .none: return (lines, "a line without CRLF, or with a control byte")
      case .some(.none):
        let length = bytes.count - start
        at = start
        return length > Self.headMaximum ? (lines, "a head without an end") : nil
      case .some(.some(let text)):
        if text.isEmpty { return (lines, nil) }
        lines.append(text)
      }
    }
  }

  private func readHead() -> Item? {
    guard unread > 0, let (lines, error) = section() else { return nil }
    if let error { return broken(error) }
    guard let first = lines.first else { return broken("an empty start line") }
    var head = MessageHead(
      start: first.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        .map(String.init), fields: [])
    for text in lines.dropFirst() {
      guard let field = fieldLine(text) else { return broken("no field line: \(text)") }
      head.fields.append(field)
    }
    let version = isRequest ? head.start.last : head.start.first
    guard head.start.count == 3, version == "HTTP/1.1" || version == "HTTP/1.0",
      isRequest || (head.start[1].utf8.count == 3 && (100...599).contains(head.status))
    else { return broken("a start line: \(first)") }
    if let error = frame(head) { return broken(error) }
    return .head(head)
  }

  /// Decides where the message ends. - Returns: what is wrong with its framing.
  private func frame(_ head: MessageHead) -> String? {
    let lengths = head.all("content-length")
    let codings = head.all("transfer-encoding")
    if lengths.count > 1 { return "several Content-Length fields" }
    if !lengths.isEmpty && !codings.isEmpty { return "Content-Length beside Transfer-Encoding" }
    var length: Int?
    if let text = lengths.first {
      guard let value = Int(text), text.utf8.allSatisfy({ 48...57 ~= $0 }) else {
        return "Content-Length: \(text)"
      }
      length = value
    }
    if let coding = codings.first, codings.count > 1 || coding != "chunked" {
      return "Transfer-Encoding: \(codings)"
    }
    if !isRequest {
      let status = head.status
      if status == 204 && (length != nil || !codings.isEmpty) { return "a 204 with content" }
      if status < 200 && (length != nil || !codings.isEmpty) { return "an interim with content" }
      if status < 200 { return nil }
      if answersHead || status == 204 || status == 304 {
        step = .fixed(0)
        return nil
      }
    }
    if !codings.isEmpty {
      step = .chunkSize
      trailers = []
    } else if let length {
      step = .fixed(length)
    } else {
      step = isRequest ? .fixed(0) : .untilClose
    }
    return nil
  }

  private func readChunkSize() -> Item? {
    switch line() {
    case .none: return broken("a chunk's line without CRLF")
    case .some(.none): return nil
    case .some(.some(let text)):
      let digits = text.prefix { $0.isHexDigit }
      guard let size = Int(digits, radix: 16), digits.utf8.count == text.utf8.count else {
        return broken("a chunk size: \(text)")
      }
      step = size == 0 ? .trailers : .chunk(size)
      return next()
    }
  }

  private func readTrailers() -> Item? {
    guard let (lines, error) = section() else { return nil }
    if let error { return broken(error) }
    for text in lines {
      guard let field = fieldLine(text) else { return broken("no trailer: \(text)") }
      trailers.append(field)
    }
    return ended()
  }
}
