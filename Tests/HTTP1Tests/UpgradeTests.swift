// Offers to switch protocols in heads of HTTP/1.1, the heads that are written for them, and what a 101 must
// say.

import HTTP
import Testing

@testable import HTTP1

private func write(_ body: (inout HeadWriter) -> Void) -> String {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 1)
  defer { memory.deallocate() }
  var writer = HeadWriter(memory)
  body(&writer)
  return String(decoding: memory[..<writer.count], as: UTF8.self)
}

private func request<R>(_ head: String, _ body: (RequestView) -> R) -> R? {
  var parsed = RequestHead(fieldCapacity: 100)
  return withExactBytes(Array(head.utf8)) { raw in
    guard case .complete = parsed.parse(raw, limits: HeadLimits()) else { return nil }
    return body(parsed.view(in: raw))
  }
}

private func response<R>(_ head: String, _ body: (ResponseView) -> R) -> R? {
  var parsed = ResponseHead(fieldCapacity: 100)
  return withExactBytes(Array(head.utf8)) { raw in
    guard case .complete = parsed.parse(raw, limits: HeadLimits()) else { return nil }
    return body(parsed.view(in: raw))
  }
}

private func offer(_ fields: String, _ name: String, line: String = "GET / HTTP/1.1") -> String? {
  request("\(line)\r\nHost: a\r\n\(fields)\r\n\r\n") { view -> String? in
    withExactBytes(Array(name.utf8)) { view.upgrade(named: $0).map { text($0) } }
  } ?? nil
}

@Suite struct UpgradeOfferTests {
  @Test(arguments: [
    ("websocket", "websocket"), ("WebSocket", "WebSocket"), ("websocket/13", "websocket/13"),
    ("a, websocket", "websocket"), (",,websocket ,", "websocket"),
    ("h2c\r\nUpgrade: websocket", "websocket"),
  ])
  func aProtocolIsFoundByItsNameInAnyCase(value: String, expected: String) {
    #expect(offer("Connection: Upgrade\r\nUpgrade: \(value)", "websocket") == expected)
  }

  @Test(arguments: [
    "websocketx", "websocke", "web socket", "x/websocket", "websocket/1/2", "websocket/",
    "/websocket",
    "websocket;q=1", "\"websocket\"", "h2c", "",
  ])
  func whatIsAnotherNameIsNone(value: String) {
    #expect(offer("Connection: Upgrade\r\nUpgrade: \(value)", "websocket") == nil)
  }

  @Test func anOfferMeansThisHopAndComesByHTTP11() {
    #expect(offer("Connection: close\r\nUpgrade: websocket", "websocket") == nil)
    #expect(
      offer("Connection: Upgrade\r\nUpgrade: websocket", "websocket", line: "GET / HTTP/1.0") == nil
    )
    #expect(offer("Connection: Upgrade", "websocket") == nil)
  }
}

@Suite struct UpgradeHeadTests {
  private func forwarded(_ head: String, _ offered: String, _ key: WebSocketKey? = nil) -> String? {
    request(head) { view in
      withExactBytes(Array("203.0.113.9".utf8)) { client in
        withExactBytes(Array(offered.utf8)) { offered in
          let forwarding = RequestForwarding(
            view, client: client, isSecure: false, defaultAuthority: client,
            pseudonym: UnsafeRawBufferPointer(start: nil, count: 0))
          let written = write { $0.upgradeRequest(forwarding, offering: offered, key) }
          #expect(written.utf8.count <= HeadWriter.capacity(for: forwarding, offering: offered))
          return written
        }
      }
    }
  }

  @Test func aRequestKeepsItsOfferAndNothingElseOfItsHop() {
    let head =
      "GET http://h/p?q HTTP/1.1\r\nHost: h\r\nConnection: X, Upgrade\r\nX: y\r\n"
      + "Upgrade: h2c, websocket\r\nSec-WebSocket-Key: k\r\nHTTP2-Settings: s\r\n\r\n"
    #expect(
      forwarded(head, "websocket")
        == "GET /p?q HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\n"
        + "Upgrade: websocket\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
        + "X-Forwarded-Host: h\r\n\r\n")
  }

  @Test func connectionNamesTEToo() {
    let head =
      "POST / HTTP/1.1\r\nHost: h\r\nConnection: TE, Upgrade\r\nTE: trailers\r\nUpgrade: t\r\n"
      + "Content-Length: 3\r\n\r\n"
    #expect(
      forwarded(head, "t")
        == "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTE: trailers\r\n"
        + "Connection: TE, Upgrade\r\nUpgrade: t\r\nX-Forwarded-For: 203.0.113.9\r\n"
        + "X-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n\r\n")
  }

  @Test func aKeyOfOnesOwnIsWritten() {
    let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    let written = forwarded(
      head, "websocket", WebSocketKey(0x7468_6520_7361_6D70, 0x6C65_206E_6F6E_6365))
    #expect(written?.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n") == true)
  }

  @Test func aHeadOf101StandsForWhatAServerOfHTTP2Says() {
    let key = WebSocketKey(0x7468_6520_7361_6D70, 0x6C65_206E_6F6E_6365)
    let written = response("HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\n") { view in
      withExactBytes(Array("p".utf8)) { pseudonym in
        withExactBytes(Array("websocket".utf8)) { name in
          let forwarding = ResponseForwarding(view, pseudonym: pseudonym)
          return write { $0.switchingResponse(forwarding, to: name, accepting: key) }
        }
      }
    }
    #expect(
      written
        == "HTTP/1.1 101 Switching Protocols\r\nX: y\r\nConnection: Upgrade\r\n"
        + "Upgrade: websocket\r\nVia: 1.1 p\r\n"
        + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
  }

  @Test func theHeadOf101SaysWhatIsSwitchedToOnce() {
    let head =
      "HTTP/1.1 101 Web Socket\r\nConnection: upgrade, X\r\nX: y\r\nUpgrade: WebSocket\r\n"
      + "Sec-WebSocket-Accept: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    let plain = head.replacing("Transfer-Encoding: chunked\r\n", with: "")
    let written = response(plain) { view in
      withExactBytes(Array("p".utf8)) { pseudonym in
        withExactBytes(Array("websocket".utf8)) { name in
          let forwarding = ResponseForwarding(view, pseudonym: pseudonym)
          return write { $0.switchingResponse(forwarding, to: name) }
        }
      }
    }
    #expect(
      written
        == "HTTP/1.1 101 Web Socket\r\nSec-WebSocket-Accept: a\r\nConnection: Upgrade\r\n"
        + "Upgrade: websocket\r\nVia: 1.1 p\r\n\r\n")
  }
}

@Suite struct SwitchTests {
  private func switched(_ fields: String) -> String? {
    response("HTTP/1.1 101 S\r\n\(fields)\r\n\r\n") { $0.switchedProtocol.map { text($0) } } ?? nil
  }

  @Test(arguments: [
    ("Connection: Upgrade\r\nUpgrade: websocket", "websocket"),
    ("Upgrade: a/1\r\nConnection: x, UPGRADE", "a"),
  ])
  func oneProtocolIsSwitchedTo(fields: String, expected: String) {
    #expect(switched(fields) == expected)
  }

  @Test(arguments: [
    "Upgrade: websocket", "Connection: Upgrade", "Connection: Upgrade\r\nUpgrade:",
    "Connection: Upgrade\r\nUpgrade: a, b", "Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: a",
    "Connection: Upgrade\r\nUpgrade: a b", "Connection: close\r\nUpgrade: a",
  ])
  func noneOrSeveralAreNone(fields: String) {
    #expect(switched(fields) == nil)
  }

  @Test func aFieldCountsWhereItStandsOnce() {
    let one = "HTTP/1.1 101 S\r\nsec-websocket-ACCEPT: v\r\nb: c\r\n\r\n"
    #expect(response(one) { $0.only(named: "sec-websocket-accept").map { text($0) } } == "v")
    let two = "HTTP/1.1 101 S\r\na: v\r\nA: v\r\n\r\n"
    #expect(response(two) { $0.only(named: "a") == nil } == true)
    let left = response(one) { view -> [Bool] in
      view.leaveOut("sec-websocket-accept")
      return (0..<view.fieldCount).map { view.field($0).isHopByHop }
    }
    #expect(left == [true, false])
  }
}
