import Foundation
import MillraceEngine
import TLS
import Testing
import Transport

@Suite("TLS on a transport", .serialized)
struct TLSChannelTests {
  /// A certificate for `upstream.example` and 127.0.0.1, in a folder of its own.
  private final class Files {
    let folder: String
    let server: TLSContext

    init(alpn: [String] = ["http/1.1"], sealing: RecordSealing = .whenLong) throws {
      folder = NSTemporaryDirectory() + "millrace-transport-\(UUID().uuidString)"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      let made = try SelfSigned(names: ["DNS:upstream.example", "IP:127.0.0.1"])
      try made.certificate.write(
        toFile: folder + "/server.pem", atomically: true, encoding: .utf8)
      try made.key.write(toFile: folder + "/server.key", atomically: true, encoding: .utf8)
      let other = try SelfSigned(names: ["DNS:upstream.example"])
      try other.certificate.write(
        toFile: folder + "/other.pem", atomically: true, encoding: .utf8)
      let tickets = TicketKeys(
        randomBytes: { room in for i in room.indices { room[i] = UInt8(truncatingIfNeeded: i) } },
        now: 0, rotationSeconds: 100)
      server = try TLSContext(
        certificates: [
          CertificateSource(
            certificatePath: folder + "/server.pem", keyPath: folder + "/server.key")
        ], minimumVersion: .tls12, alpn: alpn, tickets: tickets, sealing: sealing)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func client(
      _ trust: TLSClientContext.Trust? = nil, alpn: [String] = ["http/1.1"]
    ) throws -> TLSClientContext {
      try TLSClientContext(trust: trust ?? .file(folder + "/server.pem"), alpn: alpn)
    }
  }

  /// Begins a handshake: side 0 is the client.
  private func begin(
    _ pair: any PairOfTransports, _ server: TLSContext, _ client: TLSClientContext, host: String
  ) throws {
    let accepted = TLSSession(context: server)
    let connected = TLSSession(client: client, host: host)
    let isOpen = try pair.openTLS(1, accepted.unwrapped())
    let isBegun = try pair.openTLS(0, connected.unwrapped())
    #expect(isOpen && isBegun)
    pair.arm(0)
    pair.arm(1)
  }

  private func isEstablished(_ pair: any PairOfTransports) -> Bool {
    pair.transport(0).pointee.isEstablished && pair.transport(1).pointee.isEstablished
  }

  private func pattern(_ count: Int, seed: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ $0 >> 8 &+ seed) &* 17) }
  }

  @Test(
    "a client verifies its server, names it and agrees on a protocol; content passes both ways",
    arguments: TestedEngine.allCases, [1, 3000, 200_000])
  func bothWays(_ engine: TestedEngine, _ size: Int) throws {
    let files = try Files(alpn: ["h2", "http/1.1"])
    let client = try files.client(alpn: ["h2", "http/1.1"])
    try engine.withPair { pair in
      try begin(pair, files.server, client, host: "upstream.example")
      pair.turn(until: { isEstablished(pair) })
      let channels = (0..<2).compactMap { pair.transport($0).pointee.tls }
      try #require(channels.count == 2)
      let name = channels[1].pointee.session.withServerName { Array($0) }
      #expect(name == Array("upstream.example".utf8))
      for channel in channels {
        let chosen = channel.pointee.session.withALPN { Array($0) }
        #expect(chosen == Array("h2".utf8))
      }
      let (there, back) = (pattern(size, seed: 1), pattern(size, seed: 2))
      pair.turn(until: { pair.transport(0).pointee.isIdle && pair.transport(1).pointee.isIdle })
      #expect(pair.encrypt(0, there) == .done && pair.encrypt(1, back) == .done)
      #expect(pair.flush(0) && pair.flush(1))
      pair.turn(until: {
        pair.arm(0)
        pair.arm(1)
        return pair.received(0).count == size && pair.received(1).count == size
          && pair.transport(0).pointee.isIdle && pair.transport(1).pointee.isIdle
      })
      #expect(pair.received(1) == there && pair.received(0) == back)
      pair.sendCloseNotify(0)
      pair.flush(0)
      pair.turn(until: { pair.session(1).outcome == .peerFinished })
      check(pair.transport(1).pointee.readClosed && !pair.transport(1).pointee.receive.hasEnded)
    }
  }

  /// Frames of HTTP/2, segments that end at and beside a record's end, small ones, and a large one.
  private static let segments: [[Int]] = [
    (0..<8).flatMap { _ in [9, 16_384] }, [16_383, 1, 16_384, 16_385, 3], [1, 1, 1, 5000, 1],
    [100_000], Array(repeating: 3000, count: 17), [9, 70_000, 9, 70_000],
  ]

  @Test(
    "a session that seals its records itself takes them from a frame's segments",
    arguments: TestedEngine.allCases, segments)
  func scattered(_ engine: TestedEngine, _ sizes: [Int]) throws {
    let files = try Files(sealing: .always)
    let client = try files.client()
    try engine.withPair { pair in
      try begin(pair, files.server, client, host: "upstream.example")
      pair.turn(until: { isEstablished(pair) })
      var expected: [UInt8] = []
      // What comes first is OpenSSL's, and between rounds the client wants other keys.
      for round in 0..<4 {
        pair.turn(until: { pair.transport(0).pointee.isIdle && pair.transport(1).pointee.isIdle })
        let channel = try pair.channel(1)
        #expect(channel.pointee.session.sealsItself == (round > 0 && RecordSealing.isPossible))
        let sizes = round == 0 ? [20_000] : sizes
        let segments = sizes.enumerated().map { pattern($1, seed: $0 + round) }
        #expect(pair.encrypt(1, segments: segments) == .done)
        expected += segments.joined()
        pair.flush(1)
        pair.turn(until: {
          pair.arm(0)
          pair.arm(1)
          return pair.received(0).count >= expected.count && pair.transport(1).pointee.isIdle
        })
        #expect(pair.received(0) == expected)
        pair.updateKeys(0)
        pair.flush(0)
        pair.turn(until: {
          pair.arm(1)
          return pair.transport(0).pointee.isIdle
        })
      }
      pair.sendCloseNotify(1)
      pair.flush(1)
      pair.turn(until: { pair.session(0).outcome == .peerFinished })
    }
  }

  @Test(
    "a side ends by close_notify, then by its stream's end, and the other one goes on",
    arguments: TestedEngine.allCases)
  func ownEnd(_ engine: TestedEngine) throws {
    let files = try Files()
    let client = try files.client()
    try engine.withPair { pair in
      try begin(pair, files.server, client, host: "upstream.example")
      pair.turn(until: { isEstablished(pair) })
      pair.turn(until: { pair.transport(0).pointee.isIdle && pair.transport(1).pointee.isIdle })
      #expect(pair.endOwnSide(0) && !pair.endOwnSide(0), "close_notify waits to be sent")
      let sends = pair.sends(0).count
      check(pair.flush(0))
      pair.turn(until: { pair.sends(0).count > sends })
      #expect(!pair.endOwnSide(0))
      pair.turn(until: {
        pair.arm(1)
        return pair.session(1).outcome == .peerFinished
      })
      #expect(pair.encrypt(1, [7, 8, 9]) == .done && pair.flush(1))
      pair.turn(until: {
        pair.arm(0)
        return pair.received(0) == [7, 8, 9] && pair.transport(1).pointee.isIdle
      })
    }
  }

  @Test(
    "a client refuses a server of another name, or one that nobody vouches for, and tells it",
    arguments: TestedEngine.allCases, [true, false])
  func refused(_ engine: TestedEngine, _ byName: Bool) throws {
    let files = try Files()
    let client = try files.client(byName ? nil : .file(files.folder + "/other.pem"))
    try engine.withPair { pair in
      try begin(
        pair, files.server, client, host: byName ? "another.example" : "upstream.example")
      pair.turn(until: { pair.session(0).outcome == .failed })
      let channel = try pair.channel(0)
      let failure = channel.pointee.session.failure
      #expect(failure?.kind == (byName ? .hostNameMismatch : .unknownCA))
      check(!pair.transport(0).pointee.isEstablished)
      pair.flush(0)
      pair.turn(until: { pair.session(1).outcome == .failed })
      let told = try pair.channel(1).pointee.session.failure
      guard case .alertReceived = told?.kind else {
        Issue.record("the server was not told: \(String(describing: told))")
        return
      }
    }
  }

  @Test(
    "a session that has no room to speak stalls until what waits has left, and loses nothing",
    arguments: TestedEngine.allCases)
  func stalls(_ engine: TestedEngine) throws {
    let files = try Files()
    let client = try files.client()
    try engine.withPair { pair in
      try begin(pair, files.server, client, host: "upstream.example")
      pair.turn(until: {
        isEstablished(pair) && pair.transport(0).pointee.isIdle && pair.transport(1).pointee.isIdle
      })
      // The server sends more than the kernel takes, to a client that does not read, until it has no
      // room for another word.
      pair.stopReceiving(0)
      pair.turn(until: { !pair.transport(0).pointee.receiving })
      pair.transport(0).pointee.paused = true
      var content = [UInt8](repeating: 9, count: 8_000_000)
      #expect(pair.encrypt(1, content) == .done && pair.flush(1))
      var seed = 0
      while !pair.transport(1).pointee.unsent.isFull() {
        seed += 1
        let more = pattern(5000, seed: seed)
        #expect(pair.encrypt(1, more) == .done)
        content += more
      }
      check(pair.transport(1).pointee.sending && seed > 1)
      for round in 1...3 {
        #expect(pair.encrypt(0, [UInt8(round)]) == .done)
        pair.flush(0)
        pair.turn(until: { pair.transport(0).pointee.isIdle })
      }
      pair.turn(until: { pair.session(1).stalls > 0 })
      check(pair.transport(1).pointee.isStalled)
      #expect(pair.received(1).isEmpty)
      pair.transport(0).pointee.paused = false
      pair.turn(until: {
        pair.arm(0)
        pair.arm(1)
        return pair.received(0).count == content.count && pair.received(1).count == 3
          && pair.transport(1).pointee.isIdle
      })
      #expect(pair.received(1) == [1, 2, 3] && pair.received(0) == content)
      check(!pair.transport(1).pointee.isStalled)
    }
  }

  @Test("a transport whose session was closed sends what is plain")
  func closed() throws {
    let files = try Files()
    var channels = TLSChannels(capacity: 1)
    var first = Transport(socket: .none)
    var second = Transport(socket: .none)
    let session = TLSSession(context: files.server)
    let other = TLSSession(context: files.server)
    let isOpen = try channels.open(session.unwrapped(), on: &first)
    let isBeyond = try channels.open(other.unwrapped(), on: &second)
    check(isOpen && !isBeyond && first.tls != nil && second.tls == nil && channels.inUse == 1)
    check(!first.isEstablished && second.isEstablished)
    channels.close(&first)
    channels.close(&second)
    check(first.tls == nil && channels.inUse == 0 && first.isEstablished)
  }
}
