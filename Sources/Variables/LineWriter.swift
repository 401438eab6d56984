// Writes a line of an exchange into memory that is lent, without allocating. No byte that a client chose
// leaves as it came unless it is printable: no value can begin another line or end its quotes.

import Text

/// The writing of lines.
public enum LineWriter {
  /// Bytes that a line takes at most, its newline included.
  public static let lineMaximum = 64 << 10
  /// Bytes of one value that a line keeps; the default limit of a whole request target.
  static let valueMaximum = 8 << 10
  /// The same where a line would else be longer than `lineMaximum`: the text of a template (4 KiB) and 64
  /// values of three parts, each byte of which takes six, fit into a line.
  static let shortValueMaximum = 48

  /// Writes a line with its newline.
  /// - Parameter memory: of `lineMaximum` bytes at least.
  /// - Returns: the bytes written; 0 where the memory is too small.
  public static func write(
    _ shape: LineShape, _ values: inout ExchangeValues, into memory: UnsafeMutableRawBufferPointer
  ) -> Int {
    let length = write(shape, &values, into: memory, valueMaximum)
    return length > 0 ? length : write(shape, &values, into: memory, shortValueMaximum)
  }

  private static func write(
    _ shape: LineShape, _ values: inout ExchangeValues,
    into memory: UnsafeMutableRawBufferPointer, _ maximum: Int
  ) -> Int {
    guard let base = memory.baseAddress else { return 0 }
    var line = Line(
      cursor: ByteCursor(base: base, capacity: memory.count), maximum: maximum,
      isJSON: shape.isJSON)
    line.write(shape, &values)
    return line.cursor.overflowed ? 0 : line.cursor.position
  }
}

/// A line that is being written.
private struct Line {
  var cursor: ByteCursor
  let maximum: Int
  let isJSON: Bool
  /// No member has been written yet.
  private var isFirst = true

  init(cursor: ByteCursor, maximum: Int, isJSON: Bool) {
    self.cursor = cursor
    self.maximum = maximum
    self.isJSON = isJSON
  }

  mutating func write(_ shape: LineShape, _ values: inout ExchangeValues) {
    if isJSON { cursor.byte(0x7B) }
    for index in shape.parts.indices {
      let part = shape.parts[index]
      guard let variable = part.variable else {
        cursor.raw(part.text, part.count)
        continue
      }
      let before = cursor.position
      if isJSON {
        if !isFirst { cursor.byte(0x2C) }
        cursor.raw(part.text, part.count)
        if !part.isNumber { cursor.byte(0x22) }
      }
      let start = cursor.position
      let isThere = value(variable, &values)
      if isJSON {
        guard isThere else {
          cursor.rewind(to: before)
          continue
        }
        if !part.isNumber { cursor.byte(0x22) }
        isFirst = false
      } else if cursor.position == start {
        cursor.byte(0x2D)
      }
    }
    if isJSON { cursor.byte(0x7D) }
    cursor.byte(0x0A)
  }

  // MARK: Values

  /// Writes the value of a variable. - Returns: false if the exchange has none.
  private mutating func value(_ variable: Variable, _ v: inout ExchangeValues) -> Bool {
    switch variable {
    case .time: Timestamp.write(v.startMicroseconds, into: &cursor)
    case .timeCommon: Timestamp.writeCommon(v.startMicroseconds, into: &cursor)
    case .timeUnix: seconds(max(0, v.startMicroseconds))
    case .clientAddress: return text(v.client)
    case .listener: return text(v.listener)
    case .scheme: cursor.literal(v.isTLS ? "https" : "http")
    case .tlsVersion: return text(v.tlsVersion)
    case .tlsCipher: return text(v.tlsCipher)
    case .tlsServerName:
      return text(v.tlsServerName.isEmpty ? v.request.serverName : v.tlsServerName)
    case .tlsALPN: return text(v.tlsALPN)
    case .httpVersion: return text(v.httpVersion)
    case .stream: return number(UInt64(v.stream))
    case .method: return text(v.request.method)
    case .host: return text(v.request.host)
    case .path: return text(v.request.path)
    case .query: return v.redactsQuery ? false : text(v.request.query)
    case .target: return target(&v)
    case .request: return request(&v)
    case .userAgent: return text(v.request.userAgent)
    case .referer: return text(v.request.referer)
    case .forwardedFor: return text(v.request.forwardedFor)
    case .requestID: return text(v.request.requestID)
    case .traceID:
      guard !v.trace.isEmpty else { return false }
      cursor.hex(v.trace.high)
      cursor.hex(v.trace.low)
    case .spanID:
      guard v.trace.span != 0 else { return false }
      cursor.hex(v.trace.span)
    case .route: return text(v.route)
    case .upstream: return text(v.upstream)
    case .server: return text(v.server)
    case .status: return number(UInt64(v.status))
    case .requestBytes: cursor.decimal(v.requestBytes)
    case .responseBytes: cursor.decimal(v.responseBytes)
    case .termination: cursor.literal(v.termination)
    case .rejection:
      guard let rejection = v.rejection else { return false }
      cursor.literal(rejection)
    case .duration: return time(v.durationMicroseconds)
    case .queueDuration: return time(v.queueMicroseconds)
    case .connectDuration: return time(v.connectMicroseconds)
    case .firstByteDuration: return time(v.firstByteMicroseconds)
    case .exchangeID:
      guard v.exchangeID != 0 else { return false }
      cursor.hex(v.exchangeID)
    case .worker: cursor.decimal(UInt64(v.worker))
    }
    return true
  }

  /// - Returns: false if there is no text; one may be empty.
  private mutating func text(_ value: UnsafeRawBufferPointer) -> Bool {
    guard value.baseAddress != nil else { return false }
    let kept = UnsafeRawBufferPointer(rebasing: value.prefix(maximum))
    if isJSON { cursor.escaped(kept) } else { cursor.escapedForText(kept) }
    return true
  }

  private mutating func target(_ v: inout ExchangeValues) -> Bool {
    guard text(v.request.path) else { return false }
    guard !v.redactsQuery, v.request.query.baseAddress != nil else { return true }
    cursor.byte(0x3F)
    return text(v.request.query)
  }

  /// As the start line was, whatever the version.
  private mutating func request(_ v: inout ExchangeValues) -> Bool {
    guard text(v.request.method) else { return false }
    cursor.byte(0x20)
    _ = target(&v)
    cursor.byte(0x20)
    return text(v.httpVersion)
  }

  /// - Returns: false for 0, which stands for none.
  private mutating func number(_ value: UInt64) -> Bool {
    if value > 0 { cursor.decimal(value) }
    return value > 0
  }

  private mutating func time(_ microseconds: Int64) -> Bool {
    if microseconds >= 0 { seconds(microseconds) }
    return microseconds >= 0
  }

  private mutating func seconds(_ microseconds: Int64) {
    cursor.decimal(UInt64(microseconds / 1_000_000))
    cursor.byte(0x2E)
    cursor.padded(Int(microseconds % 1_000_000), 6)
  }
}

extension ByteCursor {
  /// Bytes as nginx's access log has them: printable ASCII without `"` and `\` as it is, everything else
  /// as `\xXX`.
  mutating func escapedForText(_ bytes: UnsafeRawBufferPointer) {
    for value in bytes {
      if value >= 0x20 && value < 0x7F && value != 0x22 && value != 0x5C {
        byte(value)
      } else {
        literal("\\x")
        byte(Self.upperDigit(value >> 4))
        byte(Self.upperDigit(value & 15))
      }
    }
  }

  private static func upperDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? 0x30 &+ value : 0x37 &+ value
  }
}
