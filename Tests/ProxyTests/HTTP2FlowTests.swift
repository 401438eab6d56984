// HTTP/2 from clients in virtual time: streams beside each other, windows, the audit log's gate, the drain.
// The client is nghttp2's, on a simulated peer.

import Configuration
import HTTP2
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

/// A client of HTTP/2 that gathers what it receives.
final class HTTP2FlowClient {
  /// What came on one stream.
  struct Response {
    var status: UInt16 = 0
    var content: [UInt8] = []
    var isWhole = false
    var reset: HTTP2ErrorCode?
  }

  let peer: SimulatedPeer
  private let memory = HTTP2Memory()
  private var session: HTTP2Session
  private var outgoing: [UInt8] = []
  private(set) var responses: [Int32: Response] = [:]
  private(set) var goAways: [Int32] = []
  /// Streams in the order in which their responses came to their ends.
  private(set) var finished: [Int32] = []
  /// Pieces in which something of a response came, as the proxy sent them.
  private(set) var deliveries = 0
  private(set) var isOver = false
  /// Called when a response has come to its end.
  var onEnd: () -> Void = {}
  private var consumes: Bool
  /// Something of a response is in what is being read.
  private var hasHeard = false
  private var held: [Int32: Int] = [:]

  init(_ flow: FlowWorld, window: Int = 65_535, consumes: Bool = true) {
    var configuration = HTTP2Configuration(.client)
    configuration.streamWindow = window
    configuration.connectionWindow = 1 << 24
    configuration.consumesByHand = true
    session = HTTP2Session(configuration, memory: memory)!
    self.consumes = consumes
    peer = flow.connectPeer()
    peer.onEvent = { [unowned self] _, event in
      switch event {
      case .connected, .writable: flush()
      case .readable: take()
      case .ended, .reset, .refused: isOver = true
      }
    }
  }

  @discardableResult
  func get(_ path: String, priority: String? = nil) -> Int32 {
    request(path, "GET", HTTP2Content.none, priority: priority)
  }

  @discardableResult
  func request(
    _ path: String, _ method: String, _ content: HTTP2Content, priority: String? = nil
  ) -> Int32 {
    var fields = HTTP2FieldList(lasting: false)
    fields.append(":method", method)
    fields.append(":scheme", "http")
    fields.append(":authority", "a")
    fields.append(":path", path)
    if let priority { fields.append("priority", priority) }
    let stream = session.request(fields, content: content) ?? -1
    responses[stream] = Response()
    flush()
    return stream
  }

  func cancel(_ stream: Int32) {
    session.reset(stream, .cancel)
    flush()
  }

  /// Gives more content to a request.
  func supply(_ stream: Int32, _ content: HTTP2Content) {
    session.supply(stream, content)
    flush()
  }

  /// Opens the windows by what was held back.
  func consume() {
    consumes = true
    for (stream, count) in held { session.consume(stream, count) }
    held = [:]
    flush()
  }

  private func take() {
    let bytes = peer.receive(atMost: 1 << 20)
    var offset = 0
    hasHeard = false
    defer { if hasHeard { deliveries += 1 } }
    bytes.withUnsafeBytes { bytes in
      while true {
        let transfer = session.receive(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
        offset += transfer.consumed
        while let event = session.nextEvent() { note(event) }
        guard transfer.progress == .eventsWaiting else { return }
      }
    }
    flush()
  }

  private func note(_ event: HTTP2Event) {
    switch event.kind {
    case .head:
      hasHeard = true
      responses[event.stream, default: Response()].status = event.status
    case .content:
      hasHeard = true
      responses[event.stream, default: Response()].content += event.bytes
      if consumes {
        session.consume(event.stream, event.count)
      } else {
        held[event.stream, default: 0] += event.count
      }
    case .end:
      finished.append(event.stream)
      responses[event.stream, default: Response()].isWhole = true
      onEnd()
    case .closed:
      if event.code != .noError { responses[event.stream, default: Response()].reset = event.code }
    case .goAway: goAways.append(event.lastStream)
    case .headTooLarge, .trailers, .drained, .settings: break
    }
  }

  private func flush() {
    withUnsafeTemporaryAllocation(byteCount: 32_768, alignment: 16) { room in
      while true {
        if !outgoing.isEmpty { outgoing.removeFirst(peer.send(outgoing)) }
        guard outgoing.isEmpty else { return }
        let count = session.output(into: room)
        while let event = session.nextEvent() { note(event) }
        guard count > 0 else { return }
        outgoing += room[..<count]
      }
    }
  }
}

private typealias HTTP2Client = HTTP2FlowClient

@Suite("HTTP/2 from clients")
struct HTTP2FlowTests {
  private static func flow(_ conditions: SimulatedConditions = .calm) throws -> FlowWorld {
    let flow = try FlowWorld(conditions)
    flow.configuration.listeners[0].httpVersions = [.http2, .http11]
    return flow
  }

  @Test("streams are served beside each other, in any order, and nothing is left of them")
  func streams() throws {
    let flow = try Self.flow()
    var client: HTTP2Client?
    var waiting: [SimulatedPeer] = []
    flow.serve = { flow, peer, text in
      waiting.append(peer)
      // The last one is answered first.
      guard waiting.count == 10 else { return }
      for peer in waiting.reversed() { flow.answer(peer, "ok") }
    }
    let account = flow.run {
      client = HTTP2Client(flow)
      for i in 0..<10 { client?.get("/s/\(i)") }
      flow.until(millisecond, { $0.counters.responses == 10 }) { _ in flow.remote.drain() }
    }
    #expect(client?.responses.count == 10)
    #expect(client?.responses.values.allSatisfy { $0.status == 200 && $0.isWhole } == true)
    #expect(
      account?.connections == 0 && account?.exchanges == 0 && account?.engine.framesInUse == 0)
  }

  @Test("what is answered in one turn leaves at its end, in one piece")
  func oneSend() throws {
    // What is sent at one moment comes at one moment.
    let flow = try Self.flow(FlowWorld.likeARing)
    var client: HTTP2Client?
    var waiting: [SimulatedPeer] = []
    var answeredAt: Int64 = 0
    var seenAt: Int64 = 0
    flow.serve = { flow, peer, _ in
      waiting.append(peer)
      guard waiting.count == 10 else { return }
      answeredAt = flow.world.now
      for peer in waiting { flow.answer(peer, "ok") }
    }
    let account = flow.run {
      client = HTTP2Client(flow)
      for i in 0..<10 { client?.get("/s/\(i)") }
      flow.until(millisecond, { $0.counters.responses == 10 }) { _ in
        seenAt = flow.world.now
        flow.remote.drain()
      }
    }
    #expect(client?.finished.count == 10)
    #expect(client?.deliveries == 1)
    #expect(seenAt - answeredAt <= 2 * millisecond)
    #expect(account?.counters.responses == 10)
  }

  @Test("of two large responses the urgent one is whole first, whichever was asked for first")
  func urgency() throws {
    for urgentFirst in [false, true] {
      let flow = try Self.flow()
      let body = String(repeating: "0123456789", count: 60_000)
      var client: HTTP2Client?
      var waiting: [SimulatedPeer] = []
      flow.serve = { flow, peer, _ in
        waiting.append(peer)
        guard waiting.count == 2 else { return }
        for peer in waiting { flow.answer(peer, body) }
      }
      _ = flow.run {
        client = HTTP2Client(flow, window: 1 << 20)
        client?.get("/s/1", priority: urgentFirst ? "u=1" : "u=6")
        client?.get("/s/2", priority: urgentFirst ? "u=6" : "u=1")
        flow.until(millisecond, { $0.counters.responses == 2 }) { _ in flow.remote.drain() }
      }
      #expect(client?.finished == (urgentFirst ? [1, 3] : [3, 1]))
      #expect(client?.responses.values.allSatisfy { $0.content.count == 600_000 } == true)
    }
  }

  @Test(
    "a request that waits for room in the log stops no other stream and is served when there is some"
  )
  func waitsForRoom() throws {
    let flow = try Self.flow(FlowWorld.likeARing)
    var audit = AuditConfiguration(directory: "/audit")
    audit.whenFull = .block
    audit.segmentSize = 1 << 20
    flow.configuration.audit = audit
    flow.world.disk.makeDirectory("/audit")
    flow.world.conditions.diskCapacity = 4096
    var client: HTTP2Client?
    var first: Int32 = 0
    var second2: Int32 = 0
    let account = flow.run {
      client = HTTP2Client(flow)
      first = client!.get("/s/1")
      second2 = client!.get("/s/2")
      flow.until(millisecond, { $0.counters.auditWaits == 2 }) { _ in
        client?.cancel(first)
        flow.until(millisecond, { $0.exchanges == 1 }) { _ in
          flow.world.conditions.diskCapacity = 1 << 40
          flow.until(millisecond, { $0.counters.responses == 1 }) { _ in flow.remote.drain() }
        }
      }
    }
    #expect(client?.responses[second2]?.isWhole == true)
    #expect(client?.responses[first]?.isWhole == false)
    #expect(flow.arrivals.count == 1, "the request that was cancelled was never begun")
    #expect(account?.exchangesRecorded == 1)
  }

  @Test("a request that has waited for as long as it may is refused as not begun")
  func waitsTooLong() throws {
    let flow = try Self.flow(FlowWorld.likeARing)
    var audit = AuditConfiguration(directory: "/audit")
    audit.whenFull = .block
    flow.configuration.audit = audit
    flow.configuration.listeners[0].timeouts.idleNanoseconds = 2 * second
    flow.world.disk.makeDirectory("/audit")
    flow.world.conditions.diskCapacity = 4096
    var client: HTTP2Client?
    let account = flow.run {
      client = HTTP2Client(flow)
      client?.get("/s/1")
      flow.after(second) { client?.get("/s/2") }
      flow.after(2 * second + 500 * millisecond) {
        #expect(client?.responses[1]?.reset == .refusedStream)
        #expect(client?.responses[3]?.reset == nil)
      }
      flow.after(4 * second) {
        #expect(client?.responses[3]?.reset == .refusedStream)
        flow.remote.drain()
      }
    }
    #expect(flow.arrivals.isEmpty)
    #expect(account?.exchanges == 0)
  }

  @Test("a stream whose client opens no window holds a bound, and goes on when it does")
  func closedWindow() throws {
    let flow = try Self.flow()
    let body = String(repeating: "0123456789", count: 60_000)
    var client: HTTP2Client?
    flow.serve = { flow, peer, _ in flow.answer(peer, body) }
    let account = flow.run {
      client = HTTP2Client(flow, consumes: false)
      for i in 0..<3 { client?.get("/s/\(i)") }
      flow.after(second) {
        for stream: Int32 in [1, 3, 5] {
          #expect(client?.responses[stream]?.content.count == 65_535)
        }
        flow.remote.ask { account in #expect(account.engine.coldBytes < 3 * 400_000) }
        client?.consume()
        flow.until(millisecond, { $0.counters.responses == 3 }) { _ in flow.remote.drain() }
      }
    }
    for stream: Int32 in [1, 3, 5] {
      #expect(client?.responses[stream]?.content.count == body.utf8.count)
      #expect(client?.responses[stream]?.isWhole == true)
    }
    #expect(account?.engine.coldBytes == 0 && account?.engine.framesInUse == 0)
  }

  @Test("an upload to a server that takes nothing stops its stream and no other")
  func deafServer() throws {
    let flow = try Self.flow()
    var client: HTTP2Client?
    let content = [UInt8](repeating: 7, count: 4096)
    content.withUnsafeBytes { block in
      let account = flow.run {
        client = HTTP2Client(flow)
        flow.isDeaf = true
        client?.request("/s/1", "POST", HTTP2Content(repeating: block, count: 8 << 20))
        flow.after(second) {
          flow.isDeaf = false
          client?.get("/s/2")
          flow.until(millisecond, { $0.counters.responses == 1 }) { account in
            #expect(account.engine.coldBytes < 1 << 20)
            client?.cancel(1)
            flow.until(millisecond, { $0.exchanges == 0 }) { _ in flow.remote.drain() }
          }
        }
      }
      #expect(
        account?.engine.coldBytes == 0 && account?.engine.framesInUse == 0
          && account?.connections == 0)
    }
    #expect(client?.responses[3]?.isWhole == true)
  }

  @Test("a drain says GOAWAY twice: first that it comes, then with the last stream that is served")
  func drain() throws {
    let flow = try Self.flow()
    var client: HTTP2Client?
    var held: SimulatedPeer?
    flow.serve = { flow, peer, text in
      if text.hasPrefix("GET /s/held") { held = peer } else { flow.answer(peer, "ok") }
    }
    let account = flow.run {
      client = HTTP2Client(flow)
      client?.get("/s/held")
      flow.until(millisecond, { $0.exchanges == 1 }) { _ in
        // It is on its way when the drain begins.
        flow.remote.drain()
        client?.get("/s/late")
        flow.after(3 * second) { if let held { flow.answer(held, "held") } }
      }
    }
    #expect(client?.goAways == [0x7FFF_FFFF, 3])
    #expect(client?.responses[1]?.content == Array("held".utf8))
    #expect(client?.responses[3]?.isWhole == true)
    #expect(account?.connections == 0)
  }

  @Test("a connection that is idle moves to the plan that takes the place of its own")
  func plans() throws {
    let flow = try Self.flow()
    flow.morePorts = [3001]
    var client: HTTP2Client?
    flow.serve = { flow, peer, _ in flow.answer(peer, "from \(flow.serverPeers.count)") }
    let account = flow.run {
      client = HTTP2Client(flow)
      client?.get("/s/1")
      flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
        flow.configuration.upstreams = [
          UpstreamConfiguration(
            name: "web", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: 3001))]
          )
        ]
        flow.remote.replacePlan(flow.parts)
        flow.until(millisecond, { $0.counters.plansInstalled == 1 && $0.plans == 1 }) { _ in
          client?.get("/s/2")
          flow.until(millisecond, { $0.counters.responses == 2 }) { _ in flow.remote.drain() }
        }
      }
    }
    #expect(client?.responses[3]?.content == Array("from 2".utf8))
    #expect(account?.plans == 1)
  }

  @Test("a kept connection that its server has closed costs a stream nothing")
  func staleConnection() throws {
    let flow = try Self.flow()
    var client: HTTP2Client?
    let account = flow.run {
      client = HTTP2Client(flow)
      client?.get("/s/1")
      flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
        flow.serverPeers[0].close()
        client?.get("/s/2")
        flow.until(millisecond, { $0.counters.responses == 2 }) { _ in flow.remote.drain() }
      }
    }
    #expect(client?.responses[3]?.status == 200)
    #expect(account?.counters.upstreamFailures == 0)
  }
}
