// The rings themselves: set-up with given flags, the mappings, one entry at a time in and out, the
// enter in each of its forms, and growth of the completion queue. It knows nothing of sockets or files. Whoever owns it drains before it ends.
//
// TRAP: (file) address space is reserved when an engine is made, before the first connection.

import CLinux
import Glibc

/// A submission and a completion queue shared with the kernel.
struct Ring: ~Copyable {
  let descriptor: Int32
  let setupFlags: UInt32
  let features: UInt32
  /// What an enter names: the descriptor, or its place in the thread's registered rings.
  private var enterTarget: Int32
  /// REGISTERED_RING once the ring is registered.
  private var enterFlags = UInt32(CLINUX_ENTER_GETEVENTS)
  /// The thread that registered the ring: only there does `enterTarget` mean it.
  private var registrar: pthread_t = 0
  private var sqMapping: UnsafeMutableRawPointer
  private var sqMappingBytes: Int
  private var entries: UnsafeMutablePointer<clinux_sqe>
  private var entriesBytes: Int
  private var sqHead: UnsafeMutablePointer<UInt32>
  private var sqTailShared: UnsafeMutablePointer<UInt32>
  private var sqFlags: UnsafeMutablePointer<UInt32>
  let sqMask: UInt32
  let sqEntries: UInt32
  private var sqTail: UInt32
  /// Where the queue was full when the kernel's head was last looked at: the head has only moved on
  /// since, and it lies in a cache line that the kernel writes.
  private var sqFullAt: UInt32
  private var cqHeadShared: UnsafeMutablePointer<UInt32>
  private var cqTail: UnsafeMutablePointer<UInt32>
  private var cqMask: UInt32
  private var completions: UnsafeMutablePointer<clinux_cqe>
  /// Completions taken, modulo 2^32.
  private(set) var taken: UInt32

  static func describe(_ flags: UInt32) -> String {
    var names: [String] = []
    let table: [(UInt32, String)] = [
      (UInt32(CLINUX_SETUP_SINGLE_ISSUER), "single_issuer"),
      (UInt32(CLINUX_SETUP_DEFER_TASKRUN), "defer_taskrun"),
      (UInt32(CLINUX_SETUP_COOP_TASKRUN), "coop_taskrun"),
      (UInt32(CLINUX_SETUP_SUBMIT_ALL), "submit_all"),
      (UInt32(CLINUX_SETUP_NO_SQARRAY), "no_sqarray"),
      (UInt32(CLINUX_SETUP_SQPOLL), "sqpoll"),
    ]
    for (bit, name) in table where flags & bit != 0 { names.append(name) }
    return names.joined(separator: "+")
  }

  /// Sets a ring up with exactly these flags.
  /// - Parameters:
  ///   - threadIdle: with SQPOLL, milliseconds that the kernel's thread spins without work.
  ///   - threadCPU: with SQ_AFF, the CPU of that thread.
  init(
    entries wanted: Int, completions wantedCompletions: Int, flags: UInt32, threadIdle: Int = 0,
    threadCPU: Int = 0
  ) throws(SystemFailure) {
    var parameters = clinux_uring_params()
    parameters.flags = flags
    parameters.cq_entries = UInt32(wantedCompletions)
    parameters.sq_thread_idle = UInt32(threadIdle)
    parameters.sq_thread_cpu = UInt32(threadCPU)
    let code = clinux_uring_setup(UInt32(wanted), &parameters)
    guard code >= 0 else { throw SystemFailure(code: -code, operation: "io_uring_setup") }
    let maps: RingMaps
    do throws(SystemFailure) {
      maps = try RingMaps(code, parameters, flags)
    } catch {
      Glibc.close(code)
      throw error
    }
    // Nothing below can fail: a half-made ring would have no owner to close it.
    descriptor = code
    enterTarget = code
    setupFlags = flags
    features = parameters.features
    sqEntries = parameters.sq_entries
    sqMask = maps.word(parameters.sq_off.ring_mask).pointee
    sqMappingBytes = maps.ringBytes
    entriesBytes = maps.entriesBytes
    sqMapping = maps.rings
    entries = maps.entries
    sqHead = maps.word(parameters.sq_off.head)
    sqTailShared = maps.word(parameters.sq_off.tail)
    sqFlags = maps.word(parameters.sq_off.flags)
    sqTail = sqTailShared.pointee
    sqFullAt = sqTail
    cqHeadShared = maps.word(parameters.cq_off.head)
    cqTail = maps.word(parameters.cq_off.tail)
    cqMask = maps.word(parameters.cq_off.ring_mask).pointee
    completions = maps.completions(parameters)
    taken = cqHeadShared.pointee
  }

  /// Unmaps and closes. The kernel tears a ring down asynchronously, so the owner must have
  /// drained: nothing may be in flight that points into memory about to be freed.
  deinit {
    unregister()
    munmap(sqMapping, sqMappingBytes)
    munmap(entries, entriesBytes)
    Glibc.close(descriptor)
  }

  /// Entries filled and not yet taken by the kernel.
  @inline(__always)
  var pending: UInt32 { sqTail &- clinux_load_acquire(sqHead) }

  /// True while entries were filled that the kernel's thread cannot see yet.
  var hasUnpublished: Bool { sqTail != clinux_load_relaxed(sqTailShared) }

  /// Index of the entry that `nextEntry` will give, for memory that goes with it.
  @inline(__always)
  var nextIndex: Int { Int(sqTail & sqMask) }

  /// A cleared entry, or nil when the queue is full.
  @inline(__always)
  mutating func nextEntry() -> UnsafeMutablePointer<clinux_sqe>? {
    if sqTail == sqFullAt {
      sqFullAt = clinux_load_acquire(sqHead) &+ sqEntries
      if sqTail == sqFullAt { return nil }
    }
    let entry = entries + Int(sqTail & sqMask)
    entry.initialize(to: clinux_sqe())
    sqTail &+= 1
    return entry
  }

  /// True when a thread of the kernel takes the entries (SQPOLL).
  @inline(__always)
  var hasThread: Bool { setupFlags & UInt32(CLINUX_SETUP_SQPOLL) != 0 }

  /// Makes the entries that were filled visible to the kernel.
  @inline(__always)
  func publish() { clinux_store_release(sqTailShared, sqTail) }

  /// True when the kernel's thread sleeps and must be woken to see what was published. The fence
  /// orders our tail before its flag, as its own orders its flag before our tail.
  @inline(__always)
  var threadSleeps: Bool {
    clinux_full_fence()
    return clinux_load_relaxed(sqFlags) & UInt32(CLINUX_SQ_NEED_WAKEUP) != 0
  }

  /// Submits what is pending and waits for `wait` completions, at most for the given time (for
  /// ever if negative).
  /// - Parameters:
  ///   - minWait: microseconds after which any completion suffices (6.12); 0: not used.
  ///   - extra: further IORING_ENTER flags.
  /// - Returns: entries submitted, or a negated errno (ETIME when the time was up).
  @inline(__always)
  func enter(
    wait: UInt32, timeoutNanoseconds: Int64, minWait: UInt32 = 0, extra: UInt32 = 0
  ) -> Int32 {
    publish()
    let submit = pending
    var flags = enterFlags | extra
    guard wait > 0, timeoutNanoseconds >= 0 else {
      return clinux_uring_enter(enterTarget, submit, wait, flags, nil, 0)
    }
    flags |= UInt32(CLINUX_ENTER_EXT_ARG)
    var time = clinux_timespec64(
      tv_sec: timeoutNanoseconds / 1_000_000_000, tv_nsec: timeoutNanoseconds % 1_000_000_000)
    return withUnsafePointer(to: &time) { time in
      var argument = clinux_getevents_arg(
        sigmask: 0, sigmask_sz: 0, min_wait_usec: minWait, ts: UInt64(UInt(bitPattern: time)))
      return clinux_uring_enter(
        enterTarget, submit, wait, flags, &argument, MemoryLayout<clinux_getevents_arg>.size)
    }
  }

  /// Submits what is pending, from whatever thread an engine ends on: by the descriptor, because there
  /// a registered place may be another ring's.
  /// - Returns: entries submitted, or a negated errno.
  func enterAtEnd() -> Int32 {
    publish()
    let wake = hasThread ? UInt32(CLINUX_ENTER_SQ_WAKEUP) : 0
    let flags = UInt32(CLINUX_ENTER_GETEVENTS) | wake
    return clinux_uring_enter(descriptor, pending, 0, flags, nil, 0)
  }

  /// Registers the ring with the calling thread, so that an enter need not look its descriptor up
  /// (5.18). From here on only this thread may use it.
  /// - Returns: 0 or a negated errno.
  mutating func register() -> Int32 {
    var update = clinux_rsrc_update(offset: .max, resv: 0, data: UInt64(descriptor))
    let code = clinux_uring_ask(
      descriptor, UInt32(CLINUX_REGISTER_RING_FDS), &update, 1)
    guard code == 1 else { return code < 0 ? code : -EINVAL }
    enterTarget = Int32(update.offset)
    enterFlags |= UInt32(CLINUX_ENTER_REGISTERED_RING)
    registrar = pthread_self()
    return 0
  }

  /// On another thread the same place means another ring: there the registration stays until the
  /// thread that made it ends.
  private func unregister() {
    guard registrar != 0, registrar == pthread_self() else { return }
    var update = clinux_rsrc_update(offset: UInt32(enterTarget), resv: 0, data: 0)
    _ = clinux_uring_register(descriptor, UInt32(CLINUX_UNREGISTER_RING_FDS), &update, 1)
  }

  // MARK: The completion queue

  /// Places in the completion queue.
  @inline(__always)
  var cqEntries: UInt32 { cqMask &+ 1 }

  /// Gives the completion queue at least this many places (6.13; DEFER_TASKRUN, and NO_SQARRAY
  /// because the kernel does not tell where the new array lies). What waits in either queue stays there.
  /// - Returns: 0 or a negated errno; after an error nothing has changed.
  mutating func growCompletions(to wanted: Int) -> Int32 {
    publish()
    commitTaken()
    var parameters = clinux_uring_params()
    parameters.flags = UInt32(CLINUX_SETUP_CQSIZE | CLINUX_SETUP_CLAMP)
    parameters.sq_entries = sqEntries
    parameters.cq_entries = UInt32(wanted)
    let code = clinux_uring_ask(
      descriptor, UInt32(CLINUX_REGISTER_RESIZE_RINGS), &parameters, 1)
    guard code >= 0 else { return code }
    let maps: RingMaps
    do throws(SystemFailure) {
      maps = try RingMaps(descriptor, parameters, setupFlags)
    } catch {
      // The kernel has left the old rings behind: without the new ones there is no engine.
      preconditionFailure("no address space for the rings of an engine")
    }
    munmap(sqMapping, sqMappingBytes)
    munmap(entries, entriesBytes)
    sqMappingBytes = maps.ringBytes
    entriesBytes = maps.entriesBytes
    sqMapping = maps.rings
    entries = maps.entries
    sqHead = maps.word(parameters.sq_off.head)
    sqTailShared = maps.word(parameters.sq_off.tail)
    sqFlags = maps.word(parameters.sq_off.flags)
    cqHeadShared = maps.word(parameters.cq_off.head)
    cqTail = maps.word(parameters.cq_off.tail)
    cqMask = maps.word(parameters.cq_off.ring_mask).pointee
    completions = maps.completions(parameters)
    return 0
  }

  /// Completions ready to be taken.
  @inline(__always)
  var ready: UInt32 { clinux_load_acquire(cqTail) &- taken }

  @inline(__always)
  mutating func take() -> clinux_cqe {
    let completion = completions[Int(taken & cqMask)]
    taken &+= 1
    return completion
  }

  /// Tells the kernel that the taken completions' places are free.
  @inline(__always)
  func commitTaken() { clinux_store_release(cqHeadShared, taken) }

  /// True while completions wait in the kernel because the queue was full.
  @inline(__always)
  var hasOverflowed: Bool {
    clinux_load_relaxed(sqFlags) & UInt32(CLINUX_SQ_CQ_OVERFLOW) != 0
  }
}
