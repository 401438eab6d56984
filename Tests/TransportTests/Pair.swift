// Two transports, connected to each other, on one engine: what one sends the other receives.

import Glibc
import MillraceEngine
import TLS
import Testing
import Transport

/// An engine that the tests of this folder run on.
enum TestedEngine: String, CaseIterable, CustomTestStringConvertible {
  case uring, epoll, simulated
  var testDescription: String { rawValue }

  /// Runs `body` with a pair on this engine. Where the kernel refuses io_uring, nothing is run.
  func withPair(frames: Int = 64, _ body: (any PairOfTransports) throws -> Void) throws {
    var options = EngineOptions()
    options.smallBuffers = 64
    options.largeBuffers = 16
    options.frames = frames
    switch self {
    case .uring:
      guard let engine = try? Uring(options) else { return }
      let pair = try Pair(engine)
      try body(pair)
      pair.end()
    case .epoll:
      let pair = try Pair(try Epoll(options))
      try body(pair)
      pair.end()
    case .simulated:
      let pair = try Pair(Simulated(options, world: SimulatedWorld(seed: 1, .calm)))
      try body(pair)
      pair.end()
    }
  }
}

/// What a test does with a pair, whatever its engine is.
protocol PairOfTransports: AnyObject {
  /// 0: the side that has connected. 1: the side that was accepted.
  func transport(_ side: Int) -> UnsafeMutablePointer<Transport>
  /// Bytes that a side has received.
  func received(_ side: Int) -> [UInt8]
  /// How many sends of a side have ended, and how the last one did.
  func sends(_ side: Int) -> (count: Int, result: Int32)
  func arm(_ side: Int)
  /// Adds bytes to what leaves next, in cold memory of their own.
  func append(_ side: Int, _ bytes: [UInt8]) -> Bool
  @discardableResult func flush(_ side: Int) -> Bool
  func setMode(_ side: Int, _ mode: ReceiveMode)
  func stopReceiving(_ side: Int)
  func linger(_ side: Int)
  func join(_ side: Int, resets: Bool)
  /// Closes the socket of a side that is joined.
  func close(_ side: Int)
  func hasProgressed(_ side: Int) -> Bool
  func turn(until condition: () -> Bool)
  /// Gives a side a TLS session. A client's says its first words at once.
  func openTLS(_ side: Int, _ session: consuming TLSSession) -> Bool
  /// Encrypts bytes behind what waits.
  func encrypt(_ side: Int, _ bytes: [UInt8]) -> TLSSealing
  /// The same for a frame of several segments.
  func encrypt(_ side: Int, segments: [[UInt8]]) -> TLSSealing
  func sendCloseNotify(_ side: Int)
  /// Takes new keys, and wants them of the other side.
  func updateKeys(_ side: Int)
  /// Ends a side's own half once nothing waits.
  @discardableResult func endOwnSide(_ side: Int) -> Bool
  /// What the last step of a side's session asked for, and how often the session has stalled.
  func session(_ side: Int) -> (outcome: TLSOutcome, stalls: Int)
  var counters: EngineCounters { get }
}

extension PairOfTransports {
  /// The session of a side that has one.
  func channel(_ side: Int) throws -> UnsafeMutablePointer<TLSChannel> {
    guard let channel = transport(side).pointee.tls else { throw Missing() }
    return channel
  }
}

final class Pair<E: Engine & ~Copyable>: PairOfTransports {
  private var engine: E
  private let transports: UnsafeMutablePointer<Transport>
  private var bytes: [[UInt8]] = [[], []]
  private var results: [(count: Int, result: Int32)] = [(0, 0), (0, 0)]
  private let listener: Descriptor
  private var channels = TLSChannels(capacity: 2)
  private var sessions: [(outcome: TLSOutcome, stalls: Int)] = [(.wantsInput, 0), (.wantsInput, 0)]

  private enum Kind: UInt8 {
    case accept = 1
    case connect, receive, send
  }

  init(_ made: consuming E) throws {
    engine = made
    transports = .allocate(capacity: 2)
    listener = try engine.listen(SocketAddress(127, 0, 0, 1, port: 0), backlog: 8, reusePort: false)
    guard let address = engine.localAddress(listener) else { throw Missing() }
    engine.accept(listener, Token(kind: Kind.accept.rawValue, generation: 0, slot: 0))
    let socket = try engine.connect(
      address, Token(kind: Kind.connect.rawValue, generation: 0, slot: 0))
    transports.initialize(to: Transport(socket: socket, connecting: true))
    (transports + 1).initialize(to: Transport(socket: .none))
    turn(until: { !transports[0].receiving && transports[1].socket.isValid })
  }

  deinit {
    transports.deinitialize(count: 2)
    transports.deallocate()
  }

  func transport(_ side: Int) -> UnsafeMutablePointer<Transport> { transports + side }
  func received(_ side: Int) -> [UInt8] { bytes[side] }
  func sends(_ side: Int) -> (count: Int, result: Int32) { results[side] }
  var counters: EngineCounters { engine.counters }

  func arm(_ side: Int) {
    transports[side].arm(
      Token(kind: Kind.receive.rawValue, generation: 0, slot: UInt32(side)), &engine)
  }

  func append(_ side: Int, _ bytes: [UInt8]) -> Bool {
    guard transports[side].unsent.prepare(&engine) else { return false }
    let slice = engine.coldMemory(max(1, bytes.count))
    slice.mutableBytes.copyBytes(from: bytes)
    return transports[side].unsent.append(slice)
  }

  @discardableResult
  func flush(_ side: Int) -> Bool {
    transports[side].flush(
      .awaited, Token(kind: Kind.send.rawValue, generation: 0, slot: UInt32(side)), &engine)
  }

  func setMode(_ side: Int, _ mode: ReceiveMode) { transports[side].setMode(mode, &engine) }
  func stopReceiving(_ side: Int) { transports[side].stopReceiving(&engine) }
  func linger(_ side: Int) { transports[side].linger(&engine) }
  func join(_ side: Int, resets: Bool) { transports[side].join(&engine, resets: resets) }
  func close(_ side: Int) { transports[side].close(&engine) }
  func hasProgressed(_ side: Int) -> Bool { transports[side].hasProgressed(engine) }

  func turn(until condition: () -> Bool) {
    // Far more turns than any of these tests needs, so that one that hangs fails.
    for _ in 0..<20_000 {
      if condition() { return }
      engine.wait(until: engine.now + 1_000_000)
      while let completion = engine.next() { take(completion) }
    }
    Issue.record("the pair is stuck")
  }

  private func take(_ completion: Completion) {
    let side = Int(completion.token.slot)
    switch Kind(rawValue: completion.token.kind) {
    case .accept:
      if completion.result >= 0 {
        transports[1].socket = Descriptor(rawValue: completion.result)
      }
    case .connect: transports[0].connected()
    case .receive:
      transports[side].received(completion)
      guard completion.hasBytes else { return }
      let slice = engine.takeSlice(completion)
      if let channel = transports[side].tls {
        decrypt(side, channel, slice)
      } else {
        bytes[side] += Array(slice.bytes)
      }
    case .send:
      transports[side].sent()
      results[side] = (results[side].count + 1, completion.result)
      guard let channel = transports[side].tls, completion.result >= 0 else { return }
      flush(side)
      guard channel.pointee.isStalled else { return }
      if let slice = channel.pointee.resume() {
        decrypt(side, channel, slice)
      } else {
        _ = decrypt(side, channel, UnsafeRawBufferPointer(start: nil, count: 0))
      }
      flush(side)
      arm(side)
    case nil: Issue.record("a completion of an unknown kind")
    }
  }

  // MARK: TLS

  func openTLS(_ side: Int, _ session: consuming TLSSession) -> Bool {
    guard channels.open(session, on: &transports[side]), let channel = transports[side].tls else {
      return false
    }
    _ = decrypt(side, channel, UnsafeRawBufferPointer(start: nil, count: 0))
    flush(side)
    return true
  }

  func encrypt(_ side: Int, _ bytes: [UInt8]) -> TLSSealing { encrypt(side, segments: [bytes]) }

  func encrypt(_ side: Int, segments: [[UInt8]]) -> TLSSealing {
    guard let channel = transports[side].tls, var frame = engine.frame() else { return .noFrame }
    for bytes in segments {
      let slice = engine.coldMemory(max(1, bytes.count))
      slice.mutableBytes.copyBytes(from: bytes)
      frame.append(slice)
    }
    return transports[side].encrypt(channel, frame, &engine)
  }

  func sendCloseNotify(_ side: Int) {
    guard let channel = transports[side].tls else { return }
    transports[side].sendCloseNotify(channel, scratch: channels.scratch, &engine)
  }

  func updateKeys(_ side: Int) {
    guard let channel = transports[side].tls, transports[side].unsent.prepare(&engine) else {
      return
    }
    let count = channel.pointee.session.requestKeyUpdate(output: channels.scratch)
    #expect(count > 0)
    let isAppended = transports[side].unsent.append(
      UnsafeRawBufferPointer(rebasing: channels.scratch[..<count]))
    #expect(isAppended)
  }

  func endOwnSide(_ side: Int) -> Bool {
    transports[side].endOwnSide(scratch: channels.scratch, &engine)
  }

  func session(_ side: Int) -> (outcome: TLSOutcome, stalls: Int) { sessions[side] }

  private func decrypt(
    _ side: Int, _ channel: UnsafeMutablePointer<TLSChannel>, _ slice: consuming BufferSlice
  ) {
    if !channel.pointee.isStalled {
      let used = decrypt(side, channel, slice.bytes)
      guard channel.pointee.isStalled else {
        flush(side)
        return
      }
      slice.dropPrefix(used)
    }
    let isHeld = channel.pointee.hold(slice, &engine)
    #expect(isHeld)
  }

  private func decrypt(
    _ side: Int, _ channel: UnsafeMutablePointer<TLSChannel>, _ input: UnsafeRawBufferPointer
  ) -> Int {
    var offset = 0
    while true {
      if transports[side].unsent.isFull() { flush(side) }
      let area = engine.lease() ?? engine.coldMemory(16_384)
      let step = transports[side].decrypt(
        channel, UnsafeRawBufferPointer(rebasing: input[offset...]), plaintext: area.mutableBytes,
        scratch: channels.scratch, &engine)
      offset += step.consumed
      bytes[side] += Array(area.bytes.prefix(step.plaintext))
      sessions[side].outcome = step.outcome
      if step.stallBegan { sessions[side].stalls += 1 }
      switch step.outcome {
      case .goesOn: break
      case .mustFlush: flush(side)
      case .peerFinished:
        transports[side].peerHasFinished = true
        return offset
      case .wantsInput, .stalled, .failed, .outputLost: return offset
      }
    }
  }

  /// Ends what the test has left, and sees that nothing stays behind.
  func end() {
    for side in 0..<2 where transports[side].socket.isValid {
      if transports[side].closing != .joining { transports[side].join(&engine) }
      turn(until: { transports[side].isJoined })
      transports[side].close(&engine)
      channels.close(&transports[side])
      transports[side].unsent.clear()
      transports[side].unread.clear()
    }
    engine.stopAccepting(listener)
    var turns = 0
    while engine.counters.operationsInFlight > 0 && turns < 1000 {
      engine.wait(until: engine.now + 1_000_000)
      while let completion = engine.next() {
        if completion.hasBytes { _ = engine.takeSlice(completion) }
      }
      turns += 1
    }
    engine.close(listener)
    let counters = engine.counters
    #expect(counters.framesInUse == 0 && counters.leasedBuffers == 0 && counters.coldBytes == 0)
  }
}
