// One engine, what it has reported, and the world outside of it. A test says what to do and what
// must come of it; the harness turns the loop, redeems every completion, and at the end demands that
// every counter is back at zero and that the transcript is the one of the other engines.

import CLinux
import Glibc
import MillraceEngine
import Testing

final class Harness {
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
  /// Set by a test about a failure that has no errno, like nil for a lease.
  var showedFailure = false
  /// Tokens that were given to several operations on purpose.
  private var shared: Set<UInt64> = []
  /// A descriptor that one part of a script leaves to the next.
  var kept = Descriptor.none
  /// Called for each completion before it is noted.
  var watch: ((Completion) -> Void)?
  /// File buffers that came back, by token.
  private var files: [UInt64: HeldFileBuffer] = [:]
  private var lists: [UInt64: HeldFileBuffers] = [:]
  private var peers: [any Peer] = []
  let outside: any Outside

  init(_ kind: EngineKind, _ options: EngineOptions = Harness.options) throws {
    switch kind {
    case .uring:
      engine = EngineBox(try Uring(options))
      outside = KernelOutside()
    case .epoll:
      engine = EngineBox(try Epoll(options))
      outside = KernelOutside()
    case .simulated:
      let world = SimulatedWorld(seed: Harness.worldSeed)
      engine = EngineBox(Simulated(options, world: world))
      outside = SimulatedOutside(world)
    }
  }

  deinit { outside.end() }

  /// The seed of the simulated worlds, MILLRACE_SEED: the scripts hold for any.
  static let worldSeed = getenv("MILLRACE_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1

  /// Small enough to be made hundreds of times in a run.
  static let options: EngineOptions = {
    var options = EngineOptions()
    options.frames = 8192
    options.smallBuffers = 256
    options.largeBuffers = 32
    options.features = features
    return options
  }()

  /// What MILLRACE_FEATURES changes in the standard features: "-quiet_sends,+sqpoll".
  static let changes: [(isOn: Bool, feature: EngineFeatures, name: String)] = {
    guard let text = getenv("MILLRACE_FEATURES") else { return [] }
    return String(cString: text).split(separator: ",").map { change in
      let name = String(change.dropFirst())
      guard let feature = EngineFeatures(name: name), change.hasPrefix("+") || change.hasPrefix("-")
      else { preconditionFailure("MILLRACE_FEATURES: \(change) is not +name or -name") }
      return (change.hasPrefix("+"), feature, name)
    }
  }()

  /// The standard features, or what MILLRACE_FEATURES makes of them.
  static let features: EngineFeatures = {
    var features = EngineFeatures.standard
    for change in changes {
      if change.isOn { features.insert(change.feature) } else { features.remove(change.feature) }
    }
    return features
  }()

  /// A token, known in the transcript by the place of the script that made it.
  func token(file: String = #fileID, line: Int = #line) -> Token {
    lastToken += 1
    let token = Token(rawValue: lastToken)
    engine.transcript.made(token, "\(file.split(separator: "/").last!):\(line)")
    return token
  }

  subscript(_ token: Token) -> Outcome { outcomes[token.rawValue] ?? Outcome() }
  func outcome(_ key: UInt64) -> Outcome { outcomes[key] ?? Outcome() }
  func ending(_ token: Token) -> Int32? { self[token].ending }

  // MARK: The loop

  /// One turn, and everything that it reports.
  func turn(within milliseconds: Int64 = 0) {
    // A turn beside a kernel thread returns at once: give the thread the time that an enter takes.
    if Harness.features.contains(.submissionThread) && milliseconds == 0 { usleep(200) }
    engine.refreshClocks()
    engine.wait(until: engine.now + milliseconds * 1_000_000)
    drain()
  }

  func drain() {
    while let completion = engine.next() { note(completion) }
  }

  /// Notes a completion that a test took itself.
  func take(_ completion: Completion) { note(completion) }

  private func note(_ completion: Completion) {
    watch?(completion)
    let key = completion.token.rawValue
    var outcome = outcomes.removeValue(forKey: key) ?? Outcome()
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      let bytes = Array(slice.bytes)
      outcome.bytes += bytes
      outcome.pieces += 1
      engine.transcript.note(bytes, completion.token)
      if holdsSlices { held.append(HeldSlice(slice)) }
    } else if completion.hasDatagram {
      let datagram = takeDatagram(completion)
      outcome.datagrams.append(datagram)
      engine.transcript.note(datagram.content, completion.token)
    } else {
      outcome.results.append(completion.result)
      order.append(key)
      engine.transcript.note(
        completion.result, isTerminal: completion.isTerminal, completion.token)
    }
    if completion.hasStatus { outcome.status = engine.takeStatus(completion) }
    if completion.hasFileBuffer {
      files[key] = HeldFileBuffer(engine.takeFileBuffer(completion))
    }
    if completion.hasFileBuffers {
      lists[key] = HeldFileBuffers(engine.takeFileBuffers(completion))
    }
    if completion.isTerminal {
      outcome.terminals += 1
      outcome.ending = completion.result
      outcome.isOfSink = completion.isOfSink
    }
    outcomes[key] = outcome
  }

  private func takeDatagram(_ completion: Completion) -> ReceivedDatagram {
    let datagram = engine.takeDatagram(completion)
    return ReceivedDatagram(
      content: Array(datagram.content.bytes), sender: datagram.sender,
      segmentSize: datagram.segmentSize, isTruncated: datagram.isTruncated)
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
        throw HarnessFailure("gave up waiting")
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

  /// Turns the loop until the operation has ended, and demands its result.
  func expect(
    _ token: Token, _ result: Int32, _ comment: Comment? = nil,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    let ending = try end(token, at: location)
    #expect(ending == result, comment, sourceLocation: location)
  }

  /// Starts an operation, waits for its end and demands its result.
  func expect(
    _ result: Int32, file: String = #fileID, line: Int = #line,
    at location: SourceLocation = #_sourceLocation, of start: (Token) -> Void
  ) throws {
    let ending = try ending(file: file, line: line, at: location, of: start)
    #expect(ending == result, sourceLocation: location)
  }

  // MARK: Sockets

  func listener(backlog: Int32 = 1024) throws -> Descriptor {
    try engine.listen(.loopback(), backlog: backlog, reusePort: false)
  }

  func address(of listener: Descriptor) throws -> SocketAddress {
    try #require(engine.localAddress(listener))
  }

  func peer(to listener: Descriptor) throws -> any Peer {
    try peer(at: address(of: listener))
  }

  func peer(at address: SocketAddress) throws -> any Peer {
    let peer = try outside.peer(to: address)
    peers.append(peer)
    return peer
  }

  /// A connection: the engine's end, accepted, and the plain end.
  func connection() throws -> (socket: Descriptor, peer: any Peer) {
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
    guard var frame = engine.frame() else { throw HarnessFailure("no frame") }
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
  func received(by peer: any Peer, _ count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    try turn(
      until: {
        if let more = peer.receive(atMost: count - bytes.count) { bytes += more }
        return bytes.count >= count
      }, "\(count) bytes at the plain end")
    return bytes
  }

  /// Waits until the plain end sees the end of the stream (0) or an errno.
  func endSeen(by peer: any Peer) throws -> Int32 {
    try turn(until: { peer.receive() == nil }, "end at the plain end")
    return peer.lastError
  }

  /// The buffer that a read or write gave back.
  func fileBuffer(_ token: Token) throws -> HeldFileBuffer {
    let file = files.removeValue(forKey: token.rawValue)
    return try #require(file)
  }

  /// The buffers that a vectored read or write gave back.
  func fileBuffers(_ token: Token) throws -> HeldFileBuffers {
    let list = lists.removeValue(forKey: token.rawValue)
    return try #require(list)
  }

  /// Starts an operation and waits for its end.
  @discardableResult
  func ending(
    file: String = #fileID, line: Int = #line, at location: SourceLocation = #_sourceLocation,
    of start: (Token) -> Void
  ) throws -> Int32 {
    let token = token(file: file, line: line)
    start(token)
    return try end(token, at: location)
  }

  // MARK: The end

  /// This token was given to several operations.
  func expectSeveralEndings(of token: Token) { shared.insert(token.rawValue) }

  /// Demands that nothing is left: no operation, no lease, no frame, no cold memory, and that no
  /// operation had two endings.
  func finish(at location: SourceLocation = #_sourceLocation) {
    held = []
    files = [:]
    lists = [:]
    turn()
    let counters = engine.counters
    #expect(counters.operationsInFlight == 0, "operations", sourceLocation: location)
    #expect(counters.leasedBuffers == 0, "leases", sourceLocation: location)
    #expect(counters.framesInUse == 0, "frames", sourceLocation: location)
    #expect(counters.coldBytes == 0, "cold bytes", sourceLocation: location)
    #expect(counters.directDescriptorsInUse == 0, "direct slots", sourceLocation: location)
    #expect(counters.registeredBuffersInUse == 0, "registered buffers", sourceLocation: location)
    #expect(
      overflows || counters.completionQueueOverflows == 0, "overflows",
      sourceLocation: location)
    for (token, outcome) in outcomes where outcome.terminals != 1 && !shared.contains(token) {
      Issue.record(
        "operation \(token) ended \(outcome.terminals) times", sourceLocation: location)
    }
  }
}

/// Runs a script on one engine, checks that it leaves nothing behind, and compares its transcript
/// with those of the other engines.
///
/// - Parameter isComparable: false for a script whose deeds depend on time, like a dice that is
///   thrown once per turn.
func withHarness(
  _ kind: EngineKind, _ options: EngineOptions = Harness.options, isComparable: Bool = true,
  at location: SourceLocation = #_sourceLocation, _ body: (Harness) throws -> Void
) throws {
  let harness = try Harness(kind, options)
  do {
    try body(harness)
    harness.finish(at: location)
    if isComparable { Transcripts.add(harness.engine.transcript, kind, at: location) }
    TestCount.note(harness)
  } catch {
    // The test has failed with operations in flight, and an engine that ends with those traps.
    _ = Unmanaged.passRetained(harness)
    throw error
  }
}
