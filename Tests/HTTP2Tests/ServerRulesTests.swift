// Rules of RFC 9113 that a client can break, each with the error that it is: of the connection, of the
// stream, or none.

import HTTP
import Testing

@testable import HTTP2

@Suite("What a client may not send")
struct ServerRulesTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: [UInt8]
    var code: HTTP2ErrorCode
    var testDescription: String { name }

    init(_ name: String, _ bytes: [UInt8], _ code: HTTP2ErrorCode) {
      self.name = name
      self.bytes = bytes
      self.code = code
    }
  }

  private static let hello = ServerHarness.hello
  private static let eight: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]

  private static func setting(_ id: UInt8, _ value: UInt32) -> [UInt8] {
    frame(4, [0, id] + number(value))
  }

  static let ofConnection: [Case] = [
    Case("another protocol", Array("GET / HTTP/1.1\r\n\r\n".utf8), .protocolError),
    Case("a preface with one wrong byte", preface.dropLast() + [0x0B] + frame(4), .protocolError),
    Case("no SETTINGS first", preface + frame(6, eight), .protocolError),
    Case("an acknowledgement first", preface + frame(4, flags: 1), .protocolError),
    Case(
      "a frame of 16,385 bytes", hello + frame(1, flags: 5, stream: 1, length: 16_385),
      .frameSizeError),
    Case(
      "DATA of 16,385 bytes", hello + postFrame(1) + frame(0, stream: 1, length: 16_385),
      .frameSizeError),
    Case("DATA on stream 0", hello + frame(0, [1, 2, 3]), .protocolError),
    Case("DATA on an idle stream", hello + frame(0, stream: 1, [1]), .protocolError),
    Case(
      "DATA after the stream's end",
      hello + getFrame(1) + frame(3, stream: 1, number(8)) + frame(0, stream: 1, [1]), .streamClosed
    ),
    Case(
      "DATA padded beyond its frame",
      hello + postFrame(1) + frame(0, flags: 8, stream: 1, [4, 0, 0, 0]), .protocolError),
    Case(
      "DATA padded without a length", hello + postFrame(1) + frame(0, flags: 8, stream: 1),
      .frameSizeError),
    Case("HEADERS on stream 0", hello + frame(1, flags: 5, requestBlock()), .protocolError),
    Case(
      "HEADERS on an even stream", hello + frame(1, flags: 5, stream: 2, requestBlock()),
      .protocolError),
    Case(
      "HEADERS on a stream that was passed over", hello + getFrame(5) + getFrame(3), .protocolError),
    Case(
      "HEADERS after the client's reset",
      hello + postFrame(1) + frame(3, stream: 1, number(8)) + getFrame(1), .streamClosed),
    Case(
      "HEADERS padded beyond its frame",
      hello + frame(1, flags: 0xD, stream: 1, [200] + requestBlock()), .protocolError),
    Case(
      "HEADERS padded beyond its frame, with more to come",
      hello + frame(1, flags: 0x9, stream: 1, [200] + requestBlock()), .protocolError),
    Case(
      "HEADERS too short for its priority", hello + frame(1, flags: 0x25, stream: 1, [0, 0, 0]),
      .protocolError),
    Case(
      "a block that cannot be decoded", hello + frame(1, flags: 5, stream: 1, [0x80]),
      .compressionError),
    Case(
      "a block that ends in a field", hello + frame(1, flags: 5, stream: 1, [0x00, 0x05, 0x61]),
      .compressionError),
    Case(
      "an index that is in no table", hello + frame(1, flags: 5, stream: 1, [0xFE]),
      .compressionError),
    Case(
      "a table larger than allowed",
      hello + frame(1, flags: 5, stream: 1, [0x3F, 0xE2, 0x1F] + requestBlock()), .compressionError),
    Case(
      "another frame within a block",
      hello + frame(1, flags: 1, stream: 1, requestBlock()) + frame(6, eight), .protocolError),
    Case(
      "an unknown frame within a block",
      hello + frame(1, flags: 1, stream: 1, requestBlock()) + frame(0xEE, eight), .protocolError),
    Case(
      "another stream's CONTINUATION",
      hello + frame(1, flags: 1, stream: 1, requestBlock()) + frame(9, flags: 4, stream: 3),
      .protocolError),
    Case(
      "CONTINUATION behind nothing", hello + frame(9, flags: 4, stream: 1, requestBlock()),
      .protocolError),
    Case(
      "CONTINUATION behind a whole head", hello + getFrame(1) + frame(9, flags: 4, stream: 1),
      .protocolError),
    Case("PRIORITY on stream 0", hello + frame(2, [0, 0, 0, 0, 1]), .protocolError),
    Case(
      "PRIORITY of 4 bytes on an idle stream", hello + frame(2, stream: 1, [0, 0, 0, 0]),
      .frameSizeError),
    Case(
      "an idle stream that depends on itself", hello + frame(2, stream: 3, number(3) + [1]),
      .protocolError),
    Case("RST_STREAM on stream 0", hello + frame(3, number(8)), .protocolError),
    Case("RST_STREAM on an idle stream", hello + frame(3, stream: 1, number(8)), .protocolError),
    Case(
      "RST_STREAM of 3 bytes", hello + postFrame(1) + frame(3, stream: 1, [0, 0, 0]),
      .frameSizeError),
    Case("SETTINGS on a stream", hello + frame(4, stream: 1), .protocolError),
    Case(
      "extended CONNECT allowed and then not",
      hello + frame(4, [0, 8, 0, 0, 0, 1]) + frame(4, [0, 8, 0, 0, 0, 0]), .protocolError),
    Case("SETTINGS of 5 bytes", hello + frame(4, [0, 3, 0, 0, 0]), .frameSizeError),
    Case(
      "an acknowledgement with a payload", hello + frame(4, flags: 1, [0, 3, 0, 0, 0, 1]),
      .frameSizeError),
    Case("ENABLE_PUSH 2", hello + setting(2, 2), .protocolError),
    Case("INITIAL_WINDOW_SIZE 2^31", hello + setting(4, 0x8000_0000), .flowControlError),
    Case("MAX_FRAME_SIZE 16,383", hello + setting(5, 16_383), .protocolError),
    Case("MAX_FRAME_SIZE 2^24", hello + setting(5, 1 << 24), .protocolError),
    Case(
      "an initial window that makes one too large",
      hello + postFrame(1) + frame(8, stream: 1, number(0x7FFF_0000)) + setting(4, 0x7FFF_FFFF),
      .flowControlError),
    Case(
      "PUSH_PROMISE", hello + getFrame(1) + frame(5, flags: 4, stream: 1, number(2)), .protocolError
    ),
    Case("PING on a stream", hello + frame(6, stream: 1, eight), .protocolError),
    Case("PING of 7 bytes", hello + frame(6, Array(eight.dropLast())), .frameSizeError),
    Case("GOAWAY on a stream", hello + frame(7, stream: 1, eight), .protocolError),
    Case("GOAWAY of 7 bytes", hello + frame(7, Array(eight.dropLast())), .frameSizeError),
    Case("WINDOW_UPDATE by 0", hello + frame(8, number(0)), .protocolError),
    Case("WINDOW_UPDATE of 3 bytes", hello + frame(8, [0, 0, 1]), .frameSizeError),
    Case("WINDOW_UPDATE of an idle stream", hello + frame(8, stream: 1, number(1)), .protocolError),
    Case(
      "a connection's window above 2^31 - 1", hello + frame(8, number(0x7FFF_FFFF)),
      .flowControlError),
    Case("PRIORITY_UPDATE on a stream", hello + frame(16, stream: 1, number(1)), .protocolError),
    Case("PRIORITY_UPDATE of 3 bytes", hello + frame(16, [0, 0, 1]), .frameSizeError),
    Case("PRIORITY_UPDATE of stream 0", hello + frame(16, number(0)), .protocolError),
  ]

  @Test(
    "An error of the connection: GOAWAY with its code, and nothing is used any more",
    arguments: ofConnection)
  func connectionError(_ one: Case) {
    for piece in [1, 2, 7, 9, 100_000] {
      var server = ServerHarness()
      // What is still to come of a frame whose length is wrong.
      server.hear(one.bytes, piece: piece)
      #expect(server.seen.last?.event == "failed", "\(server.seen), \(piece)")
      #expect(server.goAwayCode == one.code.rawValue)
      let count = server.seen.count
      server.hear(getFrame(9))
      check(server.seen.dropFirst(count).allSatisfy { $0.event == "failed" })
    }
  }

  @Test("Behind an error of the connection no stream is reset: its GOAWAY says all")
  func noResetBehindGoAway() {
    var server = ServerHarness()
    server.hear(Self.hello + postFrame(1))
    server.hear(frame(6, stream: 1, Self.eight))
    server.session.reset(server.places[1]!, .internalError)
    server.hear([])
    #expect(server.goAwayCode == HTTP2ErrorCode.protocolError.rawValue)
    #expect(server.resetCode(1) == nil)
    #expect(server.session.openStreams == 0)
  }

  static let ofStream: [Case] = [
    Case("DATA after END_STREAM", getFrame(1) + frame(0, stream: 1, [1]), .streamClosed),
    Case("HEADERS after END_STREAM", getFrame(1) + getFrame(1), .streamClosed),
    Case(
      "trailers without END_STREAM",
      postFrame(1) + frame(1, flags: 4, stream: 1, MalformedInputTests.fields([("x", "y")])),
      .protocolError),
    Case(
      "content beyond Content-Length",
      postFrame(1, [("content-length", "2")]) + frame(0, stream: 1, [1, 2, 3]), .protocolError),
    Case(
      "content short of Content-Length",
      postFrame(1, [("content-length", "4")]) + frame(0, flags: 1, stream: 1, [1, 2, 3]),
      .protocolError),
    Case(
      "trailers short of Content-Length",
      postFrame(1, [("content-length", "4")])
        + frame(1, flags: 5, stream: 1, MalformedInputTests.fields([("x", "y")])), .protocolError),
    Case(
      "a stream that depends on itself",
      frame(1, flags: 0x25, stream: 1, number(1) + [1] + requestBlock()), .protocolError),
    Case("PRIORITY on itself", postFrame(1) + frame(2, stream: 1, number(1) + [1]), .protocolError),
    Case("PRIORITY of 4 bytes", postFrame(1) + frame(2, stream: 1, [0, 0, 0, 0]), .frameSizeError),
    Case(
      "a stream's WINDOW_UPDATE by 0", postFrame(1) + frame(8, stream: 1, number(0)), .protocolError
    ),
    Case(
      "a stream's window above 2^31 - 1", postFrame(1) + frame(8, stream: 1, number(0x7FFF_FFFF)),
      .flowControlError),
  ]

  @Test(
    "An error of a stream: RST_STREAM with its code, and the connection goes on",
    arguments: ofStream)
  func streamError(_ one: Case) {
    for piece in [1, 2, 7, 9, 100_000] {
      var server = ServerHarness()
      server.answer = { session, event in
        if case .head(let stream, false) = event, one.bytes.contains(UInt8(ascii: "-")) {
          session.expectContent(stream, one.bytes.contains(UInt8(ascii: "4")) ? 4 : 2)
        }
        return []
      }
      server.hear(Self.hello + one.bytes, piece: piece)
      #expect(server.resetCode(1) == one.code.rawValue, "\(server.seen)")
      #expect(server.session.openStreams == 0)
      server.hear(getFrame(3))
      #expect(server.seen.last?.event == "head.")
      #expect(server.seen.last?.id == 3)
    }
  }

  static let harmless: [Case] = [
    Case("an unknown frame", frame(0xEE, flags: 0xFF, stream: 7, eight), .noError),
    Case("undefined flags", frame(6, flags: 0x16, eight), .noError),
    Case("an unknown setting", setting(0x2B, 5), .noError),
    Case(
      "RST_STREAM of a stream that has ended",
      getFrame(1) + frame(3, stream: 1, number(8)) + frame(3, stream: 1, number(8)), .noError),
    Case(
      "WINDOW_UPDATE of a stream that has ended",
      getFrame(1) + frame(3, stream: 1, number(8)) + frame(8, stream: 1, number(8)), .noError),
    Case("PRIORITY of an idle stream", frame(2, stream: 5, number(3) + [1]), .noError),
    Case(
      "PRIORITY of a stream that has ended",
      getFrame(1) + frame(3, stream: 1, number(8)) + frame(2, stream: 1, number(3) + [1]), .noError),
    Case("PRIORITY_UPDATE of an idle stream", frame(16, number(5) + Array("u=1".utf8)), .noError),
    Case(
      "an error code that is not known", postFrame(1) + frame(3, stream: 1, number(0xFF)), .noError),
    Case("an acknowledgement of a PING that was not sent", frame(6, flags: 1, eight), .noError),
    Case("GOAWAY with data", frame(7, number(0) + number(0) + eight), .noError),
    Case(
      "DATA with all padding", postFrame(1) + frame(0, flags: 9, stream: 1, [3, 0, 0, 0]), .noError),
    Case(
      "a head in many frames, one of them empty",
      frame(1, flags: 1, stream: 1, Array(requestBlock().prefix(3))) + frame(9, stream: 1)
        + frame(9, flags: 4, stream: 1, Array(requestBlock().dropFirst(3))), .noError),
  ]

  @Test("What is no error, at any split", arguments: harmless)
  func noError(_ one: Case) {
    var first: [ServerHarness.Seen]?
    for piece in [1, 2, 7, 9, 100_000] {
      var server = ServerHarness()
      server.hear(Self.hello + one.bytes + getFrame(9), piece: piece)
      #expect(server.goAwayCode == nil, "\(server.seen)")
      #expect(server.seen.last?.id == 9)
      if let first { check(server.seen == first) } else { first = server.seen }
    }
  }

  @Test("What was sent before our reset was read is no error")
  func afterOurReset() {
    var server = ServerHarness()
    server.hear(Self.hello + postFrame(1))
    server.session.reset(server.places[1]!, .cancel)
    server.hear(frame(0, stream: 1, [1, 2, 3]) + frame(0, flags: 1, stream: 1, [4]) + getFrame(3))
    #expect(server.goAwayCode == nil)
    #expect(server.seen.last?.id == 3)
    #expect(server.session.openStreams == 1)
  }

  @Test("Behind a GOAWAY streams are passed over, their blocks decoded")
  func afterGoAway() {
    var server = ServerHarness()
    // A field that enters the dynamic table on a stream that is not answered, and is used on none.
    server.hear(Self.hello + postFrame(1))
    server.session.refuseStreams()
    let entered: [UInt8] = requestBlock() + [0x40, 1, 0x78, 1, 0x79]
    server.hear(frame(1, flags: 4, stream: 3, entered) + frame(0, flags: 1, stream: 3, [1]))
    #expect(server.session.openStreams == 1)
    #expect(Frame.all(in: server.output).last { $0.type == 7 }?.payload == number(1) + number(0))
    // Trailers of the stream that goes on refer to the entry.
    server.hear(frame(1, flags: 5, stream: 1, [0xBE]))
    #expect(server.seen.suffix(2).map(\.event) == ["trailers", "end"])
    #expect(server.goAwayCode == 0)
  }
}
