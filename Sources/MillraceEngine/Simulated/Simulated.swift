// The simulated engine: the contract of the others, kept in a world made from a seed. An operation
// starts when it is submitted and ends at a virtual time; a wait moves the clock, takes what is due
// in any legal order and reports it. Memory, frames and completions are those of the real engines.

import CLinux
import Glibc

/// The simulated engine. Owned by the thread of its world.
public struct Simulated: Engine, ~Copyable {
  private let inPlace = InPlace()
  /// The world that it lives in.
  public let world: SimulatedWorld
  let inbox = SimulatedInbox()
  let options: EngineOptions
  var small: BufferPool
  var large: BufferPool
  var frames: FrameSlab
  var queue: CompletionQueue
  /// What is behind each descriptor, by number.
  var handles: [SimulatedHandle?] = []
  /// What is behind each direct slot.
  var slots: SimulatedSlots
  /// The chain that is being made, those that run, and the one whose step begins right now.
  var openChain: SimulatedChain?
  var chains: [SimulatedChain] = []
  var beginning: SimulatedChain?
  /// Control operations in flight, in the order of submission.
  var controls: [SimulatedControl] = []
  var relays = 0
  /// Where datagrams that were reported came from, by the buffer that they are in.
  var datagrams: [UInt32: SimulatedDatagram] = [:]
  public let mailbox: Mailbox
  var messages: [Mailbox.Message] = []
  let readiness: SimulatedForeign
  /// Receives that wait for a buffer, in order.
  var starved: [Int32] = []
  /// Sends whose first try is made by the next wait.
  var deferredSends: [Int32] = []
  /// Sends that have succeeded in silence.
  var quietSends: [Int32] = []
  var fileOperations: SimulatedFileOperations
  let registered: RegisteredBuffers
  var expedited = false
  var statistics = EngineCounters()
  public private(set) var now: Int64 = 0
  public private(set) var wallMicroseconds: Int64 = 0
  private let wake: SimulatedWake

  public var kind: EngineKind { .simulated }
  /// Nothing here is the kernel's.
  public var features: [ProbeFeature] { [] }
  public var waker: Waker { Waker(wake) }

  /// An engine in a world of its own, with the seed 0.
  public init(_ options: EngineOptions) throws(EngineFailure) {
    self.init(options, world: SimulatedWorld(seed: 0))
  }

  /// An engine in a world that others may live in, too.
  public init(_ options: EngineOptions, world: SimulatedWorld) {
    self.world = world
    self.options = options
    let smallBuffers = min(options.smallBuffers, world.conditions.smallBuffers ?? .max)
    let largeBuffers = min(options.largeBuffers, world.conditions.largeBuffers ?? .max)
    small = BufferPool(
      bufferSize: options.smallBufferSize, count: smallBuffers, watermark: smallBuffers / 4)
    large = BufferPool(
      bufferSize: options.largeBufferSize, count: largeBuffers, watermark: largeBuffers / 4)
    frames = FrameSlab(
      capacity: min(options.frames, world.conditions.frames ?? .max), ledger: small.state)
    queue = CompletionQueue(capacity: 1024)
    fileOperations = SimulatedFileOperations(limit: options.fileOperations)
    registered = RegisteredBuffers(
      count: options.registeredBuffers, size: options.registeredBufferSize)
    wake = SimulatedWake()
    mailbox = Mailbox(waking: wake.number, ring: -1)
    slots = SimulatedSlots(limit: options.directDescriptors)
    readiness = world.foreign()
    inbox.readiness = readiness
    refreshClocks()
  }

  /// What was open is closed as a process's end closes it.
  deinit {
    if statistics.operationsInFlight > 0 {
      engineBug("a simulated engine was torn down with operations in flight")
    }
    for case let handle? in handles { handle.abandon(world) }
    for case let handle? in slots.handles { handle.abandon(world) }
    mailbox.close()
    wake.end()
  }

  // MARK: The turn

  public mutating func wait(until deadline: Int64?) {
    turn(until: deadline, coalescing: 1, before: 0)
  }

  public mutating func wait(until deadline: Int64?, coalescing count: Int, before limit: Int64) {
    turn(until: deadline, coalescing: count, before: limit)
  }

  /// Counted as a system call where there is something to submit, as on a ring.
  public mutating func submit() {
    guard !deferredSends.isEmpty else { return }
    statistics.systemCalls += 1
    makeDeferredSends()
  }

  private mutating func turn(until deadline: Int64?, coalescing count: Int, before limit: Int64) {
    statistics.turns += 1
    queue.rewind()
    makeDeferredSends()
    // Time passes in a turn, however little there is to do.
    world.tick(2000)
    world.catchUp()
    var mayWait = queue.isEmpty && !expedited
    if mayWait && world.dice.chance(world.conditions.emptyWaits) { mayWait = false }
    expedited = false
    let limit = min(limit, deadline ?? .max)
    if mayWait && count > 1 && limit > world.now {
      serveStarved()
      if queue.isEmpty { coalesce(count, until: limit) }
      mayWait = false
    }
    while true {
      // Before sleeping, always: nothing on the schedule tells that buffers have come back.
      serveStarved()
      if !queue.isEmpty { mayWait = false }
      if mayWait { mayWait = sleep(until: deadline) }
      takeNews()
      if !queue.isEmpty || !mayWait { break }
    }
    takeMessages()
    reportQuietSends()
    now = world.now
    wallMicroseconds = world.wallMicroseconds
    world.note(.turn, UInt64(queue.count), Int64(statistics.operationsInFlight))
  }

  /// Lets time pass until enough has happened to this engine, or until the limit.
  private mutating func coalesce(_ count: Int, until limit: Int64) {
    statistics.coalescedWaits += 1
    // As on epoll, which sees nothing until the limit, or as on io_uring.
    let counts = world.dice.chance(500)
    while !counts || inbox.count < count, let next = world.nextEvent, next <= limit { world.step() }
    if !counts || inbox.count < count { world.advance(to: limit) }
  }

  /// Lets time pass until something has happened to this engine.
  /// - Returns: false if the deadline has come, or somebody woke the engine.
  private mutating func sleep(until deadline: Int64?) -> Bool {
    // A deadline that is centuries away is none: nothing on the schedule would ever be waited for.
    let limit = deadline.flatMap { $0 > Int64.max / 2 ? nil : $0 }
    while true {
      if wake.take() { return false }
      if inbox.hasNews { return true }
      guard let next = world.nextEvent else {
        guard let limit else { world.standsStill() }
        world.advance(to: limit)
        return false
      }
      if let limit, next > limit {
        world.advance(to: limit)
        return false
      }
      world.step()
    }
  }

  /// Looks after everything that something has happened to, in any order that is legal: what
  /// concerns one descriptor, or one lane, stays in order.
  private mutating func takeNews() {
    guard inbox.hasNews else { return }
    var news = inbox.take()
    if world.dice.chance(world.conditions.reordering) {
      SimulatedNews.shuffle(&news, &world.dice)
      let some = 1 + world.dice.roll(news.count)
      inbox.putBack(news[some...])
      news.removeLast(news.count - some)
    }
    for item in news {
      statistics.completions += 1
      switch item {
      case .descriptor(let number): serve(number)
      case .file(let index, let result): fileOperationEnded(index, result)
      case .control(let control, let result): controlEnded(control, result)
      case .datagramSent(let cell, let result): datagramSent(cell, result)
      }
    }
  }

  /// Does what can be done for a descriptor.
  private mutating func serve(_ number: Int32) {
    guard let handle = handle(number) else { return }
    if !handle.splices.isEmpty { continueSplices(handle) }
    switch handle.thing {
    case .listener: serveListener(number, handle)
    case .stream(let end):
      if handle.connectResult != nil { finishConnect(handle) }
      guard handle.attempt == nil else { return }
      // An error that both could be told goes to the one or the other.
      if world.dice.chance(world.conditions.reordering / 2) {
        continueSend(number, handle, end)
        serveReceive(number, handle, end)
      } else {
        serveReceive(number, handle, end)
        continueSend(number, handle, end)
      }
      if !handle.heldFrames.isEmpty { releaseHeldFrames(handle, end) }
      if let relay = handle.relayFrom { pump(relay) }
      if let relay = handle.relayTo { pump(relay) }
    case .datagrams(let socket): serveDatagrams(number, handle, socket)
    case .file, .pipe: break
    }
  }

  public mutating func next() -> Completion? {
    guard let completion = queue.popFirst() else { return nil }
    world.note(
      .completion, completion.token.rawValue, Int64(completion.result), UInt64(completion.flags))
    return completion
  }

  public mutating func refreshClocks() {
    world.tick(200)
    now = world.now
    wallMicroseconds = world.wallMicroseconds
  }

  public mutating func randomBytes(_ room: UnsafeMutableRawBufferPointer) {
    world.dice.fill(room)
  }

  public var counters: EngineCounters {
    var counters = statistics
    counters.leasedBuffers = small.leased + large.leased
    counters.coldBytes = small.state.pointee.coldBytes + large.state.pointee.coldBytes
    counters.coldBytesHighest =
      small.state.pointee.coldBytesHighest + large.state.pointee.coldBytesHighest
    counters.framesInUse = frames.inUse
    counters.bytesCopied +=
      small.state.pointee.received + large.state.pointee.received + frames.state.pointee.copied
    counters.frameRefusals = frames.state.pointee.refusals
    counters.registeredBuffersInUse = registered.inUse
    counters.directDescriptorsInUse = slots.inUse
    return counters
  }

  // MARK: Descriptors

  func handle(_ number: Int32) -> SimulatedHandle? {
    if number >= Descriptor.directBit { return slots[Descriptor(rawValue: number)] }
    return number >= 0 && Int(number) < handles.count ? handles[Int(number)] : nil
  }

  /// What is behind a descriptor that the caller must have.
  func known(_ descriptor: Descriptor) -> SimulatedHandle {
    guard let handle = handle(descriptor.rawValue) else {
      preconditionFailure("a descriptor that is not open")
    }
    return handle
  }

  /// Gives something a number, or nil beyond the engine's table.
  mutating func open(_ handle: SimulatedHandle) -> Int32? {
    let number = world.network.takeNumber()
    guard Int(number) < options.descriptorLimit else {
      world.network.giveNumberBack(number)
      return nil
    }
    while handles.count <= Int(number) { handles.append(nil) }
    handles[Int(number)] = handle
    adopt(handle, number)
    return number
  }

  /// Has word of what happens to something left under a number.
  func adopt(_ handle: SimulatedHandle, _ number: Int32) {
    switch handle.thing {
    case .stream(let end):
      end.key = number
      end.owner = inbox
    case .pipe(let pipe, let isInput):
      pipe.listen(isInput: isInput) { [inbox] in inbox.mark(number) }
    case .listener(let listener): listener.arrived = { [inbox] in inbox.mark(number) }
    case .datagrams(let socket): socket.arrived = { [inbox] in inbox.mark(number) }
    case .file: break
    }
  }

  mutating func release(_ number: Int32) {
    if number >= Descriptor.directBit { return slots.free(Descriptor(rawValue: number)) }
    handles[Int(number)] = nil
    world.network.giveNumberBack(number)
  }

  mutating func ended(_ token: Token, _ result: Int32, flags: UInt32 = 0) {
    statistics.operationsInFlight -= 1
    var completion = Completion(token: token, result: result)
    completion.flags |= flags
    queue.append(completion)
  }
}
