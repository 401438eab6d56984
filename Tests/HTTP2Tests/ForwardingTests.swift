// The same message by HTTP/1.1 and by HTTP/2, forwarded to either: the same fields go on.

import HTTP
import HTTP1
import HTTP2
import Testing

/// A message with fields, before it is either text or a section.
private struct Message {
  var method = "GET"
  var path = "/"
  var authority = "a.example"
  var fields: [(String, String)] = []

  var section: [(String, String)] {
    [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
      + fields.map { ($0.0.lowercased(), $0.1) }
  }

  var text: String {
    "\(method) \(path) HTTP/1.1\r\nHost: \(authority)\r\n"
      + fields.map { "\($0.0): \($0.1)\r\n" }.joined() + "\r\n"
  }
}

private func rules<R>(_ view: RequestView, _ body: (RequestForwarding) -> R) -> R {
  withBytes("192.0.2.1") { client in
    withBytes("edge") { pseudonym in
      body(
        RequestForwarding(
          view, client: client, isSecure: false,
          defaultAuthority: UnsafeRawBufferPointer(start: nil, count: 0), pseudonym: pseudonym))
    }
  }
}

/// The lines of HTTP/1.1 that a view is forwarded as.
private func asText(_ view: RequestView) -> [String] {
  rules(view) { rules in
    let room = UnsafeMutableRawBufferPointer.allocate(
      byteCount: HeadWriter.capacity(for: rules), alignment: 1)
    defer { room.deallocate() }
    var writer = HeadWriter(room)
    writer.request(rules)
    #expect(!writer.overflowed)
    return text(UnsafeRawBufferPointer(rebasing: room[..<writer.count]))
      .split(separator: "\r\n", omittingEmptySubsequences: true).map(String.init)
  }
}

/// The lines of HTTP/2 that a view is forwarded as.
private func asList(_ view: RequestView) -> [String] {
  rules(view) { rules in
    var list = HTTP2FieldList(fields: 64, bytes: 8192, lasting: false)
    let fits = list.request(rules)
    #expect(fits)
    return list.lines()
  }
}

private func throughHTTP2(_ message: Message, _ body: (RequestView) -> [String]) -> [String] {
  var head = HTTP2RequestHead(fieldCapacity: 64)
  return withHead(message.section) { section in
    let rejection = head.read(section, endsStream: true)
    #expect(rejection == nil)
    return rejection == nil ? body(head.view(of: section)) : []
  }
}

private func throughHTTP1(_ message: Message, _ body: (RequestView) -> [String]) -> [String] {
  var head = RequestHead(fieldCapacity: 64)
  return withBytes(message.text) { raw in
    let outcome = head.parse(raw, limits: HeadLimits())
    #expect(outcome == .complete(length: raw.count))
    return outcome == .complete(length: raw.count) ? body(head.view(in: raw)) : []
  }
}

/// Fields in lower case and in order, pseudo-fields and start line apart; Via without the version.
private func fields(_ lines: [String]) -> [String] {
  lines.filter { !$0.hasPrefix(":") && $0.firstIndex(of: ":") != nil }
    .map { line in
      let colon = line.firstIndex(of: ":")!
      let name = line[..<colon].lowercased()
      let value = String(line[colon...])
      return name == "via" ? "via" : name + value
    }
    .filter { !$0.hasPrefix("host:") }
    .sorted()
}

@Suite struct ProtocolForwardingTests {
  private let example = Message(
    path: "/p?q",
    fields: [
      ("Accept", "*/*"), ("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"),
      ("X-Real-IP", "6.6.6.6"), ("Proxy-Authorization", "x"), ("X_Forwarded_For", "6"),
      ("Trailer", "x"), ("TE", "trailers"), ("X-Own", "1"),
    ])

  @Test func `a request of HTTP/2 goes on as HTTP/1.1`() {
    #expect(
      throughHTTP2(example, asText) == [
        "GET /p?q HTTP/1.1", "Host: a.example", "accept: */*", "x-own: 1", "TE: trailers",
        "Connection: TE", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a.example", "Via: 2.0 edge",
      ])
  }

  @Test func `a request of HTTP/1.1 goes on as HTTP/2`() {
    #expect(
      throughHTTP1(example, asList) == [
        ":method: GET", ":scheme: http", ":authority: a.example", ":path: /p?q", "accept: */*",
        "x-own: 1", "te: trailers", "x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http",
        "x-forwarded-host: a.example", "via: 1.1 edge",
      ])
  }

  @Test func `the four ways carry the same fields`() {
    var generator = SystemRandomNumberGenerator()
    let seed = UInt64.random(in: 0...UInt64.max, using: &generator)
    var random = Generator(state: seed)
    for _ in 0..<2_000 {
      let message = Self.anyMessage(&random)
      let ways = [
        throughHTTP1(message, asText), throughHTTP1(message, asList),
        throughHTTP2(message, asText), throughHTTP2(message, asList),
      ].map { fields($0).filter { $0 != "connection: TE" } }
      for way in ways.dropFirst() where way != ways[0] {
        Issue.record("seed \(seed): \(message.section): \(ways[0]) is not \(way)")
        return
      }
    }
  }

  private static func anyMessage(_ random: inout Generator) -> Message {
    let names = [
      "Accept", "X-A", "x-b", "Content-Type", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded",
      "X-Forwarded-Prefix", "X_Real_IP", "X-Real-IP", "True-Client-IP", "Trailer", "Via",
      "Proxy-Authorization", "Proxy-Authenticate", "HTTP2-Settings", "Max-Forwards", "Expect",
      "User-Agent", "a_b", "Range", "Authorization", "Date",
    ]
    var message = Message()
    message.method = ["GET", "OPTIONS", "POST", "PURGE"].randomElement(using: &random)!
    message.path = ["/", "/a/b?c=d", "/?", "//x"].randomElement(using: &random)!
    message.authority = ["a", "a.example:81", "[::1]:5"].randomElement(using: &random)!
    for _ in 0..<Int.random(in: 0...12, using: &random) {
      let name = names.randomElement(using: &random)!
      let value =
        switch name {
        case "Expect": "100-continue"
        case "Max-Forwards": ["3", "0", "x"].randomElement(using: &random)!
        default: ["", "v", "a, b", "w x"].randomElement(using: &random)!
        }
      message.fields.append((name, value))
    }
    if Bool.random(using: &random) { message.fields.append(("TE", "trailers")) }
    if Bool.random(using: &random) { message.fields.append(("Content-Length", "0")) }
    return message
  }

  @Test func `cookies in parts are put together for HTTP/1.1, and stay apart for HTTP/2`() {
    let message = Message(
      fields: [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")])
    let joined = throughHTTP2(message, asText)
    #expect(joined.contains("cookie: a=1; b=2; c=3"))
    #expect(joined.filter { $0.hasPrefix("cookie") }.count == 1)
    #expect(throughHTTP2(message, asList).filter { $0.hasPrefix("cookie") }.count == 3)
    // In HTTP/1.1 there is no such rule: they go on as they came.
    #expect(throughHTTP1(message, asText).filter { $0.hasPrefix("cookie") }.count == 3)
    let one = Message(fields: [("cookie", "a=1; b=2")])
    #expect(throughHTTP2(one, asText).contains("cookie: a=1; b=2"))
  }

  @Test func `content of unknown length leaves in chunks by HTTP/1.1 and by frames in HTTP/2`() {
    var head = HTTP2RequestHead(fieldCapacity: 8)
    withHead(Message(method: "POST").section) { section in
      #expect(head.read(section, endsStream: false) == nil)
      #expect(asText(head.view(of: section)).contains("Transfer-Encoding: chunked"))
      #expect(!asList(head.view(of: section)).contains { $0.contains("transfer-encoding") })
    }
  }

  @Test func `a copied head of HTTP/2 is forwarded as the original`() {
    var head = HTTP2RequestHead(fieldCapacity: 16)
    let room = UnsafeMutableRawBufferPointer.allocate(
      byteCount: 4096, alignment: OwnedHead.alignment)
    defer { room.deallocate() }
    var copy: OwnedHead?
    var expected: [String] = []
    withHead(example.section) { section in
      #expect(head.read(section, endsStream: true) == nil)
      copy = OwnedHead(copying: head.view(of: section), into: room)
      expected = asText(head.view(of: section))
    }
    withHead(Message().section) { #expect(head.read($0, endsStream: true) == nil) }
    #expect(copy.map { asText($0.view) } == expected)
  }

  @Test func `a session carries a forwarded request as it was made`() {
    var pair = Pair()
    let sent = throughHTTP1(example) { view in
      rules(view) { rules in
        var list = HTTP2FieldList(fields: 64, bytes: 8192, lasting: false)
        check(list.request(rules))
        check(pair.client.session.request(list) != nil)
        return list.lines()
      }
    }
    pair.pump()
    let heads = pair.server.told.filter { $0.kind == .head }
    #expect(heads.map(\.text) == [sent.map { Self.asTold($0) }.joined(separator: " ")])
  }

  /// `name=value`, as `Told` has it.
  private static func asTold(_ line: String) -> String {
    let colon = line.dropFirst().firstIndex(of: ":")!
    return line[..<colon] + "=" + line[colon...].dropFirst(2)
  }

  @Test func `an absolute form goes on as a path`() {
    let message = Message(method: "OPTIONS", path: "http://t.example?q", authority: "t.example")
    #expect(throughHTTP1(message, asList).contains(":path: /?q"))
    let star = Message(method: "OPTIONS", path: "http://t.example", authority: "t.example")
    #expect(throughHTTP1(star, asList).contains(":path: *"))
  }

  @Test func `a list that is too small by a field or a byte says so`() {
    withBytes(example.text) { raw in
      var head = RequestHead(fieldCapacity: 16)
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      rules(head.view(in: raw)) { rules in
        var whole = HTTP2FieldList(fields: 64, bytes: 8192, lasting: false)
        _ = whole.request(rules)
        var bytes = 0
        whole.forEach { bytes += $0.count + $1.count }
        for (fields, room, fits) in [
          (whole.count, bytes, true), (whole.count - 1, bytes, false),
          (whole.count, bytes - 1, false), (whole.count + 1, bytes + 1, true),
        ] {
          var list = HTTP2FieldList(fields: fields, bytes: room, lasting: false)
          let did = list.request(rules)
          #expect(did == fits)
          check(list.overflowed == !fits)
          list.removeAll()
          check(!list.overflowed)
        }
      }
    }
  }
}

@Suite struct ProtocolResponseTests {
  private let nothing = UnsafeRawBufferPointer(start: nil, count: 0)

  @Test func `a response of HTTP/1.1 goes on as HTTP/2`() {
    var head = ResponseHead(fieldCapacity: 16)
    var date = HTTPDate()
    date.refresh(wallMicroseconds: 0)
    let response =
      "HTTP/1.1 200 Fine\r\nContent-Type: a\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"
      + "Transfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"
    withBytes(response) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      var list = HTTP2FieldList(lasting: false)
      let fits = withBytes("edge") {
        list.response(
          ResponseForwarding(head.view(in: raw), pseudonym: $0), method: .get, date: date)
      }
      #expect(fits)
      let lines = list.lines()
      #expect(
        lines == [
          ":status: 200", "content-type: a", "set-cookie: a", "set-cookie: b",
          "date: Thu, 01 Jan 1970 00:00:00 GMT", "via: 1.1 edge",
        ])
    }
  }

  @Test func `a response of HTTP/2 goes on as HTTP/1.1`() {
    var head = HTTP2ResponseHead(fieldCapacity: 16)
    withHead([
      (":status", "404"), ("date", "then"), ("set-cookie", "a"), ("set-cookie", "b"),
      ("content-length", "3"),
    ]) { section in
      #expect(head.read(section, endsStream: false) == nil)
      let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 1)
      defer { room.deallocate() }
      var writer = HeadWriter(room)
      writer.response(
        ResponseForwarding(head.view(of: section), pseudonym: nothing), method: .get,
        chunked: false, connection: .close, date: HTTPDate())
      #expect(
        text(UnsafeRawBufferPointer(rebasing: room[..<writer.count]))
          == "HTTP/1.1 404 Not Found\r\ndate: then\r\nset-cookie: a\r\nset-cookie: b\r\n"
          + "Content-Length: 3\r\nConnection: close\r\n\r\n")
    }
  }
}

/// A seeded generator (SplitMix64).
private struct Generator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
