// The io_uring engine: one ring, one enter per turn. It owns the ring, the buffer pools, the
// frames and the record of every descriptor it made. Sends are tried without waiting inside the
// enter that submits them and report success without a completion of the kernel; what must wait
// is submitted again, and its hot buffers are copied out first when they are getting few.
//
// TRAP: (file) the caller's order of calls, which no event changes: chains are made and closed by
// code in one go.

import CLinux
import Glibc

/// What an entry of ours was, in the top byte of its user data.
enum UringOperation: UInt8 {
  case accept = 1, receive, connect, send, file, wake
  case datagrams, control, relay, message, nop
  /// A cancellation or a close: nobody waits for its completion.
  case ignored
}

/// The io_uring engine. Owned by the thread that made it.
public struct Uring: Engine, ChainRunner, ~Copyable {
  private let inPlace = InPlace()
  var ring: Ring
  var small: BufferPool
  var large: BufferPool
  var smallRing: ProvidedBuffers
  var largeRing: ProvidedBuffers
  var frames: FrameSlab
  var sockets: SocketTable
  var files: FileOperationSlab
  /// With `EngineFeatures.threadedWrites`: who writes.
  let threads: FileThreads?
  @usableFromInline var queue: CompletionQueue
  /// Completions of what ended inside its submission, for the next turn.
  var later: CompletionQueue
  var control: ControlSlab
  var chains: ChainSlab
  var linking = ChainLinks()
  var chainIsOpen = false
  var direct: DirectSlots
  var relays: RelaySlab
  /// True when the kernel keeps the table of direct slots.
  let hasTable: Bool
  /// Steps of chains that receive.
  var chainedReceives = 0
  /// Datagrams have been received: a burst of them takes a large buffer each.
  var receivesDatagrams = false
  /// Accepts whose number a chain has closed without that having been seen yet.
  var postponed: [clinux_cqe] = []
  let zeroCopyThreshold: Int
  /// What every receive of datagrams asks for.
  let datagramHeader: UnsafeMutablePointer<msghdr>
  /// What `resetOnClose` of a direct slot sets.
  let lingering: UnsafeMutablePointer<linger>
  let box: Mailbox
  var messages: [Mailbox.Message] = []
  /// Control and file operations in the kernel's chains that were cancelled and have not ended.
  var linkedCancels = 0
  /// Frames whose sends were cancelled and may not have ended.
  var cancelledSends: [UInt32] = []
  var correspondents = Correspondents()
  /// Sends submitted in this turn whose success the kernel will not report.
  let quiet: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  var quietCount = 0
  let quietLimit: Int
  /// `ioprio` of a stream's receive and of an accept.
  let streamFlags: UInt16
  let acceptFlags: UInt16
  /// Bytes that a multishot receive brings before it ends and is armed again; 0: no limit.
  let streamLimit: Int32
  /// What is used of the kernel, and why the rest is not.
  var use: FeatureUse
  let registered: RegisteredBuffers
  /// Places that the completion queue may grow to.
  let completionLimit: Int
  /// 0 without `EngineFeatures.minWait`.
  let minWaitMicroseconds: UInt32
  let batchCompletions: UInt32
  /// Descriptors whose receive waits for a buffer, by pool.
  var starvedSmall: DescriptorList
  var starvedLarge: DescriptorList
  /// Sockets whose multishot receive may have missed its end, and when to look at them.
  var suspects: DescriptorList
  var suspectsDue: Int64 = .max
  /// Addresses of connects until the kernel has copied them (SUBMIT_STABLE, 5.5).
  let addresses: UnsafeMutablePointer<sockaddr_storage>
  let pollSignal = PollSignal()
  /// A poll of a descriptor, which may be an eventfd, has ended in this turn; see PollSignal.
  var foreignPollEnded = false
  /// The eventfd of the wakers, and its number.
  let wake: WakeDescriptor
  let wakeDescriptor: Int32
  let wakeValue: UnsafeMutablePointer<UInt64>
  var expedited = false
  var statistics = EngineCounters()
  /// The ring's count of taken completions when `statistics.completions` was last brought up.
  var countedCompletions: UInt32 = 0
  public private(set) var now: Int64 = 0
  public private(set) var wallMicroseconds: Int64 = 0

  public var kind: EngineKind { .uring }
  public var waker: Waker { Waker(wake) }
  public var features: [ProbeFeature] { use.report(.uring) }
  /// The set-up flags that the kernel accepted, by name.
  public var setupDescription: String { Ring.describe(ring.setupFlags) }

  /// Small buffers that the kernel holds at once. 256 x 4 KiB is one MiB, which a second-level
  /// cache of today holds; deeper rings cycle through colder memory.
  static let smallRingDepth = 256
  static let largeRingDepth = 32
  /// Of those, what the kernel has while only receives of streams draw from them: what is received in one enter
  /// is used only after it, and has to be in the second-level cache until then. A proxied response of 64 KiB
  /// takes 0.85 of the CPU that it takes with all 32, and 0.89 with 4; one of 1 MiB to 500 clients 0.85 and
  /// 0.91 (docs/performance.md). Further receives wait for the next enter.
  static let largeStreamDepth = 2
  /// Within one enter the kernel runs a multishot receive up to three times for 33 buffers, so a
  /// full socket brings 396 KiB before anybody can stop it (Linux 6.18). With a limit (6.17) it
  /// ends first, and is armed again, which runs once more before a stop: 128 KiB and a buffer
  /// each. Arming again is one entry in 16 full buffers, and in hundreds of small requests.
  static let streamLimit: Int32 = 65_536

  /// At most half of a pool is in the kernel's hands, so that leases find the other half.
  static func depth(of pool: Int, atMost limit: Int) -> Int {
    min(limit, powerOfTwo(atMost: max(1, pool / 2)))
  }

  public init(_ options: EngineOptions) throws(EngineFailure) {
    let parts: UringParts
    do throws(SystemFailure) {
      parts = try UringParts(options)
    } catch {
      throw EngineFailure(kind: .uring, failure: error)
    }
    ring = parts.ring
    use = parts.use
    registered = parts.registered
    smallRing = parts.smallRing
    largeRing = parts.largeRing
    wake = parts.wake
    wakeDescriptor = parts.wake.number
    // Of what the kernel does not hold: those are as good as gone for anybody else.
    small = BufferPool(
      bufferSize: options.smallBufferSize, count: options.smallBuffers,
      watermark: (options.smallBuffers - smallRing.depth) / 4)
    large = BufferPool(
      bufferSize: options.largeBufferSize, count: options.largeBuffers,
      watermark: (options.largeBuffers - largeRing.depth) / 4)
    if smallRing.isIncremental { small.preparePieces() }
    frames = FrameSlab(capacity: options.frames, ledger: small.state)
    let numbers = options.descriptorLimit + options.directDescriptors
    sockets = SocketTable(limit: options.descriptorLimit, slots: options.directDescriptors)
    starvedSmall = DescriptorList(limit: numbers, mark: .listedSmall)
    starvedLarge = DescriptorList(limit: numbers, mark: .listedLarge)
    suspects = DescriptorList(limit: numbers, mark: .listedSuspect)
    files = FileOperationSlab(capacity: options.fileOperations)
    threads =
      use.contains(.threadedWrites)
      ? FileThreads(
        limit: max(1, options.fileThreads), capacity: options.fileOperations, slots: files.slots,
        control: nil, waker: Waker(parts.wake))
      : nil
    queue = CompletionQueue(capacity: powerOfTwo(atMost: options.completionEntries) * 2)
    later = CompletionQueue(capacity: powerOfTwo(atMost: options.controlOperations) * 2)
    control = ControlSlab(capacity: options.controlOperations)
    chains = ChainSlab(capacity: options.chains)
    direct = DirectSlots(count: options.directDescriptors)
    hasTable = use.contains(.directDescriptors)
    relays = RelaySlab(
      capacity: options.relays, pipeBytes: options.relayPipeBytes, socketsBlock: true)
    zeroCopyThreshold = use.contains(.zeroCopySend) ? options.zeroCopyThreshold : .max
    datagramHeader = .allocate(capacity: 1)
    datagramHeader.initialize(to: msghdr())
    datagramHeader.pointee.msg_namelen = socklen_t(DatagramLayout.nameBytes)
    datagramHeader.pointee.msg_controllen = DatagramLayout.controlBytes
    lingering = .allocate(capacity: 1)
    lingering.initialize(to: linger(l_onoff: 1, l_linger: 0))
    box = Mailbox(
      waking: wakeDescriptor,
      ring: use.contains(.ringMessages) ? ring.descriptor : -1)
    let places = Int(ring.sqEntries)
    quiet = .allocate(capacity: places)
    quiet.initialize(repeating: nil, count: places)
    // Where the kernel's thread submits, the end of an enter says nothing of the sends.
    quietLimit = use.contains(.quietSends) ? places : 0
    streamFlags =
      (use.contains(.multishotReceive) ? UInt16(CLINUX_RECV_MULTISHOT) : 0)
      | (use.contains(.receiveBundles) ? UInt16(CLINUX_RECVSEND_BUNDLE) : 0)
    acceptFlags = use.contains(.multishotAccept) ? UInt16(CLINUX_ACCEPT_MULTISHOT) : 0
    let isLimited = KernelRelease.current.map { ($0.major, $0.minor) >= (6, 17) } ?? false
    streamLimit = isLimited && !use.contains(.receiveBundles) ? Self.streamLimit : 0
    completionLimit = options.completionEntries
    minWaitMicroseconds = use.contains(.minWait) ? UInt32(options.batchMicroseconds) : 0
    batchCompletions = UInt32(min(options.batchCompletions, options.completionEntries / 2))
    addresses = .allocate(capacity: Int(ring.sqEntries))
    addresses.initialize(repeating: sockaddr_storage(), count: Int(ring.sqEntries))
    wakeValue = .allocate(capacity: 1)
    wakeValue.initialize(to: 0)
    statistics.ringReductions = parts.reductions
    armWake()
    refreshClocks()
  }

  /// Frees the rings. The owner has drained: see `EngineCounters.operationsInFlight`.
  deinit {
    // Closes that wait for a turn that will not come.
    if ring.pending > 0 { flushAtEnd() }
    if operationsInFlight > 0 {
      // The kernel may still write into our memory: the process keeps it.
      small.state.pointee.abandoned = true
      large.state.pointee.abandoned = true
      frames.state.pointee.abandoned = true
      engineBug("a ring was torn down with operations in flight")
    }
    threads?.stop()
    box.close()
    datagramHeader.deallocate()
    lingering.deallocate()
    quiet.deallocate()
    addresses.deallocate()
    // `wakeValue` stays: the read of the wake descriptor is still armed, and the kernel ends it
    // asynchronously. Eight bytes per engine.
  }

  // MARK: Submission

  @inline(__always)
  static func userData(_ operation: UringOperation, _ generation: UInt32, _ index: UInt32)
    -> UInt64
  {
    UInt64(operation.rawValue) << 56 | UInt64(generation) << 32 | UInt64(index)
  }

  /// A cleared entry. When the queue is full, what is pending is submitted first (counted).
  @inline(__always)
  mutating func entry() -> UnsafeMutablePointer<clinux_sqe> {
    precondition(!chainIsOpen, "an operation that cannot be a step of a chain")
    if let entry = ring.nextEntry() { return entry }
    return entryAfterSubmitting()
  }

  @inline(never)
  private mutating func entryAfterSubmitting() -> UnsafeMutablePointer<clinux_sqe> {
    statistics.submissionQueueFull += 1
    while true {
      submitNow()
      if let entry = ring.nextEntry() { return entry }
      // The kernel takes no entries while the completion queue overflows (EBUSY). Take what is
      // there, then try again.
      takeCompletions()
    }
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

  /// Control operations are counted by their slots.
  private var operationsInFlight: Int { statistics.operationsInFlight + control.inUse }

  public var counters: EngineCounters {
    var counters = statistics
    counters.operationsInFlight = operationsInFlight + later.count
    counters.leasedBuffers = small.leased + large.leased
    counters.coldBytes = small.state.pointee.coldBytes + large.state.pointee.coldBytes
    counters.coldBytesHighest =
      small.state.pointee.coldBytesHighest + large.state.pointee.coldBytesHighest
    counters.framesInUse = frames.inUse
    counters.bytesCopied +=
      small.state.pointee.received + large.state.pointee.received + frames.state.pointee.copied
    counters.frameRefusals = frames.state.pointee.refusals
    counters.correspondents = correspondents.count
    counters.correspondentsReplaced = correspondents.replacements
    counters.operationsRefused = control.refusals + relays.refusals
    counters.slotRefusals = direct.refusals
    counters.directDescriptorsInUse = direct.inUse
    counters.registeredBuffersInUse = registered.inUse
    counters.registeredBufferRefusals = registered.refusals
    return counters
  }

  @inline(__always)
  mutating func dispatch(_ completion: clinux_cqe) {
    let index = UInt32(truncatingIfNeeded: completion.user_data)
    let generation = UInt32(truncatingIfNeeded: completion.user_data >> 32) & 0xFF_FFFF
    switch UringOperation(rawValue: UInt8(truncatingIfNeeded: completion.user_data >> 56)) {
    case .receive: received(Int32(bitPattern: index), generation, completion)
    case .send: sent(index, completion)
    case .accept: accepted(Int32(bitPattern: index), generation, completion)
    case .connect: connected(Int32(bitPattern: index), generation, completion.res)
    case .file: fileOperationEnded(index, completion.res)
    case .control: controlEnded(index, generation, completion)
    case .datagrams: receivedDatagram(Int32(bitPattern: index), generation, completion)
    case .relay: relayReady(index, completion.res)
    case .nop: nopEnded(index)
    case .message: takeMessages()
    case .wake:
      armWake()
      takeWritten()
      takeMessages()
    case .ignored: break
    case nil: engineBug("a completion of an unknown operation")
    }
  }

  private mutating func armWake() {
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_READ)
    entry.pointee.fd = wakeDescriptor
    entry.pointee.addr = UInt64(UInt(bitPattern: wakeValue))
    entry.pointee.len = 8
    entry.pointee.user_data = Self.userData(.wake, 0, 0)
  }

  /// Cancels the operation with exactly this user data.
  mutating func cancel(_ userData: UInt64) {
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_ASYNC_CANCEL)
    entry.pointee.flags = UInt8(CLINUX_SQE_CQE_SKIP_SUCCESS)
    entry.pointee.fd = -1
    entry.pointee.addr = userData
    entry.pointee.user_data = Self.userData(.ignored, 0, 0)
  }
}

/// The largest power of two that is at most `value` (value ≥ 1).
func powerOfTwo(atMost value: Int) -> Int {
  1 << (Int.bitWidth - 1 - value.leadingZeroBitCount)
}
