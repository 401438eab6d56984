// The end of a server's stream that stands behind a TLS session which waits: the server has asked for new
// keys, and the answer cannot leave, since it reads nothing of the request that is being sent.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

@Suite("Ends behind a TLS session that waits")
struct StalledEndTests {
  /// What the server does long after its last word.
  enum Release: CaseIterable, Sendable {
    /// It reads the request after all.
    case reads
    /// It closes with the request unread, which resets the connection.
    case closes
  }

  /// Nanoseconds between the KeyUpdate, what follows it, and the end: within one turn, around the moment
  /// at which the receive stops, and after it.
  private static let gaps: [Int64] = [0, 300, 1_000, 2_000, 5_000, 20_000, 1_000_000]

  private static let tail = "the last of it"
  /// With it a chunked response is whole.
  private static let end = tail + "\r\n0\r\n\r\n"

  private static func contentBytes(_ client: FlowClient) -> Int {
    var text = client.text
    return text.withUTF8 { bytes in bytes.reduce(0) { $1 == UInt8(ascii: "y") ? $0 + 1 : $0 } }
  }

  /// A server that answers before it has read the request, whose content is more than a connection takes.
  /// - Parameters:
  ///   - content: bytes before the tail.
  ///   - updates: KeyUpdates between the two.
  private static func world(
    content: Int = 10, updates: Int = 2, gap: Int64, saysGoodbye: Bool
  ) throws -> TLSWorld {
    let world = try TLSWorld(FlowWorld.likeARing)
    let flow = world.flow
    world.answer = { [unowned flow] server in
      guard server.reads else { return }
      server.stopReading()
      server.send("HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "y", count: content))
      // Long enough for all of it to have been relayed, as far as the client takes it.
      flow.after(200 * millisecond) { [unowned flow] in
        for _ in 0..<updates { server.updateKeys() }
        // The first one is answered when the second one is read.
        server.send("z")
        flow.after(gap) { [unowned flow] in
          server.send(Self.tail)
          flow.after(gap) { server.end(saysGoodbye: saysGoodbye) }
        }
      }
    }
    return world
  }

  private static let request =
    "POST /s/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2097152\r\n\r\n"
    + String(repeating: "x", count: 2_097_152)

  /// Runs the world; the client reads from `reading` on, the server lets go at `release`.
  private static func run(
    _ world: TLSWorld, reading: Int64? = nil, _ how: Release?, at release: Int64 = 2 * second
  ) -> (FlowClient, WorkerAccount?) {
    let flow = world.flow
    flow.configuration.upstreams[0].timeouts.responseNanoseconds = 10 * second
    var made: FlowClient?
    if reading != nil {
      flow.world.conditions.receiveRoom = 16_384...16_384
      flow.world.conditions.sendRoom = 16_384...16_384
    }
    let account = flow.run {
      let client = flow.connect()
      made = client
      client.reads = reading == nil
      flow.after(millisecond) {
        flow.world.conditions.receiveRoom = 131_072...131_072
        flow.world.conditions.sendRoom = 131_072...131_072
        client.send(Self.request)
      }
      if let reading {
        flow.after(reading) {
          client.reads = true
          client.take()
        }
      }
      flow.after(release) {
        switch how {
        case .reads: world.servers[0].resumeReading()
        case .closes: world.servers[0].peer.close()
        case nil: break
        }
      }
      flow.after(60 * second) { flow.remote.drain() }
    }
    return (made!, account)
  }

  /// - Parameter isWhole: the client can tell that it has all; else that it has not.
  private static func check(
    _ client: FlowClient, _ account: WorkerAccount?, content: Int = 10, isWhole: Bool,
    _ text: String
  ) {
    #expect(client.text.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(text)")
    #expect(client.text.hasSuffix(end) == isWhole, "\(text)")
    if isWhole { #expect(contentBytes(client) == content, "\(text)") }
    #expect(client.isOver, "\(text)")
    #expect(account?.counters.upstreamFailures == (isWhole ? 0 : 1), "\(text)")
    #expect((account?.counters.tlsStalls ?? 0) >= 1, "\(text): no session waited")
    #expect(account?.exchanges == 0 && account?.upstreamConnections == 0, "\(text)")
    #expect(account?.engine.framesInUse == 0 && account?.engine.coldBytes == 0, "\(text)")
  }

  @Test("one with close_notify is whole, one without is cut", arguments: Release.allCases)
  func settles(_ release: Release) throws {
    for gap in Self.gaps {
      for saysGoodbye in [true, false] {
        let world = try Self.world(gap: gap, saysGoodbye: saysGoodbye)
        let (client, account) = Self.run(world, release)
        Self.check(client, account, isWhole: saysGoodbye, "gap \(gap) goodbye \(saysGoodbye)")
        #expect(account?.counters.timeouts == 0)
      }
    }
  }

  @Test("so it is for a client that is slow", arguments: Release.allCases)
  func settlesSlowly(_ release: Release) throws {
    // Around what the client's connection and the exchange take: the response pauses before the
    // session waits, in the same turn, and not at all.
    for content in stride(from: 253_952, through: 327_680, by: 16_384) {
      for (gap, reading) in [(0, second), (1_000, second), (0, 4 * second)] as [(Int64, Int64)] {
        for saysGoodbye in [true, false] {
          let world = try Self.world(content: content, gap: gap, saysGoodbye: saysGoodbye)
          let (client, account) = Self.run(world, reading: reading, release)
          let text = "content \(content) gap \(gap) reading \(reading) goodbye \(saysGoodbye)"
          #expect(client.text.hasSuffix(Self.end) == saysGoodbye && client.isOver, "\(text)")
          if saysGoodbye { #expect(Self.contentBytes(client) == content, "\(text)") }
          #expect(account?.counters.upstreamFailures == (saysGoodbye ? 0 : 1), "\(text)")
          #expect(account?.counters.timeouts == 0, "\(text)")
          #expect(account?.exchanges == 0 && account?.engine.coldBytes == 0, "\(text)")
        }
      }
    }
  }

  @Test(
    "one that has been heard does not wait for a send that never goes on", arguments: [true, false])
  func neverReleased(_ saysGoodbye: Bool) throws {
    let world = try Self.world(gap: 0, saysGoodbye: saysGoodbye)
    let (client, account) = Self.run(world, nil)
    Self.check(client, account, isWhole: saysGoodbye, "goodbye \(saysGoodbye)")
    #expect(account?.counters.timeouts == (saysGoodbye ? 0 : 1))
  }

  /// One less than `MessageLimits.messages`: the session's ticket counts.
  @Test("KeyUpdates: 31 before it are borne, not one more", arguments: [30, 31, 32])
  func updates(_ count: Int) throws {
    for release in Release.allCases {
      let world = try Self.world(updates: count, gap: 0, saysGoodbye: true)
      let (client, account) = Self.run(world, release)
      let isWhole = count <= 31
      #expect(client.text.hasSuffix(Self.end) == isWhole, "\(release)")
      #expect(account?.counters.upstreamFailures == (isWhole ? 0 : 1), "\(release)")
      #expect(account?.exchanges == 0 && account?.engine.framesInUse == 0, "\(release)")
    }
  }
}
