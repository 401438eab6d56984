// gRPC as a proxy knows it: content types, what an HTTP status stands for, and messages on the wire.

import Testing

@testable import HTTP

@Suite struct GRPCTests {
  private func isCall(_ type: String) -> Bool {
    Array(type.utf8).withUnsafeBytes { GRPCStatus.isContentType($0) }
  }

  @Test func contentTypes() {
    for type in [
      "application/grpc", "application/grpc+proto", "APPLICATION/gRPC+json", "application/grpc;x=y",
      "application/grpc \t;x",
    ] {
      #expect(isCall(type), "\(type)")
    }
    for type in [
      "", "application/grp", "application/grpc-web", "application/grpc-web+proto",
      "application/grpcs", "application/json", " application/grpc",
    ] {
      #expect(!isCall(type), "\(type)")
    }
  }

  @Test func statusesOfHTTP() {
    let table: [(UInt16, UInt8)] = [
      (400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14),
      (405, 2), (408, 2), (413, 2), (500, 2), (302, 2),
    ]
    for (status, code) in table {
      #expect(GRPCStatus(ofHTTP: status).rawValue == code, "\(status)")
    }
  }

  private func encoded(_ text: String, room: Int = 100) -> String {
    var memory = [UInt8](repeating: 0, count: room)
    let count = memory.withUnsafeMutableBytes { memory in
      Array(text.utf8).withUnsafeBytes { GRPCStatus.encodeMessage($0, into: memory) }
    }
    return String(decoding: memory[..<count], as: UTF8.self)
  }

  @Test func messagesArePercentEncoded() {
    #expect(encoded("502 Bad Gateway (connect_refused)") == "502 Bad Gateway (connect_refused)")
    #expect(encoded("100% ~\u{7F}\n\u{E4}") == "100%25 ~%7F%0A%C3%A4")
    #expect(encoded("") == "")
    // Nothing is cut in the middle.
    #expect(encoded("ab\n", room: 4) == "ab")
    #expect(encoded("abc", room: 2) == "ab")
  }
}
