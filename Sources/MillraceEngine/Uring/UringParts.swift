// What set-up can fail on, made before anything else is: the ring, down the ladder and in smaller
// sizes where memory is short, the buffer rings, and every registration. What can be done without
// is noted and left out.

import CLinux
import Glibc

struct UringParts: ~Copyable {
  let ring: Ring
  let smallRing: ProvidedBuffers
  let largeRing: ProvidedBuffers
  let registered: RegisteredBuffers
  let wake: WakeDescriptor
  let use: FeatureUse
  /// How often the rings had to be halved for want of memory.
  let reductions: Int

  init(_ options: EngineOptions) throws(SystemFailure) {
    let wake = try WakeDescriptor()
    var use = FeatureUse(Self.concerned, options)
    var reductions = 0
    var ring = try Self.open(options, &use, &reductions)
    Self.judge(ring, &use)
    if use.contains(.ringResize) { Self.tryGrowth(&ring, options, &use) }
    let smallRing = try Self.smallRing(ring, options, &use)
    let largeRing = try ProvidedBuffers(
      ring: ring.descriptor, group: 1,
      depth: Uring.depth(of: options.largeBuffers, atMost: Uring.largeRingDepth))
    let registered = RegisteredBuffers(
      count: options.registeredBuffers, size: options.registeredBufferSize)
    Self.register(registered, with: ring, &use)
    Self.registerSlots(ring, options, &use)
    Self.tuneWorkers(ring, options, &use)
    Self.pollDevices(ring, options, &use)
    // Last: every registration above names the descriptor.
    if use.contains(.registeredRing) {
      let code = ring.register()
      if code < 0 { use.refuse(.registeredRing, errno: -code) }
    }
    self.ring = ring
    self.smallRing = smallRing
    self.largeRing = largeRing
    self.registered = registered
    self.use = use
    self.reductions = reductions
    self.wake = wake
  }

  /// The features of this engine.
  private static let concerned = EngineFeatures.all.reduce(into: EngineFeatures()) {
    if $1.engine == .uring || $1.engine == nil { $0.formUnion($1.feature) }
  }

  // MARK: The ring

  /// Places in the rings below which set-up gives up: a turn needs some.
  private static let fewestEntries = 64

  /// Opens a ring on the best rung that works. Where the kernel's thread is refused, there is none;
  /// where memory is short, the rings are halved.
  private static func open(
    _ options: EngineOptions, _ use: inout FeatureUse, _ reductions: inout Int
  ) throws(SystemFailure) -> Ring {
    do throws(SystemFailure) {
      return try openReduced(options, use.active, &reductions)
    } catch {
      guard use.contains(.submissionThread) else { throw error }
      use.refuse(.submissionThread, errno: error.code)
      return try openReduced(options, use.active, &reductions)
    }
  }

  private static func openReduced(
    _ options: EngineOptions, _ features: EngineFeatures, _ reductions: inout Int
  ) throws(SystemFailure) -> Ring {
    var entries = options.submissionEntries
    var completions = options.completionEntries
    if features.contains(.ringResize) {
      // Half of where it starts in earnest: the first growth is the proof that growth works.
      completions = min(completions, max(entries, Ring.smallCompletions))
    }
    while true {
      do throws(SystemFailure) {
        return try openLadder(options, features, entries, completions)
      } catch {
        guard error.code == ENOMEM, entries > fewestEntries else { throw error }
        entries = max(fewestEntries, entries / 2)
        completions = max(entries, completions / 2)
        reductions += 1
      }
    }
  }

  private static func openLadder(
    _ options: EngineOptions, _ features: EngineFeatures, _ entries: Int, _ completions: Int
  ) throws(SystemFailure) -> Ring {
    let cpu = options.submissionThreadCPU
    var failure = SystemFailure(code: EINVAL, operation: "io_uring_setup")
    for flags in Ring.rungs(features, proved: options.setupFlags, cpu: cpu) {
      do throws(SystemFailure) {
        return try Ring(
          entries: entries, completions: completions, flags: flags,
          threadIdle: options.submissionThreadIdle, threadCPU: cpu ?? 0)
      } catch {
        failure = error
        guard error.code == EINVAL else { break }
      }
    }
    throw failure
  }

  /// Compares what is wanted with the ring that came of it.
  private static func judge(_ ring: borrowing Ring, _ use: inout FeatureUse) {
    let flags = ring.setupFlags
    if flags & UInt32(CLINUX_SETUP_DEFER_TASKRUN) == 0 {
      if use.contains(.submissionThread) {
        use.giveUp(.deferTaskrun, "conflicts with sqpoll: the kernel thread runs completions")
      }
      use.refuse(.deferTaskrun, errno: EINVAL)
      use.giveUp(.ringResize, "needs defer_taskrun")
    }
    if flags & UInt32(CLINUX_SETUP_NO_SQARRAY) == 0 {
      use.refuse(.noSQArray, errno: EINVAL)
      use.giveUp(.ringResize, "needs no_sqarray")
    }
    if use.contains(.submissionThread) {
      use.giveUp(.quietSends, "conflicts with sqpoll: submission is asynchronous")
      // A process that crashes waits for the kernel's thread before it closes its sockets, and the
      // thread waits, spinning, for the notifications. Where the receiver is the same process, no
      // signal ends either (seen on Linux 6.18).
      use.giveUp(.zeroCopySend, "conflicts with sqpoll: a crashed process could not exit")
    }
    func needs(_ bit: Int, _ feature: EngineFeatures) {
      if ring.features & UInt32(bit) == 0 { use.refuse(feature, errno: EINVAL) }
    }
    needs(CLINUX_FEAT_CQE_SKIP, .quietSends)
    needs(CLINUX_FEAT_LINKED_FILE, .linkedChains)
    needs(CLINUX_FEAT_MIN_TIMEOUT, .minWait)
    needs(CLINUX_FEAT_RECVSEND_BUNDLE, .receiveBundles)
    // Both together are 6.15, and a bundle that ends within a buffer is their worst corner.
    if use.contains(.incrementalBuffers) {
      use.giveUp(.receiveBundles, "conflicts with incremental_buffers")
    }
    // Bytes of a bundle could come in the wrong order before the fix of 6.16.
    if let release = KernelRelease.current, release.isBetween((6, 13), and: (6, 15)) {
      use.refuse(
        .receiveBundles, "Linux \(release) may return the buffers of a bundle out of order")
    }
    if use.contains(.minWait) && use.contains(.submissionThread) {
      use.giveUp(.minWait, "conflicts with sqpoll")
    }
    let operations = RingOperations(ring.descriptor)
    func has(_ opcode: Int, _ feature: EngineFeatures) {
      if !operations.has(opcode) { use.refuse(feature, errno: EINVAL) }
    }
    has(CLINUX_OP_SENDMSG_ZC, .zeroCopySend)
    has(CLINUX_OP_MSG_RING, .ringMessages)
  }

  /// Grows the queue once, to the size that it starts with.
  private static func tryGrowth(
    _ ring: inout Ring, _ options: EngineOptions, _ use: inout FeatureUse
  ) {
    let wanted = min(options.completionEntries, Int(ring.cqEntries) * 2)
    let code = ring.growCompletions(to: wanted)
    if code != 0 { use.refuse(.ringResize, errno: -code) }
  }

  // MARK: Registrations

  private static func smallRing(
    _ ring: borrowing Ring, _ options: EngineOptions, _ use: inout FeatureUse
  ) throws(SystemFailure) -> ProvidedBuffers {
    let depth = Uring.depth(of: options.smallBuffers, atMost: Uring.smallRingDepth)
    if use.contains(.incrementalBuffers) {
      do throws(SystemFailure) {
        return try ProvidedBuffers(
          ring: ring.descriptor, group: 0, depth: depth, tracked: options.smallBuffers,
          incremental: true)
      } catch {
        use.refuse(.incrementalBuffers, errno: error.code)
      }
    }
    return try ProvidedBuffers(
      ring: ring.descriptor, group: 0, depth: depth,
      tracked: use.contains(.receiveBundles) ? options.smallBuffers : 0)
  }

  private static func register(
    _ buffers: borrowing RegisteredBuffers, with ring: borrowing Ring, _ use: inout FeatureUse
  ) {
    guard use.contains(.registeredBuffers) else { return }
    guard buffers.count > 0 else {
      return use.giveUp(.registeredBuffers, "no registered buffers were requested")
    }
    let code = buffers.register(with: ring.descriptor)
    guard code < 0 else { return }
    // Pinned pages are charged to RLIMIT_MEMLOCK for whoever lacks CAP_IPC_LOCK.
    use.refuse(
      .registeredBuffers,
      code == -ENOMEM
        ? "\(ErrorText.full(ENOMEM)): raise RLIMIT_MEMLOCK (ulimit -l)"
        : FeatureUse.words(.registeredBuffers, -code))
  }

  /// An empty table of direct descriptors (5.19). Without it the engine keeps what the slots stand
  /// for, and then the kernel cannot run a chain that opens one.
  private static func registerSlots(
    _ ring: borrowing Ring, _ options: EngineOptions, _ use: inout FeatureUse
  ) {
    guard options.directDescriptors > 0 else {
      return use.giveUp(.directDescriptors, "no direct descriptors were requested")
    }
    if use.contains(.directDescriptors) {
      var table = clinux_rsrc_register()
      table.nr = UInt32(options.directDescriptors)
      table.flags = UInt32(CLINUX_RSRC_REGISTER_SPARSE)
      let code = clinux_uring_register(
        ring.descriptor, UInt32(CLINUX_REGISTER_FILES2), &table,
        UInt32(MemoryLayout<clinux_rsrc_register>.size))
      if code >= 0 { return }
      use.refuse(.directDescriptors, errno: -code)
    }
    use.giveUp(.linkedChains, "needs direct_descriptors")
  }

  private static func tuneWorkers(
    _ ring: borrowing Ring, _ options: EngineOptions, _ use: inout FeatureUse
  ) {
    if use.contains(.workerLimits) {
      // Bounded and unbounded io-wq workers (5.15).
      var workers = (UInt32(options.fileThreads), UInt32(options.fileThreads))
      let code = clinux_uring_register(
        ring.descriptor, UInt32(CLINUX_REGISTER_IOWQ_MAX_WORKERS), &workers, 2)
      if code < 0 { use.refuse(.workerLimits, errno: -code) }
    }
    if use.contains(.workerAffinity) {
      var words = [UInt64](repeating: 0, count: 16)
      var code = clinux_affinity(&words, 16)
      if code > 0 {
        code = clinux_uring_register(
          ring.descriptor, UInt32(CLINUX_REGISTER_IOWQ_AFF), &words, 16 * 8)
      }
      if code < 0 { use.refuse(.workerAffinity, errno: -code) }
    }
  }

  /// Busy polling takes effect on sockets whose packets come from a device with NAPI; here it can
  /// only be seen that the kernel took the setting.
  private static func pollDevices(
    _ ring: borrowing Ring, _ options: EngineOptions, _ use: inout FeatureUse
  ) {
    guard use.contains(.busyPoll) else { return }
    let wanted = UInt32(options.busyPollMicroseconds)
    var setting = clinux_napi()
    setting.busy_poll_to = wanted
    setting.prefer_busy_poll = 1
    var code = clinux_uring_ask(
      ring.descriptor, UInt32(CLINUX_REGISTER_NAPI), &setting, 1)
    guard code >= 0 else { return use.refuse(.busyPoll, errno: -code) }
    // The call gives the earlier setting back: ask for the same again to read it.
    setting = clinux_napi()
    setting.busy_poll_to = wanted
    setting.prefer_busy_poll = 1
    code = clinux_uring_ask(ring.descriptor, UInt32(CLINUX_REGISTER_NAPI), &setting, 1)
    if code < 0 || setting.busy_poll_to != wanted {
      use.refuse(.busyPoll, "the kernel accepted the setting but did not apply it")
    }
  }
}
