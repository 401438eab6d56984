// Values for the tests, and lines written of them.

import Text

@testable import Variables

/// Keeps what a format is compiled to.
struct Kept: LineMemory {
  mutating func keep<T>(_ array: [T]) -> UnsafeBufferPointer<T> {
    let memory = UnsafeMutablePointer<T>.allocate(capacity: max(array.count, 1))
    memory.initialize(from: array, count: array.count)
    return UnsafeBufferPointer(start: memory, count: array.count)
  }
}

/// Bytes that live to the end of the process.
func lasting(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
  var memory = Kept()
  return UnsafeRawBufferPointer(memory.keep(bytes))
}

func lasting(_ text: String) -> UnsafeRawBufferPointer { lasting(Array(text.utf8)) }

/// An exchange of which everything is known.
func fullValues() -> ExchangeValues {
  var values = ExchangeValues()
  values.request.method = lasting("POST")
  values.request.host = lasting("shop.example:8443")
  values.request.path = lasting("/cart")
  values.request.query = lasting("id=7")
  values.request.userAgent = lasting("curl/8.5")
  values.request.referer = lasting("https://shop.example/")
  values.request.forwardedFor = lasting("198.51.100.9")
  values.request.requestID = lasting("r-1")
  values.client = lasting("192.0.2.7")
  values.listener = lasting("edge")
  values.isTLS = true
  values.tlsVersion = lasting("TLSv1.3")
  values.tlsCipher = lasting("TLS_AES_128_GCM_SHA256")
  values.tlsServerName = lasting("shop.example")
  values.tlsALPN = lasting("h2")
  values.httpVersion = lasting("HTTP/2.0")
  values.stream = 5
  values.trace = TraceContext(
    parsing: lasting("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
  values.trace.span = 0x1234
  values.route = lasting("shop.example/*")
  values.upstream = lasting("web")
  values.server = lasting("10.0.0.1:80")
  values.status = 201
  values.requestBytes = 12
  values.responseBytes = 34
  values.termination = "complete"
  values.rejection = "field_name"
  // 2026-11-21T01:33:58.123456Z
  values.startMicroseconds = 1_795_224_838_123_456
  values.durationMicroseconds = 1_234_567
  values.queueMicroseconds = 89
  values.connectMicroseconds = 0
  values.firstByteMicroseconds = 1_000_000
  values.exchangeID = 0xABC
  values.worker = 3
  return values
}

/// The line without its newline, of which there is one.
func line(_ format: LineFormat, _ values: ExchangeValues) -> String {
  String(decoding: bytes(format, values).dropLast(), as: UTF8.self)
}

func bytes(_ format: LineFormat, _ values: ExchangeValues) -> [UInt8] {
  var memory = Kept()
  let shape = LineShape(format, &memory)
  var values = values
  var room = [UInt8](repeating: 0, count: LineWriter.lineMaximum)
  let count = room.withUnsafeMutableBytes { LineWriter.write(shape, &values, into: $0) }
  return Array(room[..<count])
}
