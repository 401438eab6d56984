// Lines: the value of every variable, the well-known formats, and bytes that would forge a line.

import Foundation
import Testing

@testable import Variables

@Suite("Lines of the access log")
struct LineTests {
  /// By name, so that a new variable fails here until it is told.
  static let expected: [String: String] = [
    "time": "2026-11-21T01:33:58.123456Z", "time_common": "21/Nov/2026:01:33:58 +0000",
    "time_unix": "1795224838.123456", "client_address": "192.0.2.7", "listener": "edge",
    "scheme": "https", "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256",
    "tls_server_name": "shop.example", "tls_alpn": "h2", "http_version": "HTTP/2.0",
    "stream": "5", "method": "POST", "host": "shop.example:8443", "path": "/cart",
    "query": "id=7", "target": "/cart?id=7", "request": "POST /cart?id=7 HTTP/2.0",
    "user_agent": "curl/8.5", "referer": "https://shop.example/",
    "forwarded_for": "198.51.100.9", "request_id": "r-1",
    "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "0000000000001234",
    "route": "shop.example/*", "upstream": "web", "server": "10.0.0.1:80", "status": "201",
    "request_bytes": "12", "response_bytes": "34", "termination": "complete",
    "rejection": "field_name", "duration": "1.234567", "queue_duration": "0.000089",
    "connect_duration": "0.000000", "first_byte_duration": "1.000000",
    "exchange_id": "0000000000000abc", "worker": "3",
  ]

  @Test("every variable has its value in text")
  func text() throws {
    for variable in Variable.allCases {
      let format = LineFormat.text(try Template("{\(variable.name)}"))
      #expect(line(format, fullValues()) == Self.expected[variable.name], "\(variable)")
    }
    #expect(Self.expected.count == Variable.allCases.count)
  }

  @Test("every variable has its value in JSON, text as text and numbers as numbers")
  func json() throws {
    let text = line(.json(Variable.allCases), fullValues())
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    #expect(object.count == Variable.allCases.count)
    for variable in Variable.allCases {
      let expected = try #require(Self.expected[variable.name])
      switch variable.entry.kind {
      case .text: #expect(object[variable.name] as? String == expected, "\(variable)")
      case .number: #expect(object[variable.name] as? Double == Double(expected), "\(variable)")
      }
    }
  }

  @Test("what an exchange has not is - in text, and no member in JSON")
  func absent() throws {
    var values = ExchangeValues()
    values.exchangeID = 0
    let there: Set<String> = [
      "time", "time_common", "time_unix", "scheme", "request_bytes", "response_bytes",
      "termination", "duration", "worker",
    ]
    for variable in Variable.allCases where !there.contains(variable.name) {
      #expect(line(.text(try Template("{\(variable.name)}")), values) == "-", "\(variable)")
      #expect(line(.json([variable]), values) == "{}", "\(variable)")
    }
    #expect(line(.json([.status, .worker, .host]), values) == "{\"worker\":0}")
    // An empty text is there, and nothing to see.
    values.request.query = lasting("")
    #expect(line(.text(try Template("{query}")), values) == "-")
    #expect(line(.json([.query]), values) == "{\"query\":\"\"}")
  }

  @Test("the well-known formats")
  func wellKnown() {
    #expect(
      line(.common, fullValues())
        == "192.0.2.7 - - [21/Nov/2026:01:33:58 +0000] \"POST /cart?id=7 HTTP/2.0\" 201 34")
    #expect(
      line(.combined, fullValues())
        == "192.0.2.7 - - [21/Nov/2026:01:33:58 +0000] \"POST /cart?id=7 HTTP/2.0\" 201 34"
        + " \"https://shop.example/\" \"curl/8.5\"")
  }

  @Test("a query that is left out is in no variable")
  func redacted() throws {
    var values = fullValues()
    values.redactsQuery = true
    for variable in [Variable.query, .target, .request] {
      let text = line(.text(try Template("{\(variable.name)}")), values)
      #expect(!text.contains("id=7") && !text.contains("?"), "\(variable): \(text)")
    }
  }

  @Test("no byte forges a line or leaves its quotes")
  func hostile() throws {
    let every = (0...255).map { UInt8($0) }
    var values = fullValues()
    values.request.userAgent = lasting(every)
    let text = bytes(.text(try Template("\"{user_agent}\"")), values)
    #expect(text.last == 0x0A)
    let inner = text.dropLast()
    #expect(inner.allSatisfy { $0 >= 0x20 && $0 < 0x7F })
    #expect(inner.filter { $0 == 0x22 }.count == 2)
    let written = String(decoding: inner, as: UTF8.self)
    for expected in ["\\x00", "\\x0A", "\\x0D", "\\x22", "\\x5C", "\\x7F", "\\xFF"] {
      #expect(written.contains(expected), "\(expected)")
    }
    // Unescaped it is what was sent.
    var back: [UInt8] = []
    var index = inner.startIndex + 1
    while index < inner.endIndex - 1 {
      if inner[index] == 0x5C {
        let digits = String(decoding: inner[(index + 2)..<(index + 4)], as: UTF8.self)
        back.append(try #require(UInt8(digits, radix: 16)))
        index += 4
      } else {
        back.append(inner[index])
        index += 1
      }
    }
    #expect(back == every)

    let json = bytes(.json([.userAgent]), values)
    #expect(json.filter { $0 == 0x0A }.count == 1)
    let object = try JSONSerialization.jsonObject(with: Data(json)) as? [String: String]
    #expect(object?["user_agent"]?.isEmpty == false)
  }

  @Test("however long the values are, a line has its limit and is whole")
  func limits() throws {
    let worst = lasting([UInt8](repeating: 0x01, count: 64 << 10))
    var values = fullValues()
    values.request.method = worst
    values.request.path = worst
    values.request.query = worst
    values.httpVersion = worst
    let most = String(repeating: "{request}", count: Template.variablesMaximum)
    let text = String(repeating: "x", count: Template.textMaximum - most.utf8.count)
    let long = bytes(.text(try Template(most + text)), values)
    #expect(!long.isEmpty && long.count <= LineWriter.lineMaximum)
    #expect(long.filter { $0 == 0x0A }.count == 1 && long.last == 0x0A)
    #expect(long.dropLast().suffix(text.utf8.count).allSatisfy { $0 == 0x78 })

    let json = bytes(.json(Variable.allCases), values)
    #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(json)) }

    // A target as long as the default limit is kept whole.
    for count in [
      LineWriter.valueMaximum - 1, LineWriter.valueMaximum, LineWriter.valueMaximum + 1,
    ] {
      var values = fullValues()
      values.request.path = lasting([UInt8](repeating: 0x61, count: count))
      let path = line(.text(try Template("{path}")), values)
      #expect(path.utf8.count == min(count, LineWriter.valueMaximum))
    }
  }

  @Test("memory that is too small has no line")
  func noRoom() {
    var memory = Kept()
    let shape = LineShape(.combined, &memory)
    var values = fullValues()
    var room = [UInt8](repeating: 0, count: 16)
    #expect(room.withUnsafeMutableBytes { LineWriter.write(shape, &values, into: $0) } == 0)
  }
}
