// RecordWriter writes a record's JSON in two parts, without allocating: the request's part into the
// connection's memory when the head has been read, the rest into the journal's batch. It owns the
// member names and their order; it refuses to know of batches, seals and files.

internal import Text

/// The serialisation of records. Every function is pure and writes into memory that is lent to it.
public enum RecordWriter {
  /// Bytes of an upstream address that a record keeps, as escaped: a unix(7) path has 108.
  public static let upstreamMaximum = 128
  /// Bytes of a path, and of a query, that a record keeps, as escaped: twice the default limit of a
  /// whole target, so that only a target of bytes that need escaping is ever cut.
  static let targetPartMaximum = 16 << 10
  /// Bytes of every other part that a client chooses, as escaped. A host and a server name have 255
  /// at most (RFC 1035 2.3.4); an identifier that is longer identifies nothing better.
  static let textMaximum = 1024
  /// Bytes of a part with few values: a method, a version, a cipher, an address, a trace identifier
  /// of 32 bytes of which each is escaped to six.
  static let labelMaximum = 192
  /// Bytes of an ending that a record keeps.
  public static let endingMaximum = 64
  /// `{"seq":…,"kind":"exchange","id":"…","time":"…"` and `}\n`, with a sequence of 20 digits.
  static let framingMaximum = 128
  /// An upper bound on what `writeResponsePart` writes: member names (165), a status of 5 digits,
  /// six numbers of 20, an ending, and an upstream that was cut.
  public static let responsePartMaximum =
    165 + 5 + 6 * 20 + endingMaximum + upstreamMaximum + truncationMaximum
  /// `,"request_id_truncated":` and a number of 20 digits.
  private static let truncationMaximum = 48

  /// An upper bound on what `writeRequestPart` writes, whatever the client sends: member names (260),
  /// a certificate's hash, a stream's number of 10 digits, the parts at their longest, and a mark for each that was cut. So a record
  /// always fits.
  public static let requestPartMaximum =
    260 + 64 + 10 + 2 * (targetPartMaximum + truncationMaximum)
    + 4 * (textMaximum + truncationMaximum) + 6 * (labelMaximum + truncationMaximum)

  /// The longest `exchange` line, in bytes, with a request part of the given length.
  public static func recordMaximum(requestPart: Int) -> Int {
    framingMaximum + requestPart + responsePartMaximum
  }

  /// Records that one exchange may write: `begin`, `end` and `abort`.
  public static let exchangeRecords = 3

  /// The worst case of one exchange over all its records, in bytes, for `Journal.reserve` with
  /// `records: exchangeRecords`. Seals and padding are added by the journal itself.
  public static func exchangeMaximum(requestPart: Int) -> Int {
    framingMaximum + requestPart + 2 * (framingMaximum + responsePartMaximum)
  }

  /// Writes the request's members, each with a leading comma.
  /// - Returns: the bytes written, or minus the bytes needed when `memory` is too small (its
  ///   content is then unspecified).
  public static func writeRequestPart(
    _ facts: RequestFacts, into memory: UnsafeMutableRawBufferPointer
  ) -> Int {
    guard let base = memory.baseAddress else { return -requestPartLength(facts) }
    var cursor = ByteCursor(base: base, capacity: memory.count)
    writeRequest(facts, into: &cursor)
    return cursor.overflowed ? -cursor.position : cursor.position
  }

  private static func requestPartLength(_ facts: RequestFacts) -> Int {
    var nothing: UInt8 = 0
    return withUnsafeMutableBytes(of: &nothing) { scratch in
      // TRAP: the scratch is not empty.
      var cursor = ByteCursor(base: scratch.baseAddress!, capacity: 0)
      writeRequest(facts, into: &cursor)
      return cursor.position
    }
  }

  private static func writeRequest(
    _ facts: RequestFacts, into cursor: inout ByteCursor
  ) {
    text("client", facts.client, labelMaximum, &cursor)
    text("listener", facts.listener, textMaximum, &cursor)
    text("tls", facts.tlsVersion, labelMaximum, &cursor)
    text("cipher", facts.tlsCipher, labelMaximum, &cursor)
    text("sni", facts.sni, textMaximum, &cursor)
    if facts.clientCertificate.baseAddress != nil {
      cursor.literal(",\"client_certificate\":\"")
      // SHA-256 has 32 bytes.
      for byte in facts.clientCertificate.prefix(32) { cursor.hex(byte) }
      cursor.byte(0x22)
    }
    text("version", facts.version, labelMaximum, &cursor)
    if facts.stream > 0 {
      cursor.literal(",\"stream\":")
      cursor.decimal(UInt64(facts.stream))
    }
    text("method", facts.method, labelMaximum, &cursor)
    text("host", facts.host, textMaximum, &cursor)
    text("path", facts.path, targetPartMaximum, &cursor)
    if facts.redactsQuery {
      if facts.query.baseAddress != nil { cursor.literal(",\"query_redacted\":true") }
    } else {
      text("query", facts.query, targetPartMaximum, &cursor)
    }
    text("request_id", facts.requestID, textMaximum, &cursor)
    text("trace_id", facts.traceID, labelMaximum, &cursor)
  }

  /// One member. What would be longer than `maximum` bytes as escaped is cut between two characters,
  /// and `NAME_truncated` beside it tells how many bytes there were.
  @inline(__always)
  private static func text(
    _ name: StaticString, _ value: UnsafeRawBufferPointer, _ maximum: Int,
    _ cursor: inout ByteCursor
  ) {
    guard let start = value.baseAddress else { return }
    let kept = ByteCursor.prefix(of: value, escapedMaximum: maximum)
    cursor.literal(",\"")
    cursor.literal(name)
    cursor.literal("\":\"")
    cursor.escaped(UnsafeRawBufferPointer(start: start, count: kept))
    cursor.byte(0x22)
    if kept < value.count {
      cursor.literal(",\"")
      cursor.literal(name)
      cursor.literal("_truncated\":")
      cursor.decimal(UInt64(value.count))
    }
  }

  @inline(__always)
  private static func number(_ name: StaticString, _ value: Int64, _ cursor: inout ByteCursor) {
    if value < 0 { return }
    cursor.literal(name)
    cursor.decimal(UInt64(value))
  }

  /// `{"seq":…,"kind":"…","time":"…"`, without a closing brace.
  @inline(__always)
  static func writeOpening(
    _ kind: RecordKind, sequence: UInt64, wallMicroseconds: Int64, into cursor: inout ByteCursor
  ) {
    cursor.literal("{\"seq\":")
    cursor.decimal(sequence)
    cursor.literal(",\"kind\":\"")
    cursor.literal(kind.name)
    cursor.literal("\",\"time\":\"")
    Timestamp.write(wallMicroseconds, into: &cursor)
    cursor.byte(0x22)
  }

  /// One whole line for an exchange.
  static func writeRecord(
    _ kind: RecordKind, sequence: UInt64, exchangeID: UInt64, wallMicroseconds: Int64,
    requestPart: UnsafeRawBufferPointer, response: ResponseFacts?, into cursor: inout ByteCursor
  ) {
    writeOpening(kind, sequence: sequence, wallMicroseconds: wallMicroseconds, into: &cursor)
    cursor.literal(",\"id\":\"")
    cursor.hex(exchangeID)
    cursor.byte(0x22)
    cursor.raw(requestPart)
    if let response { writeResponsePart(response, into: &cursor) }
    cursor.literal("}\n")
  }

  static func writeResponsePart(_ facts: ResponseFacts, into cursor: inout ByteCursor) {
    if facts.status != 0 {
      cursor.literal(",\"status\":")
      cursor.decimal(UInt64(facts.status))
    }
    cursor.literal(",\"request_bytes\":")
    cursor.decimal(facts.requestBytes)
    cursor.literal(",\"response_bytes\":")
    cursor.decimal(facts.responseBytes)
    text("upstream", facts.upstream, upstreamMaximum, &cursor)
    number(",\"queue_us\":", facts.queueMicroseconds, &cursor)
    number(",\"connect_us\":", facts.connectMicroseconds, &cursor)
    number(",\"first_byte_us\":", facts.firstByteMicroseconds, &cursor)
    number(",\"total_us\":", facts.totalMicroseconds, &cursor)
    cursor.literal(",\"ending\":\"")
    cursor.raw(facts.ending.utf8Start, min(facts.ending.utf8CodeUnitCount, endingMaximum))
    cursor.byte(0x22)
  }

  /// The longest `loss` line.
  static let lossMaximum = 144

  static func writeLoss(
    sequence: UInt64, wallMicroseconds: Int64, dropped: UInt64, into cursor: inout ByteCursor
  ) {
    writeOpening(.loss, sequence: sequence, wallMicroseconds: wallMicroseconds, into: &cursor)
    cursor.literal(",\"dropped\":")
    cursor.decimal(dropped)
    cursor.literal("}\n")
  }

  static func writeRecovery(
    sequence: UInt64, wallMicroseconds: Int64, file: String, bytes: Int, hash: SealHash,
    reason: StaticString, into cursor: inout ByteCursor
  ) {
    writeOpening(.recovery, sequence: sequence, wallMicroseconds: wallMicroseconds, into: &cursor)
    cursor.literal(",\"file\":\"")
    var name = file
    name.withUTF8 { cursor.escaped(UnsafeRawBufferPointer($0)) }
    cursor.literal("\",\"bytes\":")
    cursor.decimal(UInt64(bytes))
    cursor.literal(",\"sha256\":\"")
    hash.write(into: &cursor)
    cursor.literal("\",\"reason\":\"")
    cursor.literal(reason)
    cursor.literal("\"}\n")
  }
}
