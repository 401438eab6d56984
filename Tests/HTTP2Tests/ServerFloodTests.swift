// Peers that make a server work for nothing: what they can make it keep, and when it ends.

import HTTP
import Testing

@testable import HTTP2

@Suite("Floods against a server")
struct ServerFloodTests {
  struct Flood: Sendable, CustomTestStringConvertible {
    var name: String
    /// One more piece of it. - Parameter turn: from 0.
    var piece: @Sendable (_ turn: Int) -> [UInt8]
    var testDescription: String { name }
  }

  static let floods = [
    Flood(name: "PING") { _ in frame(6, [0, 0, 0, 0, 0, 0, 0, 0]) },
    Flood(name: "SETTINGS") { _ in frame(4) },
    Flood(name: "SETTINGS that move the windows") { frame(4, [0, 4] + number(UInt32($0 & 1))) },
    Flood(name: "PRIORITY") { _ in frame(2, stream: 1, number(3) + [1]) },
    Flood(name: "PRIORITY_UPDATE") { _ in frame(16, number(1) + Array("u=1".utf8)) },
    Flood(name: "WINDOW_UPDATE by one byte") { _ in frame(8, number(1)) },
    Flood(name: "empty DATA") { _ in frame(0, stream: 1) },
    Flood(name: "unknown frames") { _ in frame(0xAA, [1, 2, 3]) },
    Flood(name: "GOAWAY") { _ in frame(7, [0, 0, 0, 0, 0, 0, 0, 0]) },
    Flood(name: "rapid reset") {
      getFrame(UInt32($0) * 2 + 3) + frame(3, stream: UInt32($0) * 2 + 3, number(8))
    },
    Flood(name: "streams that are made to be reset") {
      getFrame(UInt32($0) * 2 + 3) + frame(8, stream: UInt32($0) * 2 + 3, number(0))
    },
    Flood(name: "streams beyond the limit") { getFrame(UInt32($0) * 2 + 3) },
  ]

  @Test("A flood ends the connection with ENHANCE_YOUR_CALM", arguments: floods)
  func flood(_ flood: Flood) {
    var server = ServerHarness()
    server.hear(ServerHarness.hello + postFrame(1))
    var turns = 0
    while server.session.failure == nil && turns < 10_000 {
      server.hear(flood.piece(turns))
      turns += 1
    }
    #expect(server.goAwayCode == HTTP2ErrorCode.enhanceYourCalm.rawValue, "\(turns)")
    #expect(turns > 100, "no client in order could live with that")
    #expect(server.session.openStreams <= 128)
  }

  @Test("The same slowly is no flood")
  func slowly() {
    for flood in Self.floods where flood.name != "streams beyond the limit" {
      var server = ServerHarness()
      server.hear(ServerHarness.hello + postFrame(1))
      for turn in 0..<3_000 {
        server.now += 200_000_000
        server.hear(flood.piece(turn))
      }
      #expect(server.session.failure == nil, "\(flood.name)")
    }
  }

  @Test("Work that is done earns what its frames cost: a client that downloads for ever goes on")
  func earned() {
    var server = ServerHarness()
    server.hear(ServerHarness.hello + postFrame(1))
    let stream = server.places[1]!
    for _ in 0..<20_000 {
      server.session.takeWindow(stream, 1000)
      server.hear(frame(8, number(1000)) + frame(8, stream: 1, number(1000)))
    }
    #expect(server.session.failure == nil)
  }

  @Test(
    "A window that has come to pieces is no flood while content goes through it; tiny pieces alone are",
    arguments: [(5_000, true), (0, false)])
  func windowInPieces(large: Int, lives: Bool) {
    var server = ServerHarness()
    server.hear(ServerHarness.hello + postFrame(1))
    let stream = server.places[1]!
    server.session.takeWindow(stream, server.session.window(stream))
    // A client that gives back what it has read, frame by frame: what was a small piece once stays one.
    for _ in 0..<5_000 {
      for piece in [large, 30, 30, 30] where piece > 0 && server.session.failure == nil {
        let increment = number(UInt32(piece))
        server.hear(frame(8, increment) + frame(8, stream: 1, increment))
        if server.session.failure == nil { server.session.takeWindow(stream, piece) }
      }
    }
    #expect((server.session.failure == nil) == lives)
  }

  @Test("A client that does not read what it is owed is not read either")
  func unreadAcknowledgements() {
    var server = ServerHarness()
    server.hear(ServerHarness.hello)
    server.writes = false
    for _ in 0..<500 { server.hear(frame(6, [1, 2, 3, 4, 5, 6, 7, 8])) }
    #expect(server.seen.last?.event == "blocked")
    let before = server.output.count
    server.writes = true
    server.say()
    let said = Frame.all(in: Array(server.output.dropFirst(before)))
    #expect(said.count > 50 && said.count < 70)
    #expect(said.allSatisfy { $0.type == 6 && $0.flags == 1 })
    // What was kept back is answered then.
    server.use()
    #expect(Frame.all(in: server.output).filter { $0.type == 6 }.count == 500)
  }

  @Test("Every open stream can be reset at once while the client reads nothing")
  func resetsBehindAFullQueue() {
    var server = ServerHarness()
    server.hear(ServerHarness.hello)
    for i in 0..<128 { server.hear(postFrame(UInt32(i) * 2 + 1)) }
    server.writes = false
    for _ in 0..<100 { server.hear(frame(6, [1, 2, 3, 4, 5, 6, 7, 8])) }
    for i in 0..<128 { server.session.reset(server.places[UInt32(i) * 2 + 1]!, .cancel) }
    server.writes = true
    server.say()
    #expect(server.said.filter { $0.type == 3 }.count == 128)
  }

  @Test("A head in 32 frames is read, one in 33 or of too many bytes ends the connection")
  func continuations() {
    for (frames, code) in [(31, nil), (32, nil), (33, HTTP2ErrorCode.enhanceYourCalm.rawValue)] {
      var server = ServerHarness()
      var bytes = frame(1, flags: 1, stream: 1, requestBlock())
      for i in 2...frames { bytes += frame(9, flags: i == frames ? 4 : 0, stream: 1) }
      server.hear(ServerHarness.hello + bytes, piece: 100)
      #expect(server.goAwayCode == code, "\(frames)")
      #expect(server.seen.first?.event == (code == nil ? "head." : "failed"))
    }
    // 16,384 of the setting, and two frames.
    let bound = 49_152
    for (extra, code) in [(-1, nil), (0, nil), (1, HTTP2ErrorCode.enhanceYourCalm.rawValue)] {
      var server = ServerHarness()
      let value = [UInt8](repeating: 0x61, count: bound + extra - 4 * 9 - requestBlock().count - 7)
      // A literal of one name byte; its length in seven bits and more (RFC 7541 5.1).
      var length: [UInt8] = [0x7F]
      var rest = value.count - 127
      while rest >= 128 {
        length.append(UInt8(rest & 0x7F) | 0x80)
        rest >>= 7
      }
      length.append(UInt8(rest))
      let block = requestBlock() + [0x00, 1, 0x78] + length + value
      var bytes = frame(1, flags: 1, stream: 1, Array(block.prefix(16_384)))
      var left = block.dropFirst(16_384)
      while !left.isEmpty {
        let piece = Array(left.prefix(14_000))
        left = left.dropFirst(14_000)
        bytes += frame(9, flags: left.isEmpty ? 4 : 0, stream: 1, piece)
      }
      let total = bytes.count
      #expect(total == bound + extra)
      server.hear(ServerHarness.hello + bytes)
      #expect(server.goAwayCode == code, "\(extra)")
      #expect(server.seen.first?.event == (code == nil ? "too large" : "failed"))
    }
  }

  @Test("Random and damaged input never traps, and means the same at any split")
  func damaged() {
    var random = SystemRandomNumberGenerator()
    let good =
      ServerHarness.hello + postFrame(1, [("content-length", "3")])
      + frame(0, flags: 8, stream: 1, [2, 1, 2, 0, 0])
      + frame(1, flags: 0x25, stream: 3, number(0) + [9] + requestBlock())
      + frame(8, number(70_000)) + frame(4, [0, 4] + number(100))
      + frame(6, [1, 2, 3, 4, 5, 6, 7, 8])
      + frame(1, flags: 1, stream: 5, Array(requestBlock().prefix(7)))
      + frame(9, flags: 4, stream: 5, Array(requestBlock().dropFirst(7)))
      + frame(0, flags: 1, stream: 1, [3]) + frame(3, stream: 3, number(8))
      + frame(16, number(5) + [0x75])
      + frame(1, flags: 5, stream: 5, MalformedInputTests.fields([("x", "y")])) + getFrame(7)
    for _ in 0..<3_000 {
      var bytes = good
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1: bytes[place] = .random(in: 0...255, using: &random)
        case 2: bytes.remove(at: place)
        default: bytes.insert(.random(in: 0...255, using: &random), at: place)
        }
      }
      var whole = ServerHarness()
      whole.hear(bytes)
      var pieces = ServerHarness()
      pieces.hear(bytes, piece: Int.random(in: 1...40, using: &random))
      // Windows open with the acknowledgement of a setting, which is written behind each piece.
      let (all, split) = (
        whole.seen.filter { $0.event != "window" }, pieces.seen.filter { $0.event != "window" }
      )
      check(all == split, "\(whole.seen) \(pieces.seen)")
      check(
        whole.said.filter { $0.type != 8 } == pieces.said.filter { $0.type != 8 },
        "\(whole.said) \(pieces.said)")
      check(whole.content == pieces.content)
    }
  }
}
