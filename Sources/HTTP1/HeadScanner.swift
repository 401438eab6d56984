// Finds the end of a head that arrives in pieces, looking at each byte once however small the
// pieces are. It refuses what no parse could accept (bare CR or LF, control bytes, a head or target
// over its limit) as soon as it is there, so that a slow peer cannot hold memory for nothing; it
// keeps offsets only, never a pointer.

import HTTP

/// Scanner of one head. It is given all bytes gathered so far each time, at whatever address.
public struct HeadScanner: Sendable {
  /// RFC 9112 2.2 asks a server to ignore at least one empty line before a request line.
  static let emptyLinesTolerated: UInt8 = 2
  /// Bytes of a method. Registered names end at 17 (UPDATEREDIRECTREF); a bound tells a peer that
  /// speaks no HTTP from a slow one.
  static let methodBytesMaximum = 64

  private enum Phase: UInt8 {
    case start, method, target, version, statusLine, lineStart, line
  }

  private enum Step {
    case proceed
    case outcome(HeadOutcome)
  }

  private var phase = Phase.start
  private var emptyLines: UInt8 = 0
  /// The first byte that has not been judged.
  private var position = 0
  /// Where the part of the start line that is being read began.
  private var partStart = 0

  public init() {}

  /// A scanner of field lines alone, for a trailer section.
  init(fieldsOnly: Bool) {
    if fieldsOnly { phase = .lineStart }
  }

  /// Looks at the bytes that came since the last call.
  ///
  /// - Parameters:
  ///   - bytes: all bytes of the head so far, from its first; more may follow the head's end.
  ///   - limits: the same for each call of one head; `fields` is left to the parse.
  ///   - isRequest: whether a request line or a status line opens the head.
  /// - Returns: `complete` when the empty line is there: the same bytes can now be parsed.
  public mutating func scan(
    _ bytes: UnsafeRawBufferPointer, limits: HeadLimits, isRequest: Bool
  ) -> HeadOutcome {
    let ceiling = limits.ceiling
    let end = min(bytes.count, ceiling)
    if let base = bytes.baseAddress {
      while position < end {
        let step =
          switch phase {
          case .start: scanStart(base, end, isRequest)
          case .method: scanMethod(base, end)
          case .target: scanTarget(base, end, limits.targetCeiling)
          case .version: scanVersion(base, end)
          case .statusLine: scanStatusLine(base, end)
          case .lineStart: scanLineStart(base, end)
          case .line: scanLine(base, end)
          }
        if case .outcome(.incomplete) = step { break }
        if case .outcome(let outcome) = step { return outcome }
      }
    }
    return bytes.count >= ceiling ? .rejected(.headTooLarge) : .incomplete
  }

  private mutating func scanStart(
    _ base: UnsafeRawPointer, _ end: Int, _ isRequest: Bool
  ) -> Step {
    if ByteClass.byte(base, position) != ByteClass.carriageReturn {
      partStart = position
      phase = isRequest ? .method : .statusLine
      return .proceed
    }
    let otherwise: HeadRejection = isRequest ? .invalidMethod : .invalidStatusLine
    guard isRequest, emptyLines < Self.emptyLinesTolerated else {
      return refuse(base, end, otherwise)
    }
    let step = endLine(base, end, next: .start)
    if case .proceed = step { emptyLines += 1 }
    return step
  }

  private mutating func scanMethod(_ base: UnsafeRawPointer, _ end: Int) -> Step {
    let bound = min(end, partStart + Self.methodBytesMaximum + 1)
    position = ByteClass.firstOutside(ByteClass.token, base, from: position, to: bound)
    if position - partStart > Self.methodBytesMaximum {
      return .outcome(.rejected(.invalidMethod))
    }
    guard position < end else { return .proceed }
    guard ByteClass.byte(base, position) == ByteClass.space, position > partStart else {
      return refuse(base, end, .invalidMethod)
    }
    enter(.target)
    return .proceed
  }

  private mutating func scanTarget(
    _ base: UnsafeRawPointer, _ end: Int, _ maximum: Int
  ) -> Step {
    let bound = min(end, partStart + maximum + 1)
    position = ByteClass.firstOutside(ByteClass.target, base, from: position, to: bound)
    if position - partStart > maximum { return .outcome(.rejected(.targetTooLong)) }
    guard position < end else { return .proceed }
    let byte = ByteClass.byte(base, position)
    guard byte == ByteClass.space, position > partStart else {
      let isLineEnd = byte == ByteClass.carriageReturn && position > partStart
      return refuse(base, end, isLineEnd ? .invalidVersion : .invalidTarget)
    }
    enter(.version)
    return .proceed
  }

  private mutating func scanVersion(_ base: UnsafeRawPointer, _ end: Int) -> Step {
    let bound = min(end, partStart + 9)
    position = ByteClass.firstOutside(ByteClass.target, base, from: position, to: bound)
    if position - partStart > 8 { return .outcome(.rejected(.invalidVersion)) }
    guard position < end else { return .proceed }
    guard ByteClass.byte(base, position) == ByteClass.carriageReturn, position - partStart == 8
    else { return refuse(base, end, .invalidVersion) }
    return endLine(base, end, next: .lineStart)
  }

  private mutating func scanStatusLine(_ base: UnsafeRawPointer, _ end: Int) -> Step {
    let prefix: StaticString = "HTTP/"
    while position - partStart < 5 {
      guard position < end else { return .proceed }
      guard ByteClass.byte(base, position) == prefix.utf8Start[position - partStart] else {
        return refuse(base, end, .invalidStatusLine)
      }
      position += 1
    }
    return scanLine(base, end)
  }

  private mutating func scanLineStart(_ base: UnsafeRawPointer, _ end: Int) -> Step {
    let byte = ByteClass.byte(base, position)
    if ByteClass.isBlank(byte) { return .outcome(.rejected(.obsFold)) }
    guard byte == ByteClass.carriageReturn else {
      phase = .line
      return .proceed
    }
    guard position + 1 < end else { return .outcome(.incomplete) }
    guard ByteClass.byte(base, position + 1) == ByteClass.lineFeed else {
      return .outcome(.rejected(.bareCR))
    }
    return .outcome(.complete(length: position + 2))
  }

  private mutating func scanLine(_ base: UnsafeRawPointer, _ end: Int) -> Step {
    while true {
      position = ByteClass.firstControl(base, from: position, to: end)
      guard position < end else { return .proceed }
      let byte = ByteClass.byte(base, position)
      if byte == ByteClass.carriageReturn { return endLine(base, end, next: .lineStart) }
      if byte == ByteClass.lineFeed { return .outcome(.rejected(.bareLF)) }
      if byte != ByteClass.tab { return .outcome(.rejected(.controlByte)) }
      position += 1
    }
  }

  /// Moves behind the separator at `position` and into the next part of the start line.
  private mutating func enter(_ next: Phase) {
    position += 1
    partStart = position
    phase = next
  }

  /// Takes the CR LF at `position`; waits for the LF if it is not there yet.
  private mutating func endLine(_ base: UnsafeRawPointer, _ end: Int, next: Phase) -> Step {
    guard position + 1 < end else { return .outcome(.incomplete) }
    guard ByteClass.byte(base, position + 1) == ByteClass.lineFeed else {
      return .outcome(.rejected(.bareCR))
    }
    position += 2
    phase = next
    return .proceed
  }

  private func refuse(_ base: UnsafeRawPointer, _ end: Int, _ otherwise: HeadRejection) -> Step {
    switch OffendingByte.judge(base, at: position, end: end, otherwise: otherwise) {
    case .rejected(let rejection): .outcome(.rejected(rejection))
    case .needsMore, .done: .outcome(.incomplete)
    }
  }
}
