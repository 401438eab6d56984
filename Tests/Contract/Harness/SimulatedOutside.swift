// The outside in a simulated world: peers that live in it, and time that passes when asked to.

import Glibc
import MillraceEngine

final class SimulatedOutside: Outside {
  private let world: SimulatedWorld
  private var isMade = false
  private var nextPort: UInt16 = 7000

  init(_ world: SimulatedWorld) { self.world = world }

  func peer(to address: SocketAddress) throws -> any Peer {
    let end = world.connect(to: address)
    let peer = WorldPeer(end)
    try pass("connect to \(address)") { end.isConnected || !end.isOpen }
    guard end.isConnected else {
      throw HarnessFailure("connect to \(address): errno \(end.refusal)")
    }
    return peer
  }

  func listener(backlog: Int32) throws -> any OutsideListener {
    nextPort += 1
    return try WorldListener(world, .loopback(nextPort), backlog: Int(backlog), self)
  }

  func datagrams() throws -> any OutsideDatagrams {
    nextPort += 1
    return WorldDatagrams(world.datagrams(at: try .loopback(nextPort)), world)
  }

  func pause(milliseconds: Int) { world.advance(by: Int64(milliseconds) * 1_000_000) }

  func directory() throws -> String {
    if !isMade { world.disk.makeDirectory("/contract") }
    isMade = true
    return "/contract"
  }

  func content(of path: String) -> [UInt8]? { world.disk.contents(path) }
  func withoutDescriptors(_ body: () throws -> Void) throws {
    world.isOutOfDescriptors = true
    defer { world.isOutOfDescriptors = false }
    try body()
  }

  func end() {}

  /// Lets time pass until the condition holds.
  fileprivate func pass(_ what: String, until condition: () -> Bool) throws {
    for _ in 0..<100_000 {
      if condition() { return }
      world.advance(by: 50_000)
    }
    throw HarnessFailure("\(what) took too long")
  }
}

private final class WorldPeer: Peer {
  private let end: SimulatedPeer

  init(_ end: SimulatedPeer) { self.end = end }

  var localPort: UInt16 { end.local.port }
  func send(_ bytes: [UInt8]) -> Int { end.send(bytes) }
  func finishSending() { end.finishSending() }
  func close() { end.close() }
  func reset() { end.reset() }

  func receive(atMost limit: Int) -> [UInt8]? {
    let bytes = end.receive(atMost: limit)
    if !bytes.isEmpty { return bytes }
    if end.wasReset {
      lastError = ECONNRESET
      return nil
    }
    guard end.hasEnded else { return [] }
    lastError = 0
    return nil
  }

  private(set) var lastError: Int32 = -1
}

private final class WorldListener: OutsideListener {
  private unowned let world: SimulatedWorld
  private unowned let outside: SimulatedOutside
  let address: SocketAddress
  private var waiting: [WorldPeer] = []
  private var isOpen = true

  init(
    _ world: SimulatedWorld, _ address: SocketAddress, backlog: Int, _ outside: SimulatedOutside
  ) throws {
    self.world = world
    self.outside = outside
    self.address = address
    world.listen(address) { [unowned self] end in
      waiting.append(WorldPeer(end))
      // As in the kernel: one more than the backlog, then no handshake is answered.
      if waiting.count > backlog { world.setConnectBehaviour(address, .hang) }
    }
  }

  deinit { close() }

  func close() {
    if isOpen { world.stopListening(address) }
    isOpen = false
  }

  func accepted() throws -> any Peer {
    try outside.pass("accept") { !waiting.isEmpty }
    return waiting.removeFirst()
  }
}

private final class WorldDatagrams: OutsideDatagrams {
  private let end: SimulatedDatagramPeer
  // The end does not keep its world.
  private let world: SimulatedWorld

  init(_ end: SimulatedDatagramPeer, _ world: SimulatedWorld) {
    self.end = end
    self.world = world
  }

  deinit { end.close() }

  var address: SocketAddress { end.address }
  func send(_ bytes: [UInt8], to address: SocketAddress) -> Int { end.send(bytes, to: address) }
  func receive() -> [UInt8]? { end.receive()?.bytes }
}
