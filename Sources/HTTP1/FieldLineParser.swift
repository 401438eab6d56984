// One field line after another, from the bytes of a head or of a trailer section. It knows the
// grammar of RFC 9112 5 and no field's meaning; it refuses every form on which two recipients are
// known to differ (RFC 9112 11.2).

import HTTP

enum FieldLineParser {
  enum Step {
    case line
    case endOfSection
    case needsMore
    case rejected(HeadRejection)
  }

  /// Reads the line at `position` into `line` and moves behind it, or behind the empty line that
  /// ends the section.
  // SAFETY: every load is at an offset below `end`; loops test before they read.
  @inline(__always)
  static func next(
    _ base: UnsafeRawPointer, _ position: inout Int, _ end: Int, _ line: inout FieldLine
  ) -> Step {
    let nameStart = position
    var cursor = ByteClass.firstOutside(ByteClass.token, base, from: position, to: end)
    guard cursor < end else { return .needsMore }
    guard ByteClass.byte(base, cursor) == ByteClass.colon, cursor > nameStart else {
      return withoutName(base, &position, cursor, end)
    }
    line.name = ByteRange(from: nameStart, to: cursor)
    line.known = FieldName(base + nameStart, cursor &- nameStart)
    cursor &+= 1
    while cursor < end, ByteClass.isBlank(ByteClass.byte(base, cursor)) { cursor &+= 1 }
    let valueStart = cursor
    while true {
      cursor = ByteClass.firstControl(base, from: cursor, to: end)
      guard cursor < end else { return .needsMore }
      let byte = ByteClass.byte(base, cursor)
      if byte == ByteClass.carriageReturn { break }
      if byte == ByteClass.lineFeed { return .rejected(.bareLF) }
      if byte != ByteClass.tab { return .rejected(.controlByte) }
      cursor &+= 1
    }
    guard cursor &+ 1 < end else { return .needsMore }
    guard ByteClass.byte(base, cursor &+ 1) == ByteClass.lineFeed else { return .rejected(.bareCR) }
    var valueEnd = cursor
    while valueEnd > valueStart, ByteClass.isBlank(ByteClass.byte(base, valueEnd &- 1)) {
      valueEnd &-= 1
    }
    line.value = ByteRange(from: valueStart, to: valueEnd)
    position = cursor &+ 2
    return .line
  }

  /// What stands at `position` is no name and colon: the end of the section, or an error. `cursor`
  /// is the first byte that is no token character.
  private static func withoutName(
    _ base: UnsafeRawPointer, _ position: inout Int, _ cursor: Int, _ end: Int
  ) -> Step {
    let byte = ByteClass.byte(base, cursor)
    let isFirst = cursor == position
    if isFirst, byte == ByteClass.colon { return .rejected(.emptyFieldName) }
    if isFirst, byte == ByteClass.carriageReturn {
      guard cursor + 1 < end else { return .needsMore }
      guard ByteClass.byte(base, cursor + 1) == ByteClass.lineFeed else {
        return .rejected(.bareCR)
      }
      position = cursor + 2
      return .endOfSection
    }
    if ByteClass.isBlank(byte) {
      if isFirst { return .rejected(.obsFold) }
      var next = cursor
      while next < end, ByteClass.isBlank(ByteClass.byte(base, next)) { next += 1 }
      guard next < end else { return .needsMore }
      let isColon = ByteClass.byte(base, next) == ByteClass.colon
      return .rejected(isColon ? .spaceBeforeColon : .invalidFieldName)
    }
    switch OffendingByte.judge(base, at: cursor, end: end, otherwise: .invalidFieldName) {
    case .rejected(let rejection): return .rejected(rejection)
    case .needsMore, .done: return .needsMore
    }
  }
}
