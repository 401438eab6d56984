// Spans of an exchange in OTLP's JSON (opentelemetry-proto 1, trace.proto, and the encoding of OTLP/HTTP:
// identifiers in hexadecimal, 64-bit numbers as text), with the attributes of OpenTelemetry's semantic
// conventions for HTTP. One of kind server, and one of kind client where a server was chosen.

import Text
import Variables

enum SpanWriter {
  /// Bytes of both spans at most: twice seven texts of `textMaximum` bytes, each byte of which takes six, and
  /// what stands around them.
  static let maximum = 60 << 10
  /// Bytes of a text of a client's that a span keeps.
  private static let textMaximum = 512

  /// The client span's identifier, which the server is told: made of the exchange's own.
  static func clientSpan(of trace: TraceContext) -> UInt64 {
    let number = AccessPlan.spread(trace.span)
    return number == 0 ? 1 : number
  }

  /// - Returns: the bytes written: one object, or two with a comma between; 0 where the memory is too small.
  static func write(
    _ values: inout ExchangeValues, isSecureUpstream: Bool,
    into memory: UnsafeMutableRawBufferPointer
  ) -> Int {
    guard let base = memory.baseAddress else { return 0 }
    var cursor = ByteCursor(base: base, capacity: memory.count)
    writeServer(&values, &cursor)
    if values.server.count > 0 {
      cursor.byte(0x2C)
      writeClient(&values, isSecureUpstream, &cursor)
    }
    return cursor.overflowed ? 0 : cursor.position
  }

  // MARK: The two spans

  private static func writeServer(_ v: inout ExchangeValues, _ cursor: inout ByteCursor) {
    open(v.trace, span: v.trace.span, parent: v.trace.parent, &cursor)
    name(v.request.method, v.route, &cursor)
    cursor.literal(",\"kind\":2")
    times(v.startMicroseconds, v.startMicroseconds + v.durationMicroseconds, &cursor)
    cursor.literal(",\"attributes\":[")
    text("http.request.method", v.request.method, isFirst: true, &cursor)
    text("url.path", v.request.path, &cursor)
    cursor.literal(
      v.isTLS
        ? ",{\"key\":\"url.scheme\",\"value\":{\"stringValue\":\"https\"}}"
        : ",{\"key\":\"url.scheme\",\"value\":{\"stringValue\":\"http\"}}")
    place(v.request.host, &cursor)
    text("client.address", v.client, &cursor)
    text("user_agent.original", v.request.userAgent, &cursor)
    text("http.route", v.route, &cursor)
    text("network.protocol.version", version(v.httpVersion), &cursor)
    number("http.request.body.size", v.requestBytes, &cursor)
    number("http.response.body.size", v.responseBytes, &cursor)
    text("millrace.listener", v.listener, &cursor)
    close(&v, isError: v.status >= 500 || v.status == 0, &cursor)
  }

  private static func writeClient(
    _ v: inout ExchangeValues, _ isSecure: Bool, _ cursor: inout ByteCursor
  ) {
    open(v.trace, span: clientSpan(of: v.trace), parent: v.trace.span, &cursor)
    name(v.request.method, UnsafeRawBufferPointer(start: nil, count: 0), &cursor)
    cursor.literal(",\"kind\":3")
    // From the connect on, where there was one.
    let queued = max(0, v.queueMicroseconds) - max(0, v.connectMicroseconds)
    times(
      v.startMicroseconds + max(0, queued), v.startMicroseconds + v.durationMicroseconds, &cursor)
    cursor.literal(",\"attributes\":[")
    text("http.request.method", v.request.method, isFirst: true, &cursor)
    place(v.server, &cursor)
    cursor.literal(
      isSecure
        ? ",{\"key\":\"url.full\",\"value\":{\"stringValue\":\"https://"
        : ",{\"key\":\"url.full\",\"value\":{\"stringValue\":\"http://")
    escaped(v.server, &cursor)
    escaped(v.request.path, &cursor)
    cursor.literal("\"}}")
    text("millrace.upstream", v.upstream, &cursor)
    close(&v, isError: v.status >= 400 || v.status == 0, &cursor)
  }

  // MARK: Parts of a span

  private static func open(
    _ trace: TraceContext, span: UInt64, parent: UInt64, _ cursor: inout ByteCursor
  ) {
    cursor.literal("{\"traceId\":\"")
    cursor.hex(trace.high)
    cursor.hex(trace.low)
    cursor.literal("\",\"spanId\":\"")
    cursor.hex(span)
    if parent != 0 {
      cursor.literal("\",\"parentSpanId\":\"")
      cursor.hex(parent)
    }
    cursor.literal("\",\"flags\":1")
  }

  /// The method, and the route where one matched.
  private static func name(
    _ method: UnsafeRawBufferPointer, _ route: UnsafeRawBufferPointer, _ cursor: inout ByteCursor
  ) {
    cursor.literal(",\"name\":\"")
    if method.isEmpty { cursor.literal("HTTP") } else { escaped(method, &cursor) }
    if route.count > 0 {
      cursor.byte(0x20)
      escaped(route, &cursor)
    }
    cursor.byte(0x22)
  }

  private static func times(_ start: Int64, _ end: Int64, _ cursor: inout ByteCursor) {
    cursor.literal(",\"startTimeUnixNano\":\"")
    cursor.decimal(UInt64(max(0, start)))
    cursor.literal("000\",\"endTimeUnixNano\":\"")
    cursor.decimal(UInt64(max(0, max(start, end))))
    cursor.literal("000\"")
  }

  /// Ends the attributes, and the span with its status.
  private static func close(
    _ v: inout ExchangeValues, isError: Bool, _ cursor: inout ByteCursor
  ) {
    if v.status > 0 { number("http.response.status_code", UInt64(v.status), &cursor) }
    if isError {
      cursor.literal(",{\"key\":\"error.type\",\"value\":{\"stringValue\":\"")
      // The proxy's own word where it is one, else the status (semantic conventions, error.type).
      if !v.isComplete || v.status == 0 {
        cursor.literal(v.termination)
      } else {
        cursor.decimal(UInt64(v.status))
      }
      cursor.literal("\"}}],\"status\":{\"code\":2}}")
    } else {
      cursor.literal("],\"status\":{}}")
    }
  }

  // MARK: Attributes

  private static func escaped(_ text: UnsafeRawBufferPointer, _ cursor: inout ByteCursor) {
    guard text.count > 0 else { return }
    cursor.escaped(UnsafeRawBufferPointer(rebasing: text.prefix(textMaximum)))
  }

  /// The first is there even if it is empty: the others have a comma in front.
  private static func text(
    _ key: StaticString, _ value: UnsafeRawBufferPointer, isFirst: Bool = false,
    _ cursor: inout ByteCursor
  ) {
    guard isFirst || value.count > 0 else { return }
    if !isFirst { cursor.byte(0x2C) }
    cursor.literal("{\"key\":\"")
    cursor.literal(key)
    cursor.literal("\",\"value\":{\"stringValue\":\"")
    if value.isEmpty { cursor.literal("_OTHER") } else { escaped(value, &cursor) }
    cursor.literal("\"}}")
  }

  private static func number(_ key: StaticString, _ value: UInt64, _ cursor: inout ByteCursor) {
    cursor.literal(",{\"key\":\"")
    cursor.literal(key)
    cursor.literal("\",\"value\":{\"intValue\":\"")
    cursor.decimal(value)
    cursor.literal("\"}}")
  }

  /// `server.address` and, where it is written, `server.port`.
  private static func place(_ authority: UnsafeRawBufferPointer, _ cursor: inout ByteCursor) {
    guard authority.count > 0 else { return }
    var host = authority
    var port: UInt64 = 0
    var digits = 0
    while digits < min(5, authority.count) {
      let byte = authority[authority.count - 1 - digits]
      guard byte >= 0x30 && byte <= 0x39 else { break }
      digits += 1
    }
    if digits > 0, digits < authority.count, authority[authority.count - 1 - digits] == 0x3A {
      for byte in authority.suffix(digits) { port = port * 10 + UInt64(byte - 0x30) }
      host = UnsafeRawBufferPointer(rebasing: authority.dropLast(digits + 1))
    }
    if host.count > 2, host.first == 0x5B, host.last == 0x5D {
      host = UnsafeRawBufferPointer(rebasing: host.dropFirst().dropLast())
    }
    text("server.address", host, &cursor)
    if port > 0 { number("server.port", port, &cursor) }
  }

  /// `HTTP/1.1` as `1.1`, and `HTTP/2.0` as `2`.
  private static func version(_ name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    guard name.count == 8 else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(rebasing: name[5..<(name[5] == 0x32 ? 6 : 8)])
  }
}
