// The epoll engine: the same completions, emulated. Each operation is tried at once where that can
// succeed; on EAGAIN it waits for the edge and is tried again. One registration per descriptor for
// its whole life, edge triggered. File operations run on a small bounded set of threads.

import CLinux
import Glibc

/// The epoll engine. Owned by the thread that made it.
public struct Epoll: Engine, ChainRunner, ~Copyable {
  private let inPlace = InPlace()
  let descriptor: Int32
  var small: BufferPool
  var large: BufferPool
  var frames: FrameSlab
  var sockets: SocketTable
  let peers: AcceptedPeers
  var files: FileOperationSlab
  @usableFromInline var queue: CompletionQueue
  let events: UnsafeMutablePointer<epoll_event>
  let eventLimit: Int
  /// Sockets that may have something to read although no edge will come: to be served before
  /// the next wait.
  var ready: DescriptorList
  /// Receives that wait for a buffer, by pool.
  var starvedSmall: DescriptorList
  var starvedLarge: DescriptorList
  let threads: FileThreads
  var control: ControlSlab
  var timers: TimeoutHeap
  /// Behind a pointer because `pollDescriptor`, which asks for it, changes nothing else.
  let alarm: UnsafeMutablePointer<Alarm>
  var chains: ChainSlab
  var direct: DirectSlots
  var relays: RelaySlab
  /// Completions of what ended inside its submission, for the next turn.
  var later: CompletionQueue
  /// Frames of sends that were asked not to copy, until the next turn: a list.
  var heldFirst: UnsafeMutableRawPointer?
  var heldLast: UnsafeMutableRawPointer?
  /// Splices that wait for an edge, by control slot.
  var waitingSplices: [UInt32] = []
  let batch = DatagramBatch()
  let box: Mailbox
  var messages: [Mailbox.Message] = []
  var use: FeatureUse
  let registered: RegisteredBuffers
  /// The eventfd of the wakers, and its number.
  let wake: WakeDescriptor
  let wakeDescriptor: Int32
  var statistics = EngineCounters()
  public private(set) var now: Int64 = 0
  public private(set) var wallMicroseconds: Int64 = 0

  public var kind: EngineKind { .epoll }
  public var waker: Waker { Waker(wake) }

  public init(_ options: EngineOptions) throws(EngineFailure) {
    let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard epoll >= 0 else { throw Self.failure("epoll_create1") }
    let wake: WakeDescriptor
    do throws(SystemFailure) {
      wake = try WakeDescriptor(flags: Int32(EFD_NONBLOCK))
    } catch {
      Glibc.close(epoll)
      throw EngineFailure(kind: .epoll, failure: error)
    }
    guard Int(wake.number) < options.descriptorLimit else {
      Glibc.close(epoll)
      throw EngineFailure(
        kind: .epoll,
        failure: SystemFailure(code: EMFILE, operation: "descriptor limit of the engine"))
    }
    // The record that `sockets.open` makes for it below is of generation 1.
    guard
      Self.register(
        wake.number, generation: 1, events: CLINUX_EPOLLIN, in: epoll, as: wake.number) == 0
    else {
      let failure = Self.failure("epoll_ctl")
      Glibc.close(epoll)
      throw failure
    }
    descriptor = epoll
    self.wake = wake
    wakeDescriptor = wake.number
    small = BufferPool(
      bufferSize: options.smallBufferSize, count: options.smallBuffers,
      watermark: options.smallBuffers / 4)
    large = BufferPool(
      bufferSize: options.largeBufferSize, count: options.largeBuffers,
      watermark: options.largeBuffers / 4)
    frames = FrameSlab(capacity: options.frames, ledger: small.state)
    sockets = SocketTable(limit: options.descriptorLimit, slots: options.directDescriptors)
    peers = AcceptedPeers(limit: options.descriptorLimit)
    control = ControlSlab(capacity: options.controlOperations)
    alarm = .allocate(capacity: 1)
    alarm.initialize(to: Alarm())
    timers = TimeoutHeap(capacity: options.controlOperations)
    chains = ChainSlab(capacity: options.chains)
    direct = DirectSlots(count: options.directDescriptors)
    relays = RelaySlab(capacity: options.relays, pipeBytes: options.relayPipeBytes)
    later = CompletionQueue(capacity: powerOfTwo(atMost: options.controlOperations) * 2)
    waitingSplices.reserveCapacity(options.controlOperations)
    box = Mailbox(waking: wakeDescriptor, ring: -1)
    use = FeatureUse(Self.concerned, options)
    Self.judge(epoll, options, &use)
    ready = DescriptorList(
      limit: options.descriptorLimit + options.directDescriptors, mark: .queued)
    starvedSmall = DescriptorList(
      limit: options.descriptorLimit + options.directDescriptors, mark: .listedSmall)
    starvedLarge = DescriptorList(
      limit: options.descriptorLimit + options.directDescriptors, mark: .listedLarge)
    files = FileOperationSlab(capacity: options.fileOperations)
    queue = CompletionQueue(capacity: 4096)
    eventLimit = options.eventsPerWait
    events = .allocate(capacity: eventLimit)
    events.initialize(repeating: epoll_event(), count: eventLimit)
    threads = FileThreads(
      limit: max(1, options.fileThreads),
      capacity: options.fileOperations + options.controlOperations, slots: files.slots,
      control: control.slots, waker: Waker(wake))
    registered = RegisteredBuffers(
      count: options.registeredBuffers, size: options.registeredBufferSize)
    _ = sockets.open(wakeDescriptor)
    refreshClocks()
  }

  private static func failure(_ operation: String) -> EngineFailure {
    EngineFailure(kind: .epoll, failure: SystemFailure(code: errno, operation: operation))
  }

  deinit {
    if statistics.operationsInFlight > 0 {
      engineBug("an epoll engine was torn down with operations in flight")
    }
    threads.stop()
    box.close()
    if alarm.pointee.descriptor >= 0 { Glibc.close(alarm.pointee.descriptor) }
    alarm.deallocate()
    Glibc.close(descriptor)
    events.deallocate()
  }

  /// Registers a descriptor for its whole life.
  /// - Returns: 0, or an errno.
  func register(_ socket: Int32, events interest: UInt32) -> Int32 {
    Self.register(
      socket, generation: sockets[socket].pointee.generation, events: interest, in: descriptor,
      as: target(socket))
  }

  private static func register(
    _ socket: Int32, generation: UInt32, events interest: UInt32, in epoll: Int32, as real: Int32
  ) -> Int32 {
    var event = epoll_event()
    event.events = interest
    event.data.u64 = UInt64(UInt32(bitPattern: socket)) | UInt64(generation) << 32
    return epoll_ctl(epoll, EPOLL_CTL_ADD, real, &event) == 0 ? 0 : errno
  }

  /// What system calls take for a descriptor: a slot stands for the one behind it.
  @inline(__always)
  func target(_ descriptor: Int32) -> Int32 {
    descriptor < Descriptor.directBit ? descriptor : direct[descriptor & ~Descriptor.directBit]
  }

  /// Interest of a stream socket: both directions and hang-ups, on edges.
  static let streamInterest =
    CLINUX_EPOLLIN | CLINUX_EPOLLOUT | CLINUX_EPOLLRDHUP | CLINUX_EPOLLET

  // MARK: The turn

  public mutating func wait(until deadline: Int64?) {
    turn(until: deadline, coalescing: 1, before: 0)
  }

  public mutating func wait(until deadline: Int64?, coalescing count: Int, before limit: Int64) {
    turn(until: deadline, coalescing: count, before: limit)
  }

  @inline(__always)
  private mutating func turn(until deadline: Int64?, coalescing count: Int, before limit: Int64) {
    statistics.turns += 1
    queue.rewind()
    while let completion = later.popFirst() { queue.append(completion) }
    if heldFirst != nil { releaseHeld() }
    if !starvedSmall.isEmpty || !starvedLarge.isEmpty { serveStarved() }
    if !ready.isEmpty { serveReady() }
    var timeout: Int64 = -1
    if !queue.isEmpty || !ready.isEmpty {
      timeout = 0
    } else {
      let deadline = min(deadline ?? .max, timers.nextDeadline)
      if count > 1 && coalesce(until: min(limit, deadline)) {
        timeout = 0
      } else if deadline != .max {
        timeout = deadline <= now ? 0 : nanosecondsUntil(deadline)
      }
    }
    statistics.systemCalls += 1
    let count = pollEvents(timeoutNanoseconds: timeout)
    refreshClocks()
    for i in 0..<max(0, Int(count)) { dispatch(events[i]) }
    if timers.nextDeadline <= now { fireTimers() }
    if alarm.pointee.descriptor >= 0 { setAlarm() }
  }

  /// Operations are tried when they are submitted.
  @inlinable @inline(__always)
  public mutating func submit() {}

  /// Sleeps, whatever happens: epoll_wait(2) knows no number of events to wait for. A signal ends it.
  /// - Returns: false if the time has come already.
  @inline(never)
  private mutating func coalesce(until time: Int64) -> Bool {
    guard time > SystemClock.monotonicNanoseconds() else { return false }
    statistics.systemCalls += 1
    statistics.coalescedWaits += 1
    var end = timespec(tv_sec: Int(time / 1_000_000_000), tv_nsec: Int(time % 1_000_000_000))
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nil)
    return true
  }

  /// `now` is as old as the work of the last turn was long, which a sleep must not add.
  @inline(__always)
  private func nanosecondsUntil(_ deadline: Int64) -> Int64 {
    max(0, deadline - SystemClock.monotonicNanoseconds())
  }

  /// epoll_pwait2(2) where it is used. epoll_wait(2) has millisecond resolution: rounded up, so
  /// that a deadline is never reported early and the loop does not spin through its last
  /// millisecond.
  private func pollEvents(timeoutNanoseconds: Int64) -> Int32 {
    if use.contains(.preciseWait) {
      return clinux_epoll_wait(descriptor, events, Int32(eventLimit), timeoutNanoseconds)
    }
    let milliseconds: Int32 =
      timeoutNanoseconds < 0
      ? -1
      : Int32(
        clamping: timeoutNanoseconds / 1_000_000
          + (timeoutNanoseconds % 1_000_000 == 0 ? 0 : 1))
    return epoll_wait(descriptor, events, Int32(eventLimit), milliseconds)
  }

  @inlinable @inline(__always)
  public mutating func next() -> Completion? { queue.popFirst() }

  public mutating func refreshClocks() {
    now = SystemClock.monotonicNanoseconds()
    wallMicroseconds = SystemClock.wallMicroseconds()
  }

  public mutating func randomBytes(_ room: UnsafeMutableRawBufferPointer) {
    SystemRandomness.fill(room)
  }

  public var counters: EngineCounters {
    var counters = statistics
    counters.operationsInFlight += later.count
    counters.leasedBuffers = small.leased + large.leased
    counters.coldBytes = small.state.pointee.coldBytes + large.state.pointee.coldBytes
    counters.coldBytesHighest =
      small.state.pointee.coldBytesHighest + large.state.pointee.coldBytesHighest
    counters.framesInUse = frames.inUse
    counters.bytesCopied +=
      small.state.pointee.received + large.state.pointee.received + frames.state.pointee.copied
    counters.frameRefusals = frames.state.pointee.refusals
    counters.operationsRefused = control.refusals + relays.refusals
    counters.slotRefusals = direct.refusals
    counters.directDescriptorsInUse = direct.inUse
    counters.registeredBuffersInUse = registered.inUse
    counters.registeredBufferRefusals = registered.refusals
    return counters
  }

  @inline(__always)
  private mutating func dispatch(_ event: epoll_event) {
    let socket = Int32(truncatingIfNeeded: event.data.u64)
    if event.data.u64 & Self.foreignMark != 0 { return foreignReady(event) }
    let generation = UInt32(truncatingIfNeeded: event.data.u64 >> 32)
    let record = sockets[socket]
    // An event of an earlier owner of this number: closed in this very turn.
    guard record.pointee.generation == generation else { return }
    if socket == wakeDescriptor { return woken() }
    statistics.completions += 1
    let state = record.pointee.state
    if state.contains(.accepting) { return acceptAll(socket, record) }
    let happened = event.events
    let failed = happened & (CLINUX_EPOLLERR | CLINUX_EPOLLHUP) != 0
    let writable = happened & CLINUX_EPOLLOUT != 0 || failed
    // An edge comes once: everything that it says is noted before anything is done about it.
    if happened & (CLINUX_EPOLLIN | CLINUX_EPOLLRDHUP) != 0 || failed {
      record.pointee.state.insert(.readable)
      if happened & CLINUX_EPOLLRDHUP != 0 || failed { record.pointee.state.insert(.hangup) }
    }
    if writable && state.contains(.connecting) { finishConnect(socket, record) }
    if !state.isDisjoint(with: [.relaySource, .relaySink, .splicing]) {
      edgeForRelays(socket, record)
    }
    // Reading comes first: of a reset it is the receive that must hear.
    if record.pointee.state.contains(.readable)
      && !record.pointee.state.isDisjoint(with: .receiving)
    {
      readAvailable(socket, record)
    }
    if writable && state.contains(.sendParked) {
      if state.contains(.datagrams) { continueDatagrams(record) } else { continueSend(record) }
    }
  }

  private mutating func woken() {
    var value: UInt64 = 0
    _ = Glibc.read(wakeDescriptor, &value, 8)
    while let job = threads.takeFinished() {
      if job & FileThreads.controlBit != 0 {
        spliceReturned(job & ~FileThreads.controlBit)
      } else {
        fileOperationEnded(job)
      }
    }
    takeMessages()
  }

  /// Reads from the sockets that have bytes left over from an earlier edge. Those that queue up
  /// again meanwhile get their turn after the next wait.
  @inline(never)
  private mutating func serveReady() {
    var left = ready.count
    while left > 0, let socket = ready.popFirst(sockets) {
      left -= 1
      let record = sockets[socket]
      if record.pointee.state.contains(.relaySource) { continueRelay(record) }
      if record.pointee.state.contains(.accepting) {
        acceptAll(socket, record)
      } else if record.pointee.state.contains(.readable)
        && !record.pointee.state.isDisjoint(with: .receiving)
      {
        readAvailable(socket, record)
      }
    }
  }

  /// Reads from the sockets that waited for a buffer, while there are buffers.
  @inline(never)
  private mutating func serveStarved() {
    var left = starvedSmall.count
    while left > 0, small.freeCount > 0, let socket = starvedSmall.popFirst(sockets) {
      left -= 1
      resume(socket, .receivingStream)
    }
    left = starvedLarge.count
    while left > 0, large.freeCount > 0, let socket = starvedLarge.popFirst(sockets) {
      left -= 1
      resume(socket, .receivingOnce)
      resume(socket, .receivingDatagrams)
    }
  }

  private mutating func resume(_ socket: Int32, _ mode: SocketState) {
    let record = sockets[socket]
    guard record.pointee.state.isSuperset(of: mode.union(.starved)) else { return }
    record.pointee.state.remove(.starved)
    readAvailable(socket, record)
  }

  /// Has a socket served before the next wait.
  @inline(__always)
  mutating func enqueue(_ socket: Int32) { ready.append(socket, sockets[socket]) }
}
