// The rings themselves: set-up down a ladder of flags, the mappings, one entry at a time in and
// out. It knows nothing of sockets or files. Whoever owns it drains before it ends.

import CLinux
import Glibc

/// A submission and a completion queue shared with the kernel.
struct Ring: ~Copyable {
  let descriptor: Int32
  let setupFlags: UInt32
  let features: UInt32
  private let sqMapping: UnsafeMutableRawPointer
  private let sqMappingBytes: Int
  private let entries: UnsafeMutablePointer<clinux_sqe>
  private let entriesBytes: Int
  private let sqHead: UnsafeMutablePointer<UInt32>
  private let sqTailShared: UnsafeMutablePointer<UInt32>
  private let sqFlags: UnsafeMutablePointer<UInt32>
  let sqMask: UInt32
  let sqEntries: UInt32
  private var sqTail: UInt32
  private let cqHeadShared: UnsafeMutablePointer<UInt32>
  private let cqTail: UnsafeMutablePointer<UInt32>
  private let cqOverflow: UnsafeMutablePointer<UInt32>
  private let cqMask: UInt32
  private let completions: UnsafeMutablePointer<clinux_cqe>
  private var cqHead: UInt32

  /// From the best to the plainest set of flags that this engine can run on. DEFER_TASKRUN (6.1)
  /// runs completions inside our own enter only: batched and cache hot. NO_SQARRAY is 6.6.
  static let ladder: [UInt32] = {
    let base = UInt32(CLINUX_SETUP_CQSIZE | CLINUX_SETUP_CLAMP)
    let all = UInt32(CLINUX_SETUP_SUBMIT_ALL)
    let single = UInt32(CLINUX_SETUP_SINGLE_ISSUER)
    let deferred = UInt32(CLINUX_SETUP_DEFER_TASKRUN)
    let cooperative = UInt32(CLINUX_SETUP_COOP_TASKRUN)
    let noArray = UInt32(CLINUX_SETUP_NO_SQARRAY)
    return [
      base | all | single | deferred | noArray,
      base | all | single | deferred,
      base | all | single | cooperative,
      base | all | cooperative,
    ]
  }()

  static func describe(_ flags: UInt32) -> String {
    var names: [String] = []
    let table: [(UInt32, String)] = [
      (UInt32(CLINUX_SETUP_SINGLE_ISSUER), "single_issuer"),
      (UInt32(CLINUX_SETUP_DEFER_TASKRUN), "defer_taskrun"),
      (UInt32(CLINUX_SETUP_COOP_TASKRUN), "coop_taskrun"),
      (UInt32(CLINUX_SETUP_SUBMIT_ALL), "submit_all"),
      (UInt32(CLINUX_SETUP_NO_SQARRAY), "no_sqarray"),
    ]
    for (bit, name) in table where flags & bit != 0 { names.append(name) }
    return names.joined(separator: "+")
  }

  /// Sets a ring up with exactly these flags.
  init(entries wanted: Int, completions wantedCompletions: Int, flags: UInt32)
    throws(SystemFailure)
  {
    var parameters = clinux_uring_params()
    parameters.flags = flags
    parameters.cq_entries = UInt32(wantedCompletions)
    let code = clinux_uring_setup(UInt32(wanted), &parameters)
    guard code >= 0 else { throw SystemFailure(code: -code, operation: "io_uring_setup") }
    let sqBytes =
      Int(parameters.sq_off.array)
      + (flags & UInt32(CLINUX_SETUP_NO_SQARRAY) == 0
        ? Int(parameters.sq_entries) * 4 : 0)
    let cqBytes =
      Int(parameters.cq_off.cqes)
      + Int(parameters.cq_entries) * MemoryLayout<clinux_cqe>.stride
    // FEAT_SINGLE_MMAP (5.4): one mapping holds both rings. Every kernel with the features that
    // the ladder's last rung needs has it.
    let mappingBytes = max(sqBytes, cqBytes)
    let slotBytes = Int(parameters.sq_entries) * MemoryLayout<clinux_sqe>.stride
    let access = PROT_READ | PROT_WRITE
    let rings = mmap(
      nil, mappingBytes, access, MAP_SHARED | MAP_POPULATE, code, off_t(CLINUX_OFF_SQ_RING))
    let slots = mmap(
      nil, slotBytes, access, MAP_SHARED | MAP_POPULATE, code, off_t(CLINUX_OFF_SQES))
    guard let rings, rings != MAP_FAILED, let slots, slots != MAP_FAILED else {
      let failure = SystemFailure(code: errno, operation: "mmap of the rings")
      Glibc.close(code)
      throw failure
    }
    // Nothing below can fail: a half-made ring would have no owner to close it.
    descriptor = code
    setupFlags = flags
    features = parameters.features
    sqMappingBytes = mappingBytes
    entriesBytes = slotBytes
    sqMapping = rings
    // SAFETY: the kernel's offsets point into the mapping that it made; each field is what the
    // UAPI says it is.
    func word(_ offset: UInt32) -> UnsafeMutablePointer<UInt32> {
      (rings + Int(offset)).assumingMemoryBound(to: UInt32.self)
    }
    self.entries = slots.assumingMemoryBound(to: clinux_sqe.self)
    sqHead = word(parameters.sq_off.head)
    sqTailShared = word(parameters.sq_off.tail)
    sqFlags = word(parameters.sq_off.flags)
    sqMask = word(parameters.sq_off.ring_mask).pointee
    sqEntries = parameters.sq_entries
    sqTail = sqTailShared.pointee
    cqHeadShared = word(parameters.cq_off.head)
    cqTail = word(parameters.cq_off.tail)
    cqOverflow = word(parameters.cq_off.overflow)
    cqMask = word(parameters.cq_off.ring_mask).pointee
    completions = (rings + Int(parameters.cq_off.cqes)).assumingMemoryBound(to: clinux_cqe.self)
    cqHead = cqHeadShared.pointee
    if flags & UInt32(CLINUX_SETUP_NO_SQARRAY) == 0 {
      let array = word(parameters.sq_off.array)
      for i in 0..<parameters.sq_entries { array[Int(i)] = i }
    }
  }

  /// Unmaps and closes. The kernel tears a ring down asynchronously, so the owner must have
  /// drained: nothing may be in flight that points into memory about to be freed.
  deinit {
    munmap(sqMapping, sqMappingBytes)
    munmap(entries, entriesBytes)
    Glibc.close(descriptor)
  }

  /// Entries filled and not yet taken by the kernel.
  @inline(__always)
  var pending: UInt32 { sqTail &- clinux_load_acquire(sqHead) }

  /// Index of the entry that `nextEntry` will give, for memory that goes with it.
  @inline(__always)
  var nextIndex: Int { Int(sqTail & sqMask) }

  /// A cleared entry, or nil when the queue is full.
  @inline(__always)
  mutating func nextEntry() -> UnsafeMutablePointer<clinux_sqe>? {
    guard pending < sqEntries else { return nil }
    let entry = entries + Int(sqTail & sqMask)
    entry.initialize(to: clinux_sqe())
    sqTail &+= 1
    return entry
  }

  /// Submits what is pending and waits for `wait` completions, at most for the given time (for
  /// ever if negative).
  /// - Returns: entries submitted, or a negated errno (ETIME when the time was up).
  @inline(__always)
  func enter(wait: UInt32, timeoutNanoseconds: Int64) -> Int32 {
    clinux_store_release(sqTailShared, sqTail)
    let submit = pending
    var flags = UInt32(CLINUX_ENTER_GETEVENTS)
    guard wait > 0, timeoutNanoseconds >= 0 else {
      return clinux_uring_enter(descriptor, submit, wait, flags, nil, 0)
    }
    flags |= UInt32(CLINUX_ENTER_EXT_ARG)
    var time = clinux_timespec64(
      tv_sec: timeoutNanoseconds / 1_000_000_000, tv_nsec: timeoutNanoseconds % 1_000_000_000)
    return withUnsafePointer(to: &time) { time in
      var argument = clinux_getevents_arg(
        sigmask: 0, sigmask_sz: 0, min_wait_usec: 0, ts: UInt64(UInt(bitPattern: time)))
      return clinux_uring_enter(
        descriptor, submit, wait, flags, &argument, MemoryLayout<clinux_getevents_arg>.size)
    }
  }

  /// Completions ready to be taken.
  @inline(__always)
  var ready: UInt32 { clinux_load_acquire(cqTail) &- cqHead }

  @inline(__always)
  mutating func take() -> clinux_cqe {
    let completion = completions[Int(cqHead & cqMask)]
    cqHead &+= 1
    return completion
  }

  /// Tells the kernel that the taken completions' places are free.
  @inline(__always)
  func commitTaken() { clinux_store_release(cqHeadShared, cqHead) }

  /// True while completions wait in the kernel because the queue was full.
  @inline(__always)
  var hasOverflowed: Bool {
    clinux_load_relaxed(sqFlags) & UInt32(CLINUX_SQ_CQ_OVERFLOW) != 0
  }
}
