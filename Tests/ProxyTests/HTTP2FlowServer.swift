// A server of HTTP/2 on a simulated peer, for tests in virtual time: nghttp2's session, and what has come on
// each stream.

import Configuration
import HTTP2
import MillraceEngine

@testable import Proxy

final class HTTP2FlowServer {
  /// What came on one stream.
  struct Request {
    var method = ""
    var path = ""
    var count = 0
    var isWhole = false
    var reset: HTTP2ErrorCode?
  }

  let peer: SimulatedPeer
  private let memory = HTTP2Memory()
  private var session: HTTP2Session
  private var outgoing: [UInt8] = []
  private(set) var requests: [Int32: Request] = [:]
  /// Streams in the order in which their requests were whole.
  private(set) var order: [Int32] = []
  private(set) var goAways = 0
  private(set) var isOver = false
  private let consumes: Bool
  private var held: [Int32: Int] = [:]
  /// Content of answers, which must stay until it has left.
  private var bodies: [UnsafeMutableRawBufferPointer] = []
  /// Called with each whole request.
  var onRequest: (HTTP2FlowServer, Int32) -> Void = { server, stream in server.answer(stream, "ok")
  }

  init(_ peer: SimulatedPeer, streams: Int = 100, window: Int = 65_535, consumes: Bool = true) {
    var configuration = HTTP2Configuration(.server)
    configuration.concurrentStreams = streams
    configuration.streamWindow = window
    configuration.consumesByHand = true
    session = HTTP2Session(configuration, memory: memory)!
    self.peer = peer
    self.consumes = consumes
    peer.onEvent = { [unowned self] _, event in
      switch event {
      case .connected, .writable: flush()
      case .readable: take()
      case .ended, .reset, .refused: isOver = true
      }
    }
    flush()
  }

  deinit {
    for body in bodies { body.deallocate() }
  }

  func paths() -> [String] { order.map { requests[$0]?.path ?? "" } }
  func stream(_ path: String) -> Int32? { requests.first { $0.value.path == path }?.key }

  func answer(_ stream: Int32, _ body: String) {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: body.utf8.count, alignment: 16)
    bytes.copyBytes(from: body.utf8)
    bodies.append(bytes)
    var list = HTTP2FieldList(lasting: false)
    list.append(":status", "200")
    list.append("content-length", number: bytes.count)
    session.respond(stream, list, content: HTTP2Content(UnsafeRawBufferPointer(bytes)))
    flush()
  }

  func reset(_ stream: Int32, _ code: HTTP2ErrorCode) {
    session.reset(stream, code)
    flush()
  }

  /// GOAWAY as bytes: the session itself would name the last stream that has come.
  func goAway(last: UInt8) { sendRaw([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0]) }

  /// Bytes between two frames.
  func sendRaw(_ bytes: [UInt8]) {
    outgoing += bytes
    flush()
  }

  /// Opens the windows by what was held back.
  func consume() {
    for (stream, count) in held { session.consume(stream, count) }
    held = [:]
    flush()
  }

  private func take() {
    let bytes = peer.receive(atMost: 1 << 20)
    var offset = 0
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
      let head = session.head(event)
      var request = Request()
      request.method = head.first(":method").map { String(decoding: $0, as: UTF8.self) } ?? ""
      request.path = head.first(":path").map { String(decoding: $0, as: UTF8.self) } ?? ""
      requests[event.stream] = request
    case .content:
      requests[event.stream]?.count += event.count
      if consumes {
        session.consume(event.stream, event.count)
      } else {
        held[event.stream, default: 0] += event.count
      }
    case .end:
      requests[event.stream]?.isWhole = true
      order.append(event.stream)
      onRequest(self, event.stream)
    case .closed:
      if event.code != .noError { requests[event.stream]?.reset = event.code }
    case .goAway: goAways += 1
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

/// A world whose server speaks HTTP/2, and the connections to it so far.
final class HTTP2ServerWorld {
  let flow: FlowWorld
  var servers: [HTTP2FlowServer] = []
  var onRequest: (HTTP2FlowServer, Int32) -> Void = { server, stream in
    server.answer(stream, "ok")
  }
  var makeServer: (SimulatedPeer) -> HTTP2FlowServer = { HTTP2FlowServer($0) }
  var client: HTTP2FlowClient!
  /// Another one, as long as the world.
  var other: HTTP2FlowClient?

  init(_ conditions: SimulatedConditions = .calm) throws {
    flow = try FlowWorld(conditions)
    flow.configuration.listeners[0].httpVersions = [.http2, .http11]
    flow.configuration.upstreams[0].speaks = .http2Cleartext
    flow.configuration.limits.streams = 200
    flow.onServerPeer = { [unowned self] peer in
      let server = makeServer(peer)
      server.onRequest = { [unowned self] in onRequest($0, $1) }
      servers.append(server)
    }
  }

  /// Lets a client begin, and drains when `isOver`.
  func run(
    until isOver: @escaping (WorkerAccount) -> Bool, _ script: @escaping (HTTP2FlowClient) -> Void
  ) -> WorkerAccount? {
    flow.run { [unowned self] in
      client = HTTP2FlowClient(flow)
      script(client)
      flow.until(1_000_000, isOver) { [unowned self] _ in flow.remote.drain() }
    }
  }

  func isWhole(_ stream: Int32) -> Bool {
    client.responses[stream]?.status == 200 && client.responses[stream]?.isWhole == true
  }
}
