import HTTP2
import Testing

@Suite("Malformed HTTP/2")
struct MalformedInputTests {
  /// A block of fields without compression: literal, not indexed, with its name (RFC 7541, 6.2.2).
  static func fields(_ lines: [(String, String)]) -> [UInt8] {
    var bytes: [UInt8] = []
    for (name, value) in lines {
      bytes += [0x00, UInt8(name.utf8.count)]
      bytes += name.utf8
      bytes.append(UInt8(value.utf8.count))
      bytes += value.utf8
    }
    return bytes
  }
  static let good = fields([
    (":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"),
  ])
  static let hello = preface + frame(4)

  /// What a broken connection is told.
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: [UInt8]
    var code: HTTP2ErrorCode
    var testDescription: String { name }
  }

  static let connectionCases = [
    Case(
      name: "DATA on stream 0", bytes: hello + frame(0, [1, 2, 3]), code: .protocolError),
    Case(
      name: "HEADERS on stream 0", bytes: hello + frame(1, flags: 4, good), code: .protocolError),
    Case(
      name: "HEADERS on a stream of the server's",
      bytes: hello + frame(1, flags: 5, stream: 2, good),
      code: .protocolError),
    Case(
      name: "a block that is not HPACK", bytes: hello + frame(1, flags: 5, stream: 1, [0x80]),
      code: .compressionError),
    Case(
      name: "padding longer than its frame",
      bytes: hello + frame(1, flags: 0xD, stream: 1, [200] + good), code: .protocolError),
    Case(
      name: "another frame inside a block",
      bytes: hello + frame(1, flags: 1, stream: 1, good) + frame(6, [0, 0, 0, 0, 0, 0, 0, 0]),
      code: .protocolError),
    Case(
      name: "CONTINUATION of nothing", bytes: hello + frame(9, flags: 4, stream: 1, good),
      code: .protocolError),
    Case(
      name: "RST_STREAM of 3 bytes",
      bytes: hello + frame(1, flags: 5, stream: 1, good) + frame(3, stream: 1, [0, 0, 0]),
      code: .frameSizeError),
    Case(
      name: "RST_STREAM of an idle stream", bytes: hello + frame(3, stream: 1, number(8)),
      code: .protocolError),
    Case(
      name: "SETTINGS of 5 bytes", bytes: preface + frame(4, [0, 1, 0, 0, 0]),
      code: .frameSizeError),
    Case(
      name: "SETTINGS on a stream", bytes: hello + frame(4, stream: 1), code: .protocolError),
    Case(
      name: "SETTINGS acknowledged with content",
      bytes: hello + frame(4, flags: 1, [0, 1, 0, 0, 0, 0]), code: .frameSizeError),
    Case(
      name: "a window above 2³¹ − 1 in SETTINGS",
      bytes: preface + frame(4, [0, 4] + number(0x8000_0000)), code: .flowControlError),
    Case(
      name: "a maximum frame below 16,384", bytes: preface + frame(4, [0, 5] + number(1)),
      code: .protocolError),
    Case(
      name: "PUSH_PROMISE from a client",
      bytes: hello + frame(5, flags: 4, stream: 1, number(2) + good), code: .protocolError),
    Case(
      name: "PING of 7 bytes", bytes: hello + frame(6, [1, 2, 3, 4, 5, 6, 7]),
      code: .frameSizeError),
    Case(
      name: "GOAWAY on a stream",
      bytes: hello + frame(7, stream: 1, number(0) + number(0)), code: .protocolError),
    Case(
      name: "WINDOW_UPDATE of 0 on the connection", bytes: hello + frame(8, number(0)),
      code: .protocolError),
    Case(
      name: "WINDOW_UPDATE beyond 2³¹ − 1", bytes: hello + frame(8, number(0x7FFF_FFFF)),
      code: .flowControlError),
    Case(
      name: "a frame above 16,384 bytes",
      bytes: hello + frame(0, stream: 1, [0], length: 16_385), code: .frameSizeError),
    Case(
      name: "something else than SETTINGS first",
      bytes: preface + frame(6, [0, 0, 0, 0, 0, 0, 0, 0]),
      code: .protocolError),
  ]

  @Test("Ends the connection with the code of the rule that was broken", arguments: connectionCases)
  func connection(_ one: Case) {
    // Not byte by byte: nghttp2 counts each read of a part of a CONTINUATION's head as one of eight
    // CONTINUATION frames that it takes, and ends the session as flooded.
    for piece in [2, 10_000] {
      var server = Side(HTTP2Configuration(.server), HTTP2Memory())
      check(server.hear(one.bytes, piece: piece) == nil)
      let frames = Frame.all(in: server.say())
      let goAway = frames.first { $0.type == 7 }
      #expect(goAway?.code == one.code.rawValue, "\(one.name)")
      check(server.session.terminationCode == one.code)
      check(server.session.isOver)
    }
  }

  static let streamCases: [(String, [UInt8], HTTP2ErrorCode)] = [
    (
      "no :path", fields([(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
      .protocolError
    ),
    ("an upper-case name", good + fields([("Name", "x")]), .protocolError),
    ("a connection-specific field", good + fields([("connection", "close")]), .protocolError),
    ("a pseudo-field after a field", good + fields([("a", "b"), (":path", "/2")]), .protocolError),
    ("two :path", good + fields([(":path", "/2")]), .protocolError),
    ("TE other than trailers", good + fields([("te", "gzip")]), .protocolError),
  ]

  @Test("A malformed request is reset, and the connection goes on", arguments: streamCases.indices)
  func stream(_ index: Int) {
    let (name, block, code) = Self.streamCases[index]
    var server = Side(HTTP2Configuration(.server), HTTP2Memory())
    let bytes =
      Self.hello + frame(1, flags: 5, stream: 1, block)
      + frame(1, flags: 5, stream: 3, Self.good)
    check(server.hear(bytes) == nil)
    server.session.respond(3, response())
    let frames = Frame.all(in: server.say())
    #expect(frames.first { $0.type == 3 }?.code == code.rawValue, "\(name)")
    #expect(frames.contains { $0.type == 1 && $0.stream == 3 })
    check(server.session.openStreams == 0)
  }

  @Test("Content that is longer or shorter than content-length resets the stream")
  func wrongLength() {
    for count in [3, 5] {
      var server = Side(HTTP2Configuration(.server), HTTP2Memory())
      let head = Self.good + Self.fields([("content-length", "4")])
      let bytes =
        Self.hello + frame(1, flags: 4, stream: 1, head)
        + frame(0, flags: 1, stream: 1, Array(repeating: 7, count: count))
      check(server.hear(bytes) == nil)
      #expect(Frame.all(in: server.say()).first { $0.type == 3 }?.code == 1)
      check(!server.kinds(1).contains(.end))
    }
  }

  @Test("Something else than the preface is told apart from broken HTTP/2")
  func notHTTP2() {
    var server = Side(HTTP2Configuration(.server), HTTP2Memory())
    check(server.hear(Array("GET / HTTP/1.1\r\n\r\n".utf8)) == .notHTTP2)
    check(server.session.failure == .notHTTP2)
    check(server.session.isOver)
  }

  @Test("A head over the limits comes as such, without its fields, and can be answered")
  func headLimits() {
    for isByFields in [true, false] {
      var configuration = HTTP2Configuration(.server)
      configuration.headBytes = 4096
      configuration.headFields = 20
      var pair = Pair(server: configuration)
      pair.server.answer = { session, event in
        if event.kind == .headTooLarge { session.respond(event.stream, response(431)) }
        if event.kind == .head { session.respond(event.stream, response(200)) }
      }
      var large = request("/large")
      if isByFields {
        for i in 0..<30 { large.append("f\(i)", "x") }
      } else {
        large.append("f", String(repeating: "x", count: 5000))
      }
      _ = pair.client.session.request(large)
      _ = pair.client.session.request(request("/small"))
      pair.pump()
      check(pair.server.kinds(1) == [.headTooLarge, .end, .closed])
      check(pair.client.told.filter { $0.kind == .head }.map(\.status) == [431, 200])
    }
  }

  @Test("Many heads in one piece of input wait for room, and none is lost or mixed up")
  func crowdedArena() {
    var configuration = HTTP2Configuration(.server)
    configuration.headBytes = 2048
    var pair = Pair(server: configuration)
    pair.pump()
    for i in 0..<100 {
      var fields = request("/\(i)")
      // Long and repeated: a few bytes on the wire, the whole length in the arena.
      fields.append("long", String(repeating: "y", count: 1500))
      check(pair.client.session.request(fields) != nil)
    }
    let bytes = pair.client.say()
    #expect(bytes.count < 8000)
    check(pair.server.hear(bytes) == nil)
    let heads = pair.server.told.filter { $0.kind == .head }
    #expect(heads.count == 100)
    for (i, head) in heads.enumerated() {
      check(
        head.text
          == ":method=GET :scheme=http :authority=example :path=/\(i) long="
          + String(repeating: "y", count: 1500))
    }
  }

  @Test("Random damage never breaks the machine: it ends streams or the connection")
  func damage() {
    var seed: UInt64 = 0x5EED
    func random(_ below: Int) -> Int {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(seed >> 33) % below
    }
    var pair = Pair()
    for i in 0..<30 {
      _ = pair.client.session.request(
        request("/\(i)"), content: HTTP2Content(repeating: block, count: 300))
    }
    let good = pair.client.say()
    var ended = 0
    for _ in 0..<3000 {
      var bytes = good
      for _ in 0..<(1 + random(4)) { bytes[random(bytes.count)] = UInt8(random(256)) }
      if random(3) == 0 { bytes.removeSubrange(random(bytes.count)...) }
      var server = Side(HTTP2Configuration(.server), HTTP2Memory())
      server.answer = { session, event in
        if event.kind == .end { session.respond(event.stream, response()) }
      }
      let failure = server.hear(bytes, piece: 1 + random(500))
      _ = server.say()
      if failure != nil || server.session.terminationCode != nil { ended += 1 }
    }
    #expect(ended > 300)
  }
}
