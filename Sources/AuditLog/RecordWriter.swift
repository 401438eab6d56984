// RecordWriter writes a record's JSON in two parts, without allocating: the request's part into the
// connection's memory when the head has been read, the rest into the journal's batch. It owns the
// member names and their order; it refuses to know of batches, seals and files.

/// The serialisation of records. Every function is pure and writes into memory that is lent to it.
public enum RecordWriter {
  /// Bytes of an upstream address that a record keeps, before escaping: a unix(7) path has 108.
  public static let upstreamMaximum = 128
  /// Bytes of an ending that a record keeps.
  public static let endingMaximum = 64
  /// `{"seq":…,"kind":"exchange","id":"…","time":"…"` and `}\n`, with a sequence of 20 digits.
  static let framingMaximum = 128
  /// An upper bound on what `writeResponsePart` writes: member names (165), a status of 5 digits,
  /// six numbers of 20, an ending, and an upstream of which every byte is escaped to six.
  public static let responsePartMaximum =
    165 + 5 + 6 * 20 + endingMaximum + 6 * upstreamMaximum

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
    text(",\"client\":\"", facts.client, &cursor)
    text(",\"listener\":\"", facts.listener, &cursor)
    text(",\"tls\":\"", facts.tlsVersion, &cursor)
    text(",\"cipher\":\"", facts.tlsCipher, &cursor)
    text(",\"sni\":\"", facts.sni, &cursor)
    if facts.clientCertificate.baseAddress != nil {
      cursor.literal(",\"client_certificate\":\"")
      for byte in facts.clientCertificate { cursor.hex(byte) }
      cursor.byte(0x22)
    }
    text(",\"version\":\"", facts.version, &cursor)
    text(",\"method\":\"", facts.method, &cursor)
    text(",\"host\":\"", facts.host, &cursor)
    text(",\"path\":\"", facts.path, &cursor)
    if facts.redactsQuery {
      if facts.query.baseAddress != nil { cursor.literal(",\"query_redacted\":true") }
    } else {
      text(",\"query\":\"", facts.query, &cursor)
    }
    text(",\"request_id\":\"", facts.requestID, &cursor)
    text(",\"trace_id\":\"", facts.traceID, &cursor)
  }

  @inline(__always)
  private static func text(
    _ name: StaticString, _ value: UnsafeRawBufferPointer, _ cursor: inout ByteCursor
  ) {
    if value.baseAddress == nil { return }
    cursor.literal(name)
    cursor.escaped(value)
    cursor.byte(0x22)
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
    if let upstream = facts.upstream.baseAddress {
      let count = min(facts.upstream.count, upstreamMaximum)
      text(",\"upstream\":\"", UnsafeRawBufferPointer(start: upstream, count: count), &cursor)
    }
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
