// Which responses are streams whose parts are wanted as they come.

import HTTP
import Testing

@testable import HTTP1

@Suite("Streams")
struct StreamTests {
  static let cases: [(String, Bool)] = [
    ("", false),
    ("Content-Type: text/html\r\n", false),
    ("Content-Type: text/event-stream\r\n", true),
    ("content-type: TEXT/EVENT-STREAM; charset=utf-8\r\n", true),
    ("Content-Type: text/event-strea\r\n", false),
    ("Content-Type: application/grpc\r\n", true),
    ("Content-Type: application/grpc+proto\r\n", true),
    ("Content-Type: \r\n", false),
    ("X-Accel-Buffering: no\r\n", true),
    ("x-accel-buffering: NO\r\n", true),
    ("X-Accel-Buffering: now\r\n", false),
    ("X-Accel-Buffering: n\r\n", false),
    ("X-Accel-Buffering: \r\n", false),
    ("X-Accel-Buffering: yes\r\nContent-Type: text/plain\r\n", false),
  ]

  @Test("a stream is told by its type or by X-Accel-Buffering", arguments: cases)
  func isStream(_ fields: String, _ expected: Bool) {
    var head = ResponseHead(fieldCapacity: 8)
    let text = Array("HTTP/1.1 200 OK\r\n\(fields)\r\n".utf8)
    text.withUnsafeBytes { bytes in
      guard case .complete = head.parse(bytes, limits: HeadLimits()) else {
        Issue.record("the head was not understood")
        return
      }
      #expect(head.view(in: bytes).isStream == expected)
    }
  }
}
