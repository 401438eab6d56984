// The io_uring engine: one ring, one enter per turn. It owns the ring, the buffer pools, the
// frames and the record of every descriptor it made. Sends are tried without waiting inside the
// enter that submits them and report success without a completion of the kernel; what must wait
// is submitted again, and its hot buffers are copied out first when they are getting few.

import CLinux
import Glibc

/// What an entry of ours was, in the top byte of its user data.
enum UringOperation: UInt8 {
  case accept = 1, receive, connect, send, file, wake
  /// A cancellation or a close: nobody waits for its completion.
  case ignored
}

/// The io_uring engine. Owned by the thread that made it.
public struct Uring: Engine, ~Copyable {
  var ring: Ring
  var small: BufferPool
  var large: BufferPool
  var smallRing: ProvidedBuffers
  var largeRing: ProvidedBuffers
  var frames: FrameSlab
  var sockets: SocketTable
  var files: FileOperationSlab
  var queue: CompletionQueue
  /// Sends submitted in this turn whose success the kernel will not report.
  let quiet: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  var quietCount = 0
  let quietLimit: Int
  /// Descriptors whose receive waits for a buffer, by pool.
  var starvedSmall: DescriptorList
  var starvedLarge: DescriptorList
  /// Sockets whose multishot receive may have missed its end, and when to look at them.
  var suspects: DescriptorList
  var suspectsDue: Int64 = .max
  /// Addresses of connects until the kernel has copied them (SUBMIT_STABLE, 5.5).
  let addresses: UnsafeMutablePointer<sockaddr_storage>
  let wakeDescriptor: Int32
  let wakeValue: UnsafeMutablePointer<UInt64>
  var expedited = false
  var statistics = EngineCounters()
  public private(set) var now: Int64 = 0
  public private(set) var wallMicroseconds: Int64 = 0

  public var kind: EngineKind { .uring }
  public var waker: Waker { Waker(eventDescriptor: wakeDescriptor) }
  /// The set-up flags that the kernel accepted, by name.
  public var setupDescription: String { Ring.describe(ring.setupFlags) }

  /// Small buffers that the kernel holds at once. 256 x 4 KiB is one MiB, which a second-level
  /// cache of today holds; deeper rings cycle through colder memory.
  static let smallRingDepth = 256
  static let largeRingDepth = 32

  /// At most half of a pool is in the kernel's hands, so that leases find the other half.
  static func depth(of pool: Int, atMost limit: Int) -> Int {
    min(limit, powerOfTwo(atMost: max(1, pool / 2)))
  }

  /// What set-up can fail on, made before anything else is.
  private struct Parts: ~Copyable {
    let ring: Ring
    let smallRing: ProvidedBuffers
    let largeRing: ProvidedBuffers
    let wakeDescriptor: Int32

    init(_ options: EngineOptions) throws(SystemFailure) {
      let wake = eventfd(0, Int32(EFD_CLOEXEC))
      guard wake >= 0 else { throw SystemFailure(code: errno, operation: "eventfd") }
      do throws(SystemFailure) {
        let ring = try Uring.openRing(options)
        let smallRing = try ProvidedBuffers(
          ring: ring.descriptor, group: 0,
          depth: Uring.depth(of: options.smallBuffers, atMost: Uring.smallRingDepth))
        let largeRing = try ProvidedBuffers(
          ring: ring.descriptor, group: 1,
          depth: Uring.depth(of: options.largeBuffers, atMost: Uring.largeRingDepth))
        self.ring = ring
        self.smallRing = smallRing
        self.largeRing = largeRing
        wakeDescriptor = wake
      } catch {
        Glibc.close(wake)
        throw error
      }
    }
  }

  public init(_ options: EngineOptions) throws(EngineFailure) {
    let parts: Parts
    do throws(SystemFailure) {
      parts = try Parts(options)
    } catch {
      throw EngineFailure(kind: .uring, failure: error)
    }
    ring = parts.ring
    smallRing = parts.smallRing
    largeRing = parts.largeRing
    wakeDescriptor = parts.wakeDescriptor
    // Of what the kernel does not hold: those are as good as gone for anybody else.
    small = BufferPool(
      bufferSize: options.smallBufferSize, count: options.smallBuffers,
      watermark: (options.smallBuffers - smallRing.depth) / 4)
    large = BufferPool(
      bufferSize: options.largeBufferSize, count: options.largeBuffers,
      watermark: (options.largeBuffers - largeRing.depth) / 4)
    frames = FrameSlab(capacity: options.frames, ledger: small.state)
    sockets = SocketTable(limit: options.descriptorLimit)
    starvedSmall = DescriptorList(limit: options.descriptorLimit, mark: .listedSmall)
    starvedLarge = DescriptorList(limit: options.descriptorLimit, mark: .listedLarge)
    suspects = DescriptorList(limit: options.descriptorLimit, mark: .listedSuspect)
    files = FileOperationSlab(capacity: options.fileOperations)
    queue = CompletionQueue(capacity: powerOfTwo(atMost: options.completionEntries) * 2)
    quietLimit = Int(ring.sqEntries)
    quiet = .allocate(capacity: quietLimit)
    quiet.initialize(repeating: nil, count: quietLimit)
    addresses = .allocate(capacity: Int(ring.sqEntries))
    addresses.initialize(repeating: sockaddr_storage(), count: Int(ring.sqEntries))
    wakeValue = .allocate(capacity: 1)
    wakeValue.initialize(to: 0)
    // Bounded and unbounded io-wq workers (5.15).
    var workers: (UInt32, UInt32) = (UInt32(options.fileThreads), UInt32(options.fileThreads))
    _ = clinux_uring_register(
      ring.descriptor, UInt32(CLINUX_REGISTER_IOWQ_MAX_WORKERS), &workers, 2)
    armWake()
    refreshClocks()
  }

  private static func openRing(_ options: EngineOptions) throws(SystemFailure) -> Ring {
    let rungs = options.setupFlags != 0 ? [options.setupFlags] : Ring.ladder
    var failure = SystemFailure(code: EINVAL, operation: "io_uring_setup")
    for flags in rungs {
      do throws(SystemFailure) {
        return try Ring(
          entries: options.submissionEntries, completions: options.completionEntries,
          flags: flags)
      } catch {
        failure = error
        guard error.code == EINVAL else { break }
      }
    }
    throw failure
  }

  /// Frees the rings. The owner has drained: see `EngineCounters.operationsInFlight`.
  deinit {
    // Closes that wait for a turn that will not come.
    if ring.pending > 0 { _ = ring.enter(wait: 0, timeoutNanoseconds: -1) }
    if statistics.operationsInFlight > 0 {
      // The kernel may still write into our memory: the process keeps it.
      small.state.pointee.abandoned = true
      large.state.pointee.abandoned = true
      frames.state.pointee.abandoned = true
      engineBug("a ring was torn down with operations in flight")
    }
    Glibc.close(wakeDescriptor)
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

  /// Submits what is pending, outside the turn's own enter.
  @inline(never)
  mutating func submitNow() {
    // The places of what was taken so far, so that a full completion queue has room.
    ring.commitTaken()
    statistics.systemCalls += 1
    Self.check(ring.enter(wait: 0, timeoutNanoseconds: -1))
  }

  /// Errors that another turn mends are let through. The others mean that this engine is used
  /// from a thread that did not make it (EEXIST) or that its memory is broken: to go on would
  /// be to spin without ever completing anything.
  @inline(__always)
  private static func check(_ code: Int32) {
    if code < 0 { checkFailure(-code) }
  }

  @inline(never)
  private static func checkFailure(_ code: Int32) {
    switch code {
    case EINTR, ETIME, EBUSY, EAGAIN, ENOMEM: break
    case EBADR: engineBug("the kernel had to drop completions")
    default: preconditionFailure("io_uring_enter: errno \(code)")
    }
  }

  // MARK: The turn

  public mutating func wait(until deadline: Int64?) {
    statistics.turns += 1
    queue.rewind()
    let receivesWait = restock()
    var timeout: Int64 = -1
    var wanted: UInt32 = 1
    if !queue.isEmpty || expedited || receivesWait {
      wanted = 0
    } else {
      let deadline = min(deadline ?? .max, suspectsDue)
      if deadline <= now { wanted = 0 } else if deadline != .max { timeout = deadline - now }
    }
    expedited = false
    statistics.systemCalls += 1
    Self.check(ring.enter(wait: wanted, timeoutNanoseconds: timeout))
    // Asked before completions are taken: those may fill entries of their own.
    let allTaken = ring.pending == 0
    refreshClocks()
    takeCompletions()
    if allTaken && quietCount > 0 { finishQuietSends() }
    if now >= suspectsDue { lookAtSuspects() }
  }

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
    counters.leasedBuffers = small.leased + large.leased
    counters.coldBytes = small.state.pointee.coldBytes + large.state.pointee.coldBytes
    counters.framesInUse = frames.inUse
    counters.frameRefusals = frames.state.pointee.refusals
    return counters
  }

  private mutating func takeCompletions() {
    if ring.hasOverflowed { statistics.completionQueueOverflows += 1 }
    // Asked anew each time: a full submission queue makes `dispatch` come back here.
    while ring.ready > 0 {
      statistics.completions += 1
      dispatch(ring.take())
    }
    ring.commitTaken()
  }

  @inline(__always)
  private mutating func dispatch(_ completion: clinux_cqe) {
    let index = UInt32(truncatingIfNeeded: completion.user_data)
    let generation = UInt32(truncatingIfNeeded: completion.user_data >> 32) & 0xFF_FFFF
    switch UringOperation(rawValue: UInt8(truncatingIfNeeded: completion.user_data >> 56)) {
    case .receive: received(Int32(bitPattern: index), generation, completion)
    case .send: sent(index, completion.res)
    case .accept: accepted(Int32(bitPattern: index), generation, completion)
    case .connect: connected(Int32(bitPattern: index), generation, completion.res)
    case .file: fileOperationEnded(index, completion.res)
    case .wake: armWake()
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
