// One field section of HTTP/2, read into a table: pseudo-fields apart, every name and value checked
// (RFC 9113 8.2, 8.3). The lab's sessions have had most of it checked by nghttp2; what is handed to
// another protocol does not rest on that.

import HTTP

/// The pseudo-fields of a section, as places in its bytes; nil where absent.
struct PseudoFields {
  var method: ByteRange?
  var scheme: ByteRange?
  var authority: ByteRange?
  var path: ByteRange?
  var status: ByteRange?
  /// Of an extended CONNECT (RFC 8441 4).
  var connectProtocol: ByteRange?

  /// Sets the one that `name` spells; a rejection if it has a value, or there is no such field.
  mutating func set(
    _ name: ByteRange, _ value: ByteRange, _ base: UnsafeRawPointer
  ) -> HTTP2HeadRejection? {
    let bytes = base + Int(name.start)
    switch name.count {
    case 5 where ByteClass.equal(bytes, ":path", count: 5): return Self.fill(&path, value)
    case 7 where ByteClass.equal(bytes, ":method", count: 7): return Self.fill(&method, value)
    case 7 where ByteClass.equal(bytes, ":scheme", count: 7): return Self.fill(&scheme, value)
    case 7 where ByteClass.equal(bytes, ":status", count: 7): return Self.fill(&status, value)
    case 9 where ByteClass.equal(bytes, ":protocol", count: 9):
      return Self.fill(&connectProtocol, value)
    case 10 where ByteClass.equal(bytes, ":authority", count: 10):
      return Self.fill(&authority, value)
    default: return .unknownPseudoField
    }
  }

  private static func fill(_ field: inout ByteRange?, _ value: ByteRange) -> HTTP2HeadRejection? {
    guard field == nil else { return .duplicatePseudoField }
    field = value
    return nil
  }
}

enum FieldSection {
  /// What must not be in a message of HTTP/2 (RFC 9113 8.2.2).
  private static var connectionSpecific: FieldSet {
    [.connection, .proxyConnection, .keepAlive, .transferEncoding, .upgrade]
  }

  /// Reads all of `head`; pseudo-fields go into `pseudo`, the rest into `table`.
  static func read(
    _ head: HTTP2Head, _ table: inout FieldTable, _ pseudo: inout PseudoFields
  ) -> HTTP2HeadRejection? {
    table.removeAll()
    let base = head.base
    var cursor = 0
    var line = FieldLine()
    while let (name, value) = head.next(&cursor) {
      guard isValue(value, base) else { return .invalidFieldValue }
      if !name.isEmpty, ByteClass.byte(base, Int(name.start)) == ByteClass.colon {
        guard table.count == 0 else { return .misplacedPseudoField }
        if let rejection = pseudo.set(name, value, base) { return rejection }
        continue
      }
      guard isName(name, base) else { return .invalidFieldName }
      line.name = name
      line.value = value
      line.known = FieldName(base + Int(name.start), Int(name.count))
      if connectionSpecific.has(line.known) { return .connectionSpecificField }
      if line.known == .te, !isTrailers(value, base) { return .connectionSpecificField }
      guard table.append(line) else { return .tooManyFields }
    }
    return nil
  }

  private static func isName(_ name: ByteRange, _ base: UnsafeRawPointer) -> Bool {
    guard !name.isEmpty else { return false }
    let table = ByteClass.table
    for position in Int(name.start)..<Int(name.end) {
      let byte = ByteClass.byte(base, position)
      if table[Int(byte)] & ByteClass.token == 0 || byte &- 0x41 < 26 { return false }
    }
    return true
  }

  private static func isValue(_ value: ByteRange, _ base: UnsafeRawPointer) -> Bool {
    guard !value.isEmpty else { return true }
    let end = Int(value.end)
    guard !ByteClass.isBlank(ByteClass.byte(base, Int(value.start))),
      !ByteClass.isBlank(ByteClass.byte(base, end - 1))
    else { return false }
    var position = Int(value.start)
    while true {
      position = ByteClass.firstControl(base, from: position, to: end)
      guard position < end else { return true }
      guard ByteClass.byte(base, position) == ByteClass.tab else { return false }
      position += 1
    }
  }

  private static func isTrailers(_ value: ByteRange, _ base: UnsafeRawPointer) -> Bool {
    value.count == 8 && ByteClass.equalFolded(base + Int(value.start), "trailers", count: 8)
  }

  /// What Content-Length says, which must be 0 where the stream ends with the head (8.1.1).
  /// - Returns: nil if there is none.
  static func contentLength(
    _ table: FieldTable, _ base: UnsafeRawPointer
  ) -> Result<UInt64?, HTTP2HeadRejection> {
    guard let line = table.first(.contentLength) else { return .success(nil) }
    if table.repeated.has(.contentLength) { return .failure(.duplicateContentLength) }
    switch ContentLengthValue.read(line.value, base) {
    case .length(let length): return .success(length)
    case .list: return .failure(.duplicateContentLength)
    case .invalid: return .failure(.invalidContentLength)
    }
  }
}
