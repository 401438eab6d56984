// Whole heads as HTTP/1.1 text: which lines go, which are added, in which order.

import HTTP
import HTTP1
import Testing

@Suite struct ForwardedRequestTests {
  private func forward(
    _ request: String, client: String = "192.0.2.1", isSecure: Bool = false,
    defaultAuthority: String = "default.example", pseudonym: String = "edge", room: Int = 4096
  ) -> String {
    var head = RequestHead(fieldCapacity: 32)
    return withExactBytes(Array(request.utf8)) { raw in
      guard case .complete = head.parse(raw, limits: HeadLimits()) else { return "refused" }
      return withExactBytes(Array(client.utf8)) { client in
        withExactBytes(Array(defaultAuthority.utf8)) { authority in
          withExactBytes(Array(pseudonym.utf8)) { pseudonym in
            let forwarding = RequestForwarding(
              head.view(in: raw), client: client, isSecure: isSecure, defaultAuthority: authority,
              pseudonym: pseudonym)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 1)
            defer { memory.deallocate() }
            var writer = HeadWriter(memory)
            writer.request(forwarding)
            if writer.overflowed { return "overflowed" }
            #expect(writer.count <= HeadWriter.capacity(for: forwarding))
            return String(decoding: memory[..<writer.count], as: UTF8.self)
          }
        }
      }
    }
  }

  private let added = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n"

  @Test func `what belongs to this hop goes, and what it saw is added`() {
    let request =
      "GET /a?b HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nUpgrade: u\r\n"
      + "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nAccept:*/*\r\n"
      + "Via: 1.0 other\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Prefix: /\r\nTE: gzip\r\n\r\n"
    #expect(
      forward(request) == "GET /a?b HTTP/1.1\r\nHost: h\r\nAccept: */*\r\nVia: 1.0 other\r\n"
        + added + "X-Forwarded-Host: h\r\nVia: 1.1 edge\r\n\r\n")
  }

  @Test func `a request of HTTP/1.0 without Host gets the default and no X-Forwarded-Host`() {
    #expect(
      forward("GET / HTTP/1.0\r\n\r\n") == "GET / HTTP/1.1\r\nHost: default.example\r\n" + added
        + "Via: 1.0 edge\r\n\r\n")
  }

  @Test func `without a pseudonym there is no Via`() {
    #expect(
      forward("GET / HTTP/1.1\r\nHost: h\r\n\r\n", isSecure: true, pseudonym: "")
        == "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
        + "X-Forwarded-Host: h\r\n\r\n")
  }

  @Test(arguments: [
    ("GET http://t/p?q", "GET /p?q"), ("GET http://t", "GET /"), ("GET http://t?q=1", "GET /?q=1"),
    ("OPTIONS http://t", "OPTIONS *"), ("OPTIONS http://t?q", "OPTIONS /?q"),
    ("OPTIONS http://t/", "OPTIONS /"), ("OPTIONS *", "OPTIONS *"), ("GET http://t?", "GET /?"),
    ("GET http://t/?", "GET /?"),
  ])
  func `the target goes on in origin form`(line: String, expected: String) {
    let text = forward("\(line) HTTP/1.1\r\nHost: h\r\n\r\n")
    let host = line.contains("://") ? "t" : "h"
    #expect(text.hasPrefix("\(expected) HTTP/1.1\r\nHost: \(host)\r\n"), "\(text)")
    #expect(text.contains("X-Forwarded-Host: \(host)\r\n"))
  }

  @Test(arguments: [
    ("OPTIONS", "7", "6"), ("OPTIONS", "4294967296", "4294967294"), ("OPTIONS", "x", "x"),
    ("GET", "7", "7"),
  ])
  func `Max-Forwards is counted down for OPTIONS alone`(method: String, value: String, next: String)
  {
    let text = forward("\(method) / HTTP/1.1\r\nHost: h\r\nMax-Forwards: \(value)\r\n\r\n")
    #expect(text.contains("\r\nMax-Forwards: \(next)\r\n"))
    #expect(text.components(of: "Max-Forwards") == 1)
  }

  @Test func `framing and TE are written anew, in their place`() {
    let chunked = forward(
      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers, deflate\r\n"
        + "Expect: 100-continue\r\nConnection: TE\r\n\r\n")
    #expect(
      chunked
        == "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
        + "TE: trailers\r\nConnection: TE\r\n" + added
        + "X-Forwarded-Host: h\r\nVia: 1.1 edge\r\n\r\n")
    let length = forward("POST / HTTP/1.1\r\nContent-Length: 007\r\nHost: h\r\n\r\n")
    #expect(length.contains("Host: h\r\nContent-Length: 7\r\nX-Forwarded-For"))
  }

  @Test func `a head that does not fit says so, at each size`() {
    let request = "OPTIONS /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: 2\r\nA:b\r\n\r\n"
    let whole = forward(request)
    for room in 0..<whole.utf8.count { #expect(forward(request, room: room) == "overflowed") }
    #expect(forward(request, room: whole.utf8.count) == whole)
  }
}

@Suite struct ForwardedResponseTests {
  private func forward(
    _ response: String, method: HTTPMethod = .get, chunked: Bool = false,
    connection: HeadWriter.ConnectionField = .none, pseudonym: String = "edge"
  ) -> String {
    var head = ResponseHead(fieldCapacity: 32)
    var date = HTTPDate()
    date.refresh(wallMicroseconds: 0)
    return withExactBytes(Array(response.utf8)) { raw in
      guard case .complete = head.parse(raw, limits: HeadLimits()) else { return "refused" }
      return withExactBytes(Array(pseudonym.utf8)) { pseudonym in
        let forwarding = ResponseForwarding(head.view(in: raw), pseudonym: pseudonym)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1)
        defer { memory.deallocate() }
        var writer = HeadWriter(memory)
        if head.isInterim {
          writer.interimResponse(forwarding.response)
        } else {
          writer.response(
            forwarding, method: method, chunked: chunked, connection: connection, date: date)
        }
        #expect(writer.count <= HeadWriter.capacity(for: forwarding))
        return String(decoding: memory[..<writer.count], as: UTF8.self)
      }
    }
  }

  private let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"

  @Test func `a Date is added where there is none, or where it is for this hop`() {
    #expect(
      forward("HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nA:b\r\n\r\n")
        == "HTTP/1.1 200 Fine\r\nA: b\r\nContent-Length: 3\r\n\(date)Via: 1.1 edge\r\n\r\n")
    #expect(
      forward("HTTP/1.0 200 OK\r\nDate: then\r\nContent-Length: 3\r\n\r\n", connection: .close)
        == "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 3\r\nConnection: close\r\n"
        + "Via: 1.0 edge\r\n\r\n")
    let nominated = forward(
      "HTTP/1.1 204 No Content\r\nConnection: Date\r\nDate: then\r\n\r\n", connection: .keepAlive,
      pseudonym: "")
    #expect(nominated == "HTTP/1.1 204 No Content\r\n\(date)Connection: keep-alive\r\n\r\n")
  }

  @Test func `content of unknown length leaves in chunks where the client can take them`() {
    let response = "HTTP/1.1 200 OK\r\nDate: then\r\n\r\n"
    #expect(forward(response, chunked: true).contains("Transfer-Encoding: chunked\r\n"))
    #expect(!forward(response).contains("Transfer-Encoding"))
  }

  @Test func `a length without content goes on for HEAD and 304, and not for 204`() {
    let length = "\r\nDate: then\r\nContent-Length: 12\r\n\r\n"
    #expect(forward("HTTP/1.1 200 OK" + length, method: .head).contains("Content-Length: 12\r\n"))
    #expect(forward("HTTP/1.1 304 Same" + length).contains("Content-Length: 12\r\n"))
    #expect(!forward("HTTP/1.1 204 None" + length).contains("Content-Length"))
  }

  @Test func `an interim head goes on without framing and without additions`() {
    #expect(
      forward("HTTP/1.1 103 Early Hints\r\nLink: a\r\nKeep-Alive: 1\r\nContent-Length: 0\r\n\r\n")
        == "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
  }
}

extension String {
  /// How often `part` stands in the text.
  fileprivate func components(of part: String) -> Int {
    var count = 0
    var rest = self[...]
    while let found = rest.firstRange(of: part) {
      count += 1
      rest = rest[found.upperBound...]
    }
    return count
  }
}
