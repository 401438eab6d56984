// One engine, what it has reported, and the plain sockets at the other end. A test says what to do
// and what must come of it; the stage turns the loop, redeems every completion, and at the end
// demands that every counter is back at zero.

import CLinux
import Glibc
import MillraceEngine
import Testing

/// What became of an operation, so far.
struct Outcome {
  /// Results of the completions without bytes, in order.
  var results: [Int32] = []
  /// Received bytes, in order, whatever the pieces.
  var bytes: [UInt8] = []
  var pieces = 0
  var terminals = 0
  /// The result of the terminal completion.
  var ending: Int32?
}

final class Stage {
  let engine: any ContractEngine
  private(set) var outcomes: [UInt64: Outcome] = [:]
  private(set) var lastToken: UInt64 = 0
  /// Completions in the order in which they came, without those that carry bytes.
  private(set) var order: [UInt64] = []
  /// While true, received bytes are kept as leases in `held` instead of being given back.
  var holdsSlices = false
  var held: [HeldSlice] = []
  /// Set by a test that lets the kernel's completion queue overflow on purpose.
  var overflows = false
  /// File buffers that came back, by token.
  private var files: [UInt64: HeldFileBuffer] = [:]
  private var peers: [Peer] = []

  init(_ kind: EngineKind, _ options: EngineOptions = Stage.options) throws {
    engine =
      switch kind {
      case .uring: try EngineBox<Uring>(options)
      case .epoll: try EngineBox<Epoll>(options)
      case .simulated: throw StageFailure("the simulated engine has no plain sockets at its ends")
      }
  }

  /// Small enough to be made hundreds of times in a run.
  static let options: EngineOptions = {
    var options = EngineOptions()
    options.frames = 8192
    options.smallBuffers = 256
    options.largeBuffers = 32
    options.features = features
    return options
  }()

  /// The standard features, or what MILLRACE_FEATURES makes of them: "-quiet_sends,+sqpoll".
  static let features: EngineFeatures = {
    var features = EngineFeatures.standard
    guard let text = getenv("MILLRACE_FEATURES") else { return features }
    for change in String(cString: text).split(separator: ",") {
      guard let feature = EngineFeatures(name: String(change.dropFirst())),
        change.hasPrefix("+") || change.hasPrefix("-")
      else { preconditionFailure("MILLRACE_FEATURES: \(change) is not +name or -name") }
      if change.hasPrefix("+") { features.insert(feature) } else { features.remove(feature) }
    }
    return features
  }()

  func token() -> Token {
    lastToken += 1
    return Token(rawValue: lastToken)
  }

  subscript(_ token: Token) -> Outcome { outcomes[token.rawValue] ?? Outcome() }
  func outcome(_ key: UInt64) -> Outcome { outcomes[key] ?? Outcome() }
  func ending(_ token: Token) -> Int32? { self[token].ending }

  // MARK: The loop

  /// One turn, and everything that it reports.
  func turn(within milliseconds: Int64 = 0) {
    // A turn beside a kernel thread returns at once: give the thread the time that an enter takes.
    if Stage.features.contains(.submissionThread) && milliseconds == 0 { usleep(200) }
    engine.refreshClocks()
    engine.wait(until: engine.now + milliseconds * 1_000_000)
    drain()
  }

  func drain() {
    while let completion = engine.next() { note(completion) }
  }

  private func note(_ completion: Completion) {
    let key = completion.token.rawValue
    var outcome = outcomes.removeValue(forKey: key) ?? Outcome()
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      outcome.bytes.append(contentsOf: slice.bytes)
      outcome.pieces += 1
      if holdsSlices { held.append(HeldSlice(slice)) }
    } else {
      outcome.results.append(completion.result)
      order.append(key)
    }
    if completion.hasFileBuffer {
      files[key] = HeldFileBuffer(engine.takeFileBuffer(completion))
    }
    if completion.isTerminal {
      outcome.terminals += 1
      outcome.ending = completion.result
    }
    outcomes[key] = outcome
  }

  /// Turns the loop until the condition holds. A test that waits for what never comes fails here.
  func turn(
    until condition: () throws -> Bool, seconds: Double = 10, _ what: String = "condition",
    at location: SourceLocation = #_sourceLocation
  ) throws {
    engine.refreshClocks()
    let limit = engine.now + Int64(seconds * 1e9)
    while try !condition() {
      guard engine.now < limit else {
        Issue.record("\(engine.kind): \(what) did not come true", sourceLocation: location)
        throw StageFailure("gave up waiting")
      }
      turn(within: 5)
    }
  }

  /// Turns the loop until the operation has ended. - Returns: the terminal result.
  @discardableResult
  func end(_ token: Token, at location: SourceLocation = #_sourceLocation) throws -> Int32 {
    try turn(until: { ending(token) != nil }, "operation \(token.rawValue)", at: location)
    return ending(token)!
  }

  // MARK: Sockets

  func listener(backlog: Int32 = 1024) throws -> Descriptor {
    try engine.listen(.loopback(), backlog: backlog, reusePort: false)
  }

  func address(of listener: Descriptor) throws -> SocketAddress {
    try #require(engine.localAddress(listener))
  }

  func peer(to listener: Descriptor) throws -> Peer {
    let peer = try Peer.connected(to: address(of: listener))
    peers.append(peer)
    return peer
  }

  /// A connection: the engine's end, accepted, and the plain end.
  func connection() throws -> (socket: Descriptor, peer: Peer) {
    let listener = try listener()
    let peer = try peer(to: listener)
    var socket: Descriptor?
    try turn(
      until: {
        socket = socket ?? engine.acceptNow(listener)
        return socket != nil
      }, "acceptNow")
    engine.close(listener)
    return (socket!, peer)
  }

  func frame(_ text: String) throws -> SendFrame { try frame(Array(text.utf8)) }

  func frame(_ bytes: [UInt8]) throws -> SendFrame {
    guard var frame = engine.frame() else { throw StageFailure("no frame") }
    bytes.withUnsafeBytes { frame.append($0) }
    return frame
  }

  /// Sends and waits for the terminal completion.
  @discardableResult
  func send(_ socket: Descriptor, _ text: String) throws -> Int32 {
    let token = token()
    engine.send(socket, try frame(text), .awaited, token)
    return try end(token)
  }

  /// Ends what is in flight on a socket and closes it: shutdown, join both directions, close.
  func close(_ socket: Descriptor, joining tokens: Token...) throws {
    engine.shutdown(socket, .both)
    for token in tokens { try end(token) }
    engine.close(socket)
  }

  /// What a plain end gets until `count` bytes are there, while the loop turns.
  func received(by peer: Peer, _ count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    try turn(
      until: {
        if let more = peer.receive(atMost: count - bytes.count) { bytes += more }
        return bytes.count >= count
      }, "\(count) bytes at the plain end")
    return bytes
  }

  /// Waits until the plain end sees the end of the stream (0) or an errno.
  func endSeen(by peer: Peer) throws -> Int32 {
    try turn(until: { peer.receive() == nil }, "end at the plain end")
    return peer.lastError
  }

  /// The buffer that a read or write gave back.
  func fileBuffer(_ token: Token) throws -> HeldFileBuffer {
    let file = files.removeValue(forKey: token.rawValue)
    return try #require(file)
  }

  // MARK: The end

  /// Demands that nothing is left: no operation, no lease, no frame, no cold memory, and that no
  /// operation had two endings.
  func finish(at location: SourceLocation = #_sourceLocation) {
    held = []
    files = [:]
    turn()
    let counters = engine.counters
    #expect(counters.operationsInFlight == 0, "operations", sourceLocation: location)
    #expect(counters.leasedBuffers == 0, "leases", sourceLocation: location)
    #expect(counters.framesInUse == 0, "frames", sourceLocation: location)
    #expect(counters.coldBytes == 0, "cold bytes", sourceLocation: location)
    #expect(
      overflows || counters.completionQueueOverflows == 0, "overflows",
      sourceLocation: location)
    for (token, outcome) in outcomes where outcome.terminals != 1 {
      Issue.record(
        "operation \(token) ended \(outcome.terminals) times", sourceLocation: location)
    }
  }
}

/// Received bytes that a test keeps.
final class HeldSlice {
  let slice: BufferSlice
  init(_ slice: consuming BufferSlice) { self.slice = slice }
}

final class HeldFileBuffer {
  let buffer: FileBuffer
  init(_ buffer: consuming FileBuffer) { self.buffer = buffer }
}

/// Runs a test on one engine and checks that it leaves nothing behind.
func onStage(
  _ kind: EngineKind, _ options: EngineOptions = Stage.options,
  at location: SourceLocation = #_sourceLocation, _ body: (Stage) throws -> Void
) throws {
  let stage = try Stage(kind, options)
  do {
    try body(stage)
    stage.finish(at: location)
  } catch {
    // The test has failed with operations in flight, and an engine that ends with those traps.
    _ = Unmanaged.passRetained(stage)
    throw error
  }
}
