// A stress test: an echo server on the simulated engine, under conditions that the seed draws, and a crowd
// of outside clients that come when they like, some of which misbehave. What comes back to a client
// must be what it sent, and at the end nothing may be left.

import Glibc
import MillraceEngine

enum StressTest {
  /// What became of a run.
  struct Account {
    var hash: UInt64 = 0
    var events = 0
    var connections = 0
    var resets = 0
    var refusals = 0
    var bytes = 0
    var starved = 0
    var short = 0
    var problems: [String] = []

    mutating func add(_ other: Account) {
      connections += other.connections
      resets += other.resets
      refusals += other.refusals
      bytes += other.bytes
      starved += other.starved
      short += other.short
    }
  }

  static func run(_ seed: UInt64) -> Account {
    var dice = SimulatedDice(seed: seed &* 7919)
    let world = SimulatedWorld(seed: seed, .drawn(from: &dice))
    let server = EchoServer(world)
    let crowd = (0..<15).map { _ in
      let client = EchoClient(dice.bytes(1 + dice.roll(40_000)), dice.split())
      world.after(Int64(dice.roll(20_000_000))) { client.start(world, server.address) }
      return client
    }
    let isOver = { crowd.allSatisfy(\.isOver) && server.isIdle }
    // Two hours: clients that vanish are ended by the server's patience, refused handshakes retry.
    let limit = world.now + 7_200_000_000_000
    while !isOver() && world.now < limit { server.turn() }
    server.end()
    var account = Account()
    account.hash = world.trace.hash
    account.events = world.trace.count
    account.connections = server.accepted
    for (i, client) in crowd.enumerated() {
      account.bytes += client.got.count
      if client.ending == .reset { account.resets += 1 }
      if client.ending == .refused { account.refusals += 1 }
      let isPrefix = client.got == Array(client.wanted.prefix(client.got.count))
      if !isPrefix { account.problems.append("client \(i): wrong bytes") }
      if client.ending == .ended && client.isGood && client.got.count != client.wanted.count {
        account.problems.append("client \(i): \(client.got.count) of \(client.wanted.count)")
      }
      if !client.isOver { account.problems.append("client \(i) never came to an end") }
    }
    let counters = server.engine.counters
    account.starved = counters.receivesStarved
    account.short = counters.sendsShort
    let left =
      counters.operationsInFlight + counters.leasedBuffers + counters.framesInUse
      + counters.coldBytes
    if left != 0 { account.problems.append("something is left: \(counters)") }
    account.problems += server.problems
    return account
  }
}

/// A client that wants back what it sends.
private final class EchoClient {
  let wanted: [UInt8]
  private var dice: SimulatedDice
  private var sent = 0
  private(set) var got: [UInt8] = []
  private(set) var ending: SimulatedPeer.Event?
  private(set) var isOver = false
  /// It does nothing that would cut its own answer off.
  private(set) var isGood = true

  init(_ wanted: [UInt8], _ dice: SimulatedDice) {
    self.wanted = wanted
    self.dice = dice
  }

  func start(_ world: SimulatedWorld, _ address: SocketAddress) {
    let peer = world.connect(to: address)
    peer.onEvent = { [unowned self] peer, event in happened(peer, event) }
    let mischief = dice.roll(10)
    guard mischief < 3 else { return }
    isGood = false
    world.after(Int64(dice.roll(50_000_000))) { [self] in
      isOver = true
      switch mischief {
      case 0: peer.reset()
      case 1: peer.vanish()
      default: peer.close()
      }
    }
  }

  private func happened(_ peer: SimulatedPeer, _ event: SimulatedPeer.Event) {
    switch event {
    case .connected, .writable: push(peer)
    case .readable:
      while peer.available > 0 { got += peer.receive(atMost: 1 + dice.roll(5000)) }
    case .ended, .reset, .refused:
      ending = event
      isOver = true
      peer.close()
    }
  }

  private func push(_ peer: SimulatedPeer) {
    while sent < wanted.count {
      let taken = peer.send(Array(wanted[sent..<min(wanted.count, sent + 1 + dice.roll(9000))]))
      if taken == 0 { return }
      sent += taken
    }
    peer.finishSending()
  }
}

/// Sends back what it receives, and loses its patience after ten minutes.
private final class EchoServer {
  private final class Connection {
    let socket: Descriptor
    var pending: [UInt8] = []
    var isReceiving = true
    var isSending = false
    var isBroken = false
    var deadline: Int64

    init(_ socket: Descriptor, _ deadline: Int64) {
      self.socket = socket
      self.deadline = deadline
    }
  }

  private enum Kind { static let accept: UInt8 = 1, receive: UInt8 = 2, send: UInt8 = 3 }
  private static let patience: Int64 = 600_000_000_000

  let address = SocketAddress(10, 0, 0, 1, port: 80)
  private let world: SimulatedWorld
  var engine: Simulated
  private let listener: Descriptor
  /// By number; the order of the numbers is the order of service.
  private var connections: [Int32: Connection] = [:]
  private var isAccepting = true
  private var isEnding = false
  private(set) var accepted = 0
  private(set) var problems: [String] = []

  init(_ world: SimulatedWorld) {
    self.world = world
    engine = Simulated(Bench.options, world: world)
    guard let listener = try? engine.listen(address, backlog: 8, reusePort: false) else {
      preconditionFailure("an address in a new world is taken")
    }
    self.listener = listener
    accept()
  }

  var isIdle: Bool { connections.isEmpty }

  private func accept() {
    engine.accept(listener, Token(kind: Kind.accept, generation: 0, slot: 0))
  }

  func turn() {
    engine.wait(until: world.now + 10_000_000_000)
    while let completion = engine.next() { take(completion) }
    for number in connections.keys.sorted() { serve(connections[number]!) }
  }

  private func take(_ completion: Completion) {
    let number = Int32(bitPattern: completion.token.slot)
    switch completion.token.kind {
    case Kind.accept: acceptReported(completion)
    case Kind.receive:
      guard let connection = connections[number] else { return problem("a stray receive") }
      if completion.hasBytes {
        let slice = engine.takeSlice(completion)
        if !connection.isBroken { connection.pending += Array(slice.bytes) }
        connection.deadline = world.now + Self.patience
      }
      if completion.isTerminal {
        connection.isReceiving = false
        if completion.result < 0 { give(up: connection) }
      }
    default:
      guard let connection = connections[number], connection.isSending else {
        return problem("a stray send")
      }
      connection.isSending = false
      connection.deadline = world.now + Self.patience
      if completion.result < 0 { give(up: connection) }
    }
  }

  private func problem(_ text: String) { problems.append(text) }

  private func acceptReported(_ completion: Completion) {
    if completion.isTerminal {
      // The limit of descriptors ends an accept; it is asked for again.
      if isEnding { isAccepting = false } else { accept() }
      return
    }
    accepted += 1
    let connection = Connection(
      Descriptor(rawValue: completion.result), world.now + Self.patience)
    connections[completion.result] = connection
    engine.receive(
      connection.socket, .stream,
      Token(kind: Kind.receive, generation: 0, slot: UInt32(completion.result)))
  }

  private func give(up connection: Connection) {
    guard !connection.isBroken else { return }
    connection.isBroken = true
    connection.pending = []
    engine.shutdown(connection.socket, .both)
  }

  private func serve(_ connection: Connection) {
    if world.now > connection.deadline || isEnding { give(up: connection) }
    if !connection.isSending && !connection.pending.isEmpty && !connection.isBroken {
      send(connection)
    }
    guard !connection.isReceiving, !connection.isSending, connection.pending.isEmpty else {
      return
    }
    engine.close(connection.socket)
    connections[connection.socket.rawValue] = nil
  }

  private func send(_ connection: Connection) {
    guard var frame = engine.frame() else { return }
    let part = connection.pending.prefix(12_000)
    if part.count > 3000, let slice = engine.lease() {
      var slice = slice
      slice.truncate(to: part.count)
      slice.mutableBytes.copyBytes(from: part)
      frame.append(slice)
    } else {
      part.withUnsafeBytes { frame.append($0) }
    }
    connection.pending.removeFirst(part.count)
    connection.isSending = true
    engine.send(
      connection.socket, frame, part.count % 2 == 0 ? .quiet : .awaited,
      Token(kind: Kind.send, generation: 0, slot: UInt32(connection.socket.rawValue)))
    engine.expediteSends()
  }

  func end() {
    isEnding = true
    engine.stopAccepting(listener)
    var turns = 0
    while isAccepting || !connections.isEmpty, turns < 10_000 {
      turn()
      turns += 1
    }
    if turns == 10_000 { problem("the server did not come to an end") }
    engine.close(listener)
  }
}
