// One round in the life of an engine: made, given a random mix of operations, and ended in the
// middle of them the way the contract says: cancel or shut down, join, close, free. Each operation
// must have ended exactly once and every counter be zero, whatever was in flight.

import Glibc
public import MillraceEngine

/// An engine with a few sockets of its own, both ends of which are its own.
public struct Teardown<E: Engine & ~Copyable>: ~Copyable {
  /// Something with operations of its own.
  struct End {
    var descriptor: Descriptor
    var receives = false
    var sends = false
    var isDatagram = false
  }

  /// An operation that was begun.
  struct Begun {
    let deed: Deed
    var terminals = 0
    /// Which end's receive or send it is, to be marked free by its end.
    var receiver: Int?
    var sender: Int?
    var isFile = false
    /// It is the accept of the listener.
    var accepts = false
    /// The slot that it fills, the socket that it connects, what it closes.
    var slot: Descriptor?
    var connecting: Descriptor?
    var closing: Descriptor?
    /// A later step of its chain that closes what it has put in the slot, and the other way round.
    var closedBy: Int?
    var filledBy: Int?
  }

  var engine: E
  var dice: MixDice
  let seed: UInt64
  let directory: String
  var ends: [End] = []
  var listener = Descriptor.none
  var address: SocketAddress
  var closedAddress: SocketAddress
  var accepts = false
  var file = Descriptor.none
  var fileOperations = 0
  var pipe: (output: Descriptor, input: Descriptor)?
  /// Read by nobody but a poll.
  var foreign: (output: Int32, input: Int32) = (-1, -1)
  var polls = false
  var operations: [Begun] = []
  var stray: [Descriptor] = []
  var strayFiles: [Descriptor] = []
  /// The mailbox of an engine that ends while messages to it are under way.
  let partner: Mailbox?
  var wakers: [WorkerThread] = []
  var slots: [Descriptor] = []
  var slices: HeldSlices = HeldSlices()
  /// Whether operations are ended by `cancel` and `cancelAll`, or each by its own ending.
  var cancels = true
  var usesRegistered = false

  public static var options: EngineOptions {
    var options = EngineOptions()
    options.descriptorLimit = 4096
    options.smallBuffers = 16
    options.largeBuffers = 8
    options.largeBufferSize = 16_384
    options.frames = 32
    options.fileOperations = 8
    options.submissionEntries = 32
    options.completionEntries = 128
    options.controlOperations = 16
    options.directDescriptors = 4
    options.registeredBuffers = 2
    options.registeredBufferSize = 4096
    options.relays = 3
    options.relayPipeBytes = 65_536
    options.zeroCopyThreshold = 2048
    return options
  }

  public init(
    _ engine: consuming E, partner: Mailbox? = nil, seed: UInt64, directory: String
  ) throws {
    self.engine = engine
    self.partner = partner
    self.seed = seed
    self.directory = directory
    dice = MixDice(seed)
    address = try SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]
    closedAddress = address
  }

  /// The whole round. - Returns: how many operations were begun.
  public mutating func run(_ deeds: [Deed]) throws -> Int {
    usesRegistered = deeds.contains(.registeredBuffer)
    try prepare(deeds)
    for _ in 0..<(1 + dice.roll(4)) {
      for _ in 0..<(1 + dice.roll(12)) { try begin(deeds[dice.roll(deeds.count)]) }
      // Some turns take nothing of what they report, and some everything.
      for _ in 0..<dice.roll(3) { turn(takes: dice.roll(3) > 0) }
    }
    let begun = operations.count
    cancels = deeds.contains(.cancelAll) && dice.roll(2) == 0
    try drain()
    return begun
  }

  // MARK: Set-up

  private mutating func prepare(_ deeds: [Deed]) throws {
    let closed = try engine.listen(address, backlog: 1, reusePort: false)
    closedAddress = engine.localAddress(closed)!
    engine.close(closed)
    listener = try engine.listen(address, backlog: 64, reusePort: false)
    address = engine.localAddress(listener)!
    for _ in 0..<2 { try connectPair() }
    if deeds.contains(.receiveDatagrams) {
      let any = try SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]
      for _ in 0..<2 {
        let socket = try engine.bindDatagrams(any, reusePort: false, coalesce: false)
        ends.append(End(descriptor: socket, isDatagram: true))
      }
    }
    if deeds.contains(.splice) { pipe = try engine.pipe(capacity: 65_536) }
    if deeds.contains(.poll) && engine.kind != .simulated {
      var both: [Int32] = [-1, -1]
      _ = Glibc.pipe(&both)
      foreign = (both[0], both[1])
    }
    let opened = token(.open)
    operations[Int(opened.rawValue)].isFile = true
    engine.open(directory + "/mix", flags: O_RDWR | O_CREAT, mode: 0o600, opened)
    fileOperations += 1
    var turns = 0
    while operations[Int(opened.rawValue)].terminals == 0 {
      turn(takes: true)
      turns += 1
      if turns > 5000 { throw failure("the file was not opened") }
    }
  }

  private mutating func connectPair() throws {
    let connecting = token(.connect)
    let first = try engine.connect(address, connecting)
    var second: Descriptor?
    var turns = 0
    while second == nil || operations[Int(connecting.rawValue)].terminals == 0 {
      turn(takes: true)
      second = second ?? engine.acceptNow(listener)
      turns += 1
      if turns > 5000 { throw failure("no connection") }
    }
    ends.append(End(descriptor: first))
    ends.append(End(descriptor: second!))
  }

  // MARK: The loop

  mutating func turn(takes: Bool) {
    engine.refreshClocks()
    engine.wait(until: engine.now + 100_000)
    while takes, let completion = engine.next() { note(completion) }
  }

  private mutating func note(_ completion: Completion) {
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      if dice.roll(8) == 0 { slices.keep(slice) }
    } else if completion.hasDatagram {
      _ = engine.takeDatagram(completion)
    }
    if completion.hasStatus { _ = engine.takeStatus(completion) }
    if completion.hasFileBuffer { _ = engine.takeFileBuffer(completion) }
    if completion.hasFileBuffers { _ = engine.takeFileBuffers(completion) }
    let index = Int(completion.token.rawValue)
    guard operations.indices.contains(index) else {
      // A message that was posted under a token of its own.
      return
    }
    adopt(completion.result, of: operations[index].deed)
    guard completion.isTerminal else { return }
    operations[index].terminals += 1
    let ended = operations[index]
    if let end = ended.receiver { ends[end].receives = false }
    if let end = ended.sender { ends[end].sends = false }
    if ended.isFile { fileOperations -= 1 }
    if ended.accepts { accepts = false }
    if ended.deed == .poll { polls = false }
    // One that was refused or cancelled is open, and still its owner's.
    if let closing = ended.closing, completion.result != 0 {
      notClosed(closing, ended)
    }
    if let slot = ended.slot { filled(slot, completion.result, ended.closedBy) }
  }

  private mutating func notClosed(_ descriptor: Descriptor, _ ended: Begun) {
    if ended.isFile {
      strayFiles.append(descriptor)
    } else if let filling = ended.filledBy, operations[filling].terminals == 0 {
      // Cancelled before the step that fills the slot has ended, whose own end decides.
      operations[filling].closedBy = nil
    } else {
      stray.append(descriptor)
    }
  }

  /// A slot was filled, or it is given back and what was to close it closes nothing.
  private mutating func filled(_ slot: Descriptor, _ result: Int32, _ closedBy: Int?) {
    if result != 0 {
      engine.returnSlot(slot)
      if let closedBy { operations[closedBy].closing = nil }
    } else if closedBy == nil {
      stray.append(slot)
    }
  }

  /// New descriptors are closed at the end.
  private mutating func adopt(_ result: Int32, of deed: Deed) {
    guard result > 0 else { return }
    switch deed {
    case .accept, .acceptOne: stray.append(Descriptor(rawValue: result))
    case .open:
      if file.isValid {
        strayFiles.append(Descriptor(rawValue: result))
      } else {
        file = Descriptor(rawValue: result)
      }
    default: break
    }
  }

  /// A token for an operation that is about to begin: its place in the list.
  mutating func token(_ deed: Deed) -> Token {
    operations.append(Begun(deed: deed))
    return Token(rawValue: UInt64(operations.count - 1))
  }

  /// Said at once as well: the engine is about to end with what is left in it, and may trap.
  func failure(_ text: String) -> TeardownFailure {
    let failure = TeardownFailure(description: "\(engine.kind.rawValue), seed \(seed): \(text)")
    let line = "\(failure)\n"
    _ = line.withCString { Glibc.write(2, $0, strlen($0)) }
    return failure
  }

  // MARK: The end

  /// Cancels or shuts down, joins, closes, and demands that nothing is left.
  private mutating func drain() throws {
    slices.end()
    if dice.roll(2) == 0 {
      for end in ends where !end.isDatagram { engine.shutdown(end.descriptor, .both) }
    }
    try join()
    for end in ends {
      if dice.roll(3) == 0 { engine.resetOnClose(end.descriptor) }
      engine.close(end.descriptor)
    }
    for descriptor in stray { engine.close(descriptor) }
    while let descriptor = engine.acceptNow(listener) { engine.close(descriptor) }
    engine.close(listener)
    if let pipe {
      engine.close(pipe.output)
      engine.close(pipe.input)
    }
    try closeFiles()
    if foreign.output >= 0 {
      Glibc.close(foreign.output)
      Glibc.close(foreign.input)
    }
    for waker in wakers { waker.join() }
    for _ in 0..<2 { turn(takes: true) }
    try check()
  }

  private mutating func closeFiles() throws {
    let files = strayFiles + [file]
    strayFiles = []
    for file in files {
      let token = token(.closeFile)
      operations[Int(token.rawValue)].isFile = true
      operations[Int(token.rawValue)].closing = file
      fileOperations += 1
      engine.closeFile(file, token)
      var turns = 0
      while operations[Int(token.rawValue)].terminals == 0 {
        turn(takes: true)
        turns += 1
        if turns > 5000 { throw failure("the file was not closed") }
      }
    }
    if !strayFiles.isEmpty { throw failure("a file could not be closed") }
  }

  private mutating func join() throws {
    engine.refreshClocks()
    let start = engine.now
    var turns = 0
    while engine.counters.operationsInFlight > 0 || engine.counters.leasedBuffers > 0 {
      // Now and then: what is read for the others would be ended before it has read much.
      if turns % 32 == 0 { cancels ? cancelEverything() : endEverything() }
      // Not in every turn: where the stream has ended a receive is reported at once, and the clock
      // of a simulated world stands still as long as there is something to report.
      if turns % 4 == 0 { readForZeroCopy() }
      turns += 1
      turn(takes: true)
      slices.end()
      if engine.now - start > 20_000_000_000 { throw failure("not drained: \(unended)") }
    }
    for _ in 0..<2 { turn(takes: true) }
    slices.end()
  }

  /// What was sent without a copy is the kernel's until the other side has taken it: neither a
  /// cancellation nor a shutdown changes that, so the other sides read on.
  private mutating func readForZeroCopy() {
    guard operations.contains(where: { $0.deed == .sendZeroCopy && $0.terminals == 0 }) else {
      return
    }
    for end in ends.indices where !ends[end].receives && !ends[end].isDatagram {
      let token = token(.receive)
      operations[operations.count - 1].receiver = end
      ends[end].receives = true
      engine.receive(ends[end].descriptor, .stream, token)
    }
  }

  private mutating func cancelEverything() {
    for (index, operation) in operations.enumerated() where operation.terminals == 0 {
      engine.cancel(Token(rawValue: UInt64(index)))
    }
    for end in ends { engine.cancelAll(end.descriptor) }
  }

  /// The endings that operations have of their own; those without one are cancelled.
  private mutating func endEverything() {
    engine.stopAccepting(listener)
    for (index, operation) in operations.enumerated() where operation.terminals == 0 {
      switch operation.deed {
      case .connect, .connectRefused:
        if let socket = operation.connecting { engine.cancelConnect(socket) }
      case .timeout, .poll, .chain, .splice: engine.cancel(Token(rawValue: UInt64(index)))
      case .relayCopy, .relaySplice:
        engine.stopRelay(from: ends[operation.receiver!].descriptor)
      default: break
      }
    }
    for end in ends {
      if end.receives { engine.stopReceiving(end.descriptor) }
      if !end.isDatagram { engine.shutdown(end.descriptor, .both) }
    }
  }

  private var unended: String {
    operations.filter { $0.terminals == 0 }.map(\.deed.rawValue).joined(separator: ", ")
  }

  private func check() throws {
    for operation in operations where operation.terminals != 1 {
      throw failure("\(operation.deed.rawValue) ended \(operation.terminals) times")
    }
    let counters = engine.counters
    let left = [
      ("operations", counters.operationsInFlight), ("leases", counters.leasedBuffers),
      ("frames", counters.framesInUse), ("cold bytes", counters.coldBytes),
      ("direct slots", counters.directDescriptorsInUse),
      ("registered buffers", counters.registeredBuffersInUse),
    ]
    for (name, count) in left where count != 0 { throw failure("\(count) \(name) are left") }
  }
}

/// Slices that are kept for a while, and that end with the round.
struct HeldSlices {
  private final class Box {
    let slice: BufferSlice
    init(_ slice: consuming BufferSlice) { self.slice = slice }
  }
  private final class FileBox {
    let buffer: FileBuffer
    init(_ buffer: consuming FileBuffer) { self.buffer = buffer }
  }
  private var boxes: [Box] = []
  private var files: [FileBox] = []

  mutating func keep(_ slice: consuming BufferSlice) { boxes.append(Box(slice)) }
  mutating func keep(_ buffer: consuming FileBuffer) { files.append(FileBox(buffer)) }
  mutating func end() {
    boxes = []
    files = []
  }
}
