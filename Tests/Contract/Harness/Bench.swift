// A simulated engine and its world on a bench: for tests that look at the world itself and choose
// its conditions. And a stress test: many connections under drawn conditions, with an account of it.

import Glibc
import MillraceEngine

final class Bench {
  struct Outcome {
    var bytes: [UInt8] = []
    var ending: Int32?
    var endings = 0
  }

  let world: SimulatedWorld
  var engine: Simulated
  private var outcomes: [UInt64: Outcome] = [:]
  /// The tokens of all completions with bytes, in order.
  private(set) var arrivals: [UInt64] = []
  /// Called for each completion before it is noted.
  var watch: ((Completion) -> Void)?
  private let address = SocketAddress(10, 0, 0, 1, port: 8080)
  private let listener: Descriptor

  static let options: EngineOptions = {
    var options = EngineOptions()
    options.smallBuffers = 64
    options.largeBuffers = 16
    options.largeBufferSize = 65_536
    options.frames = 256
    return options
  }()

  init(seed: UInt64, _ conditions: SimulatedConditions = .calm) {
    world = SimulatedWorld(seed: seed, conditions)
    engine = Simulated(Self.options, world: world)
    guard let listener = try? engine.listen(address, backlog: 64, reusePort: false) else {
      preconditionFailure("an address in a new world is taken")
    }
    self.listener = listener
  }

  subscript(_ key: UInt64) -> Outcome { outcomes[key] ?? Outcome() }

  func turn() {
    engine.wait(until: world.now + 1_000_000)
    while let completion = engine.next() { note(completion) }
  }

  private func note(_ completion: Completion) {
    watch?(completion)
    let key = completion.token.rawValue
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      outcomes[key, default: Outcome()].bytes += Array(slice.bytes)
      arrivals.append(key)
    }
    if completion.hasFileBuffer { _ = engine.takeFileBuffer(completion) }
    if completion.isTerminal {
      outcomes[key, default: Outcome()].ending = completion.result
      outcomes[key, default: Outcome()].endings += 1
    }
  }

  func turn(until condition: () -> Bool) {
    let limit = world.now + 3_600_000_000_000
    while !condition() {
      precondition(world.now < limit, "an hour of virtual time was not enough")
      turn()
    }
  }

  func pass(seconds: Int64) {
    let end = world.now + seconds * 1_000_000_000
    while world.now < end {
      engine.wait(until: end)
      while let completion = engine.next() { note(completion) }
    }
  }

  func connection() -> (Descriptor, SimulatedPeer) {
    let peer = world.connect(to: address)
    var socket: Descriptor?
    turn(until: {
      socket = socket ?? engine.acceptNow(listener)
      return socket != nil && peer.isConnected
    })
    return (socket!, peer)
  }

  func send(
    _ socket: Descriptor, _ bytes: [UInt8], _ key: UInt64, _ urgency: SendUrgency = .awaited
  ) {
    guard var frame = engine.frame() else { preconditionFailure("no frame") }
    let slice = engine.coldMemory(max(1, bytes.count))
    slice.mutableBytes.copyBytes(from: bytes)
    frame.append(slice)
    engine.send(socket, frame, urgency, Token(rawValue: key))
  }

  func close(_ socket: Descriptor, _ receive: UInt64) {
    engine.shutdown(socket, .both)
    turn(until: { self[receive].ending != nil })
    engine.close(socket)
  }

  func open(_ path: String, _ flags: Int32) -> Descriptor {
    let key = UInt64.max
    outcomes[key] = nil
    engine.open(path, flags: flags, mode: 0o600, Token(rawValue: key))
    turn(until: { self[key].ending != nil })
    return Descriptor(rawValue: self[key].ending!)
  }

  func write(_ file: Descriptor, _ bytes: [UInt8], at offset: Int64, durable: Bool, _ key: UInt64) {
    let buffer = FileBuffer(capacity: bytes.count)
    bytes.withUnsafeBytes { buffer.base.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    engine.write(
      file, from: buffer, count: bytes.count, offset: offset, durable: durable,
      Token(rawValue: key))
  }
}
