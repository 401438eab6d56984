// An origin's thread in a simulated world: the very code that answers, with a virtual clock and
// network, and clients whose behaviour is a few lines.

import HTTP
import HTTP1
import MillraceEngine
import Synchronization
import TLS
import Testing
import Transport

@testable import Lab

/// A client that sends what it is given at once, and keeps what came with the moment of its coming.
final class OriginClient {
  let peer: SimulatedPeer
  private let world: SimulatedWorld
  private var unsent: [UInt8]
  private(set) var received: [UInt8] = []
  /// The responses that are whole.
  private(set) var responses: [OriginResponse] = []
  /// Where the next response begins, and from how many bytes on it is worth looking at.
  private var parsed = 0
  private var needed = 1
  /// When the last bytes came, in virtual nanoseconds.
  private(set) var lastAt: Int64 = 0
  private(set) var firstAt: Int64 = 0
  /// When the world began for it.
  let startedAt: Int64
  private(set) var wasReset = false
  private(set) var hasEnded = false

  /// - Parameter bytes: sent as soon as the connection stands.
  init(_ world: SimulatedWorld, _ bytes: [UInt8]) {
    self.world = world
    startedAt = world.now
    unsent = bytes
    peer = world.connect(to: OriginWorld.address)
    peer.onEvent = { [unowned self] peer, event in
      switch event {
      case .connected, .writable: push()
      case .readable: pull()
      case .ended:
        pull()
        hasEnded = true
      case .reset, .refused:
        pull()
        wasReset = true
      }
    }
  }

  func say(_ text: String) {
    unsent += Array(text.utf8)
    push()
  }

  private func push() {
    guard peer.isConnected, !unsent.isEmpty else { return }
    unsent.removeFirst(peer.send(unsent))
  }

  private func pull() {
    while true {
      let bytes = peer.receive()
      guard !bytes.isEmpty else { return }
      if received.isEmpty { firstAt = world.now }
      lastAt = world.now
      received += bytes
      while received.count >= needed, parse() {}
    }
  }

  /// Bytes behind the last whole response.
  var rest: Int { received.count - parsed }

  private func parse() -> Bool {
    guard let end = received[parsed...].firstHeadEnd else {
      needed = received.count + 1
      return false
    }
    let lines = String(decoding: received[parsed..<end], as: UTF8.self).split(separator: "\r\n")
    var response = OriginResponse(
      status: Int(lines[0].split(separator: " ")[1]) ?? 0, fields: [:], content: [])
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { continue }
      response.fields[line[..<colon].lowercased()] =
        String(line[line.index(after: colon)...].drop { $0 == " " })
    }
    let length = Int(response.fields["content-length"] ?? "0") ?? 0
    needed = end + length
    guard received.count >= needed else { return false }
    response.content = Array(received[end..<needed])
    responses.append(response)
    parsed = needed
    needed += 1
    return true
  }
}

/// A response as it stood on the wire.
struct OriginResponse: Equatable {
  var status: Int
  var fields: [String: String]
  var content: [UInt8]
}

enum OriginWorld {
  static let address = SocketAddress(10, 0, 0, 2, port: 80)

  /// Runs an origin until `isOver`, then ends it as SIGTERM does, and checks that nothing is left.
  static func run(
    _ plan: OriginPlan, seed: UInt64 = 1, _ conditions: SimulatedConditions = .calm,
    clients: (SimulatedWorld) -> [OriginClient], isOver: ([OriginClient]) -> Bool
  ) throws -> (clients: [OriginClient], counters: OriginCounters) {
    let world = SimulatedWorld(seed: seed, conditions)
    var plan = plan
    plan.listeners = [OriginListener(address: address, usesTLS: false)]
    plan.connections = 64
    var options = EngineOptions()
    options.smallBuffers = 256
    options.largeBuffers = 32
    let shared = UnsafeMutablePointer<OriginShared>.allocate(capacity: 1)
    shared.initialize(to: OriginShared())
    let board = OriginBoard()
    let made = OriginThreadParameters(
      plan: plan, index: 0, options: options, context: nil, shared: shared, board: board,
      start: world.now)
    // As on its thread, the worker is never torn down: its content is memory of the engine's.
    let worker = UnsafeMutablePointer<OriginWorker<Simulated>>.allocate(capacity: 1)
    worker.initialize(
      to: OriginWorker<Simulated>(made, engine: Simulated(options, world: world)))
    try worker.pointee.listen(made)
    let found = clients(world)
    // The world must go on even when the origin waits for nothing.
    let waker = worker.pointee.engine.waker
    func tick() {
      waker.wake()
      world.after(1_000_000) { tick() }
    }
    tick()
    while !isOver(found) {
      worker.pointee.turn()
      // Ten minutes: a segment of a byte each and a latency of 100 ms take less.
      guard world.now - made.start < 600_000_000_000 else {
        Issue.record("seed \(seed): stuck with \(found.map(\.received.count))")
        break
      }
    }
    for client in found { client.peer.close() }
    board.stops.store(true, ordering: .releasing)
    let deadline = world.now + 3_000_000_000
    while !worker.pointee.isDone || worker.pointee.engine.counters.operationsInFlight > 0 {
      worker.pointee.turn()
      guard world.now < deadline else { break }
    }
    let engine = worker.pointee.engine.counters
    #expect(worker.pointee.connections.inUse == 0, "seed \(seed)")
    #expect(worker.pointee.streams.inUse == 0, "seed \(seed)")
    #expect(engine.operationsInFlight == 0, "seed \(seed)")
    #expect(engine.framesInUse == 0, "seed \(seed)")
    #expect(engine.leasedBuffers == 0, "seed \(seed)")
    // The block of content is all that is left.
    #expect(engine.coldBytes == OriginContent.period, "seed \(seed)")
    return (found, worker.pointee.counters)
  }

  static func get(_ path: String) -> String { "GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n" }

  /// Made once: byte by byte it takes a minute of all tests' time.
  private static let block = (0..<300_000).map { OriginContent.byte(at: $0) }

  /// The first bytes of what every origin sends.
  static func content(_ count: Int) -> [UInt8] {
    block.prefix(count) + (block.count..<max(count, block.count)).map { OriginContent.byte(at: $0) }
  }
}

extension ArraySlice<UInt8> {
  fileprivate var firstHeadEnd: Int? {
    var index = startIndex
    while index + 3 < endIndex {
      if self[index] == 13, self[index + 1] == 10, self[index + 2] == 13, self[index + 3] == 10 {
        return index + 4
      }
      index += 1
    }
    return nil
  }
}
