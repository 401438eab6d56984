// The trials of what a ring is: its set-up flags, its registrations that concern no file, its waits, its
// neighbours, and the kernel's worker threads.

import CLinux
import Glibc

extension TrialBench {
  private static let plain = UInt32(CLINUX_SETUP_CQSIZE | CLINUX_SETUP_CLAMP)

  func anyRing() throws(TrialFailure) {
    var ring = try makeRing(Self.plain)
    try ring.nop(.firstResult)
  }

  /// What arrives stays unseen until an enter asks for it, whatever other system calls are made.
  func deferTaskrun() throws(TrialFailure) {
    let flags = UInt32(CLINUX_SETUP_SINGLE_ISSUER | CLINUX_SETUP_DEFER_TASKRUN)
    var ring = try makeRing(Self.plain | flags)
    let pair = try TrialPair()
    try ring.receive(pair.near, into: memory, 8)
    try ring.submit()
    try pair.send("x")
    _ = Glibc.recv(pair.far, memory + 64, 1, Int32(MSG_DONTWAIT))
    try expect(.early, Int64(ring.ring.ready), is: 0)
    try ring.expectNext(.firstResult, is: 1)
  }

  /// More than once around the queue, each in its turn.
  func noSQArray() throws(TrialFailure) {
    var ring = try makeRing(Self.plain | UInt32(CLINUX_SETUP_NO_SQARRAY))
    for round in 0..<5 {
      for _ in 0..<3 { _ = try ring.entry(CLINUX_OP_NOP) }
      for i in 1...3 {
        let completion = try ring.expectNext(.firstResult, is: 0)
        try expect(.kept, Int64(completion.user_data), is: Int64(round * 3 + i))
      }
    }
  }

  /// Enters through the place in the thread's table; the ring's end takes it out again.
  func registeredRing() throws(TrialFailure) {
    var ring = try makeRing()
    let code = ring.ring.register()
    guard code == 0 else { throw TrialFailure(code: code, place: .registration) }
    try ring.nop(.firstResult)
    try ring.nop(.secondResult)
  }

  func ringMessages() throws(TrialFailure) {
    var ring = try makeRing()
    var other = try makeRing()
    let entry = try ring.entry(CLINUX_OP_MSG_RING, other.ring.descriptor)
    entry.pointee.off = 77
    entry.pointee.len = 5
    try ring.expectNext(.firstResult, is: 0)
    let message = try other.expectNext(.secondResult, is: 5)
    try expect(.content, Int64(message.user_data), is: 77)
  }

  /// Two completions are waited for and one comes: the minimum ends the wait, not the deadline.
  func minWait() throws(TrialFailure) {
    var ring = try makeRing()
    guard ring.ring.features & UInt32(CLINUX_FEAT_MIN_TIMEOUT) != 0 else {
      throw TrialFailure(code: -EINVAL, place: .setup)
    }
    _ = try ring.entry(CLINUX_OP_NOP)
    let start = SystemClock.monotonicNanoseconds()
    let code = ring.ring.enter(
      wait: 2, timeoutNanoseconds: Self.timeoutNanoseconds,
      minWait: UInt32(Self.shortWaitNanoseconds / 1000))
    let waited = SystemClock.monotonicNanoseconds() - start
    try expect(.submission, code, is: 1)
    try ring.expectNext(.firstResult, is: 0)
    guard waited >= Self.shortWaitNanoseconds, waited < Self.timeoutNanoseconds else {
      throw TrialFailure(
        code: ProbeOutcome.wrong, place: .time, got: waited, wanted: Self.shortWaitNanoseconds)
    }
  }

  /// On a ring with the flags that growth needs, whether the engine's will have them or not.
  func ringResize() throws(TrialFailure) {
    let flags = CLINUX_SETUP_SINGLE_ISSUER | CLINUX_SETUP_DEFER_TASKRUN | CLINUX_SETUP_NO_SQARRAY
    var ring = try makeRing(Self.plain | UInt32(flags), completions: 16)
    for _ in 0..<3 { _ = try ring.entry(CLINUX_OP_NOP) }
    try ring.submit()
    let code = ring.ring.growCompletions(to: 64)
    guard code == 0 else { throw TrialFailure(code: code, place: .registration) }
    try expect(.readingBack, Int64(ring.ring.cqEntries), is: 64)
    for i in 1...3 {
      let completion = try ring.expectNext(.kept, is: 0)
      try expect(.kept, Int64(completion.user_data), is: Int64(i))
    }
    try ring.nop(.after)
  }

  /// Only what the kernel says can be judged here: no device is polled before a packet of its own has
  /// come, and on the loopback interface there is none.
  func ringBusyPoll() throws(TrialFailure) {
    var ring = try makeRing()
    // The call gives the earlier setting back: asking for the same again reads it.
    var found = clinux_napi()
    for _ in 0..<2 {
      found = clinux_napi()
      found.busy_poll_to = settings.busyPollMicroseconds
      found.prefer_busy_poll = 1
      try ring.register(CLINUX_REGISTER_NAPI, &found, 1)
    }
    try expect(
      .readingBack, seen(Int32(clamping: found.busy_poll_to)),
      is: Int32(clamping: settings.busyPollMicroseconds))
    try expect(.readingBack, Int64(found.prefer_busy_poll), is: 1)
    try ring.nop(.after)
    let pair = try TrialPair()
    try ring.receive(pair.near, into: memory, 8)
    try ring.submit()
    try pair.send("x")
    try ring.expectNext(.after, is: 1)
  }

  func submissionThread() throws(TrialFailure) {
    var flags = Self.plain | UInt32(CLINUX_SETUP_SQPOLL)
    if settings.submissionThreadCPU != nil { flags |= UInt32(CLINUX_SETUP_SQ_AFF) }
    var ring = try makeRing(flags, threadIdle: 1)
    for place in [TrialPlace.firstResult, .secondResult] {
      _ = try ring.entry(CLINUX_OP_NOP)
      ring.ring.publish()
      let extra = ring.ring.threadSleeps ? UInt32(CLINUX_ENTER_SQ_WAKEUP) : 0
      let completion = try ring.next(place, extra: extra)
      try expect(place, completion.res, is: 0)
      if place == .secondResult { return }
      // It must fall asleep, and the second no-operation wake it.
      let limit = SystemClock.monotonicNanoseconds() + Self.timeoutNanoseconds
      while !ring.ring.threadSleeps {
        if SystemClock.monotonicNanoseconds() > limit {
          throw TrialFailure(code: -ETIME, place: .time)
        }
        usleep(100)
      }
    }
  }

  // MARK: Worker threads

  /// Sets the bound, reads it back (the call with zeroes changes nothing), and has a worker work.
  func workerLimits() throws(TrialFailure) {
    var ring = try makeRing()
    var limits: (UInt32, UInt32) = (2, 2)
    try ring.register(CLINUX_REGISTER_IOWQ_MAX_WORKERS, &limits, 2)
    limits = (0, 0)
    try ring.register(CLINUX_REGISTER_IOWQ_MAX_WORKERS, &limits, 2)
    try expect(.readingBack, seen(Int32(clamping: limits.0)), is: 2)
    try expect(.readingBack, Int64(limits.1), is: 2)
    try ring.nop(.after, flags: CLINUX_SQE_ASYNC)
  }

  /// Binds workers to one CPU, has one made, and looks where it may run.
  func workerAffinity() throws(TrialFailure) {
    let words = memory.bindMemory(to: UInt64.self, capacity: 32)
    memset(words, 0, 256)
    let count = clinux_affinity(words, 16)
    guard count > 0 else { throw TrialFailure(code: count, place: .socket) }
    var isFound = false
    for i in 0..<16 {
      // The lowest CPU that is allowed, and no other.
      words[i] = isFound ? 0 : words[i] & (0 &- words[i])
      if words[i] != 0 { isFound = true }
    }
    var ring = try makeRing()
    let code = clinux_uring_register(
      ring.ring.descriptor, UInt32(CLINUX_REGISTER_IOWQ_AFF), words, 16 * 8)
    guard code >= 0 else { throw TrialFailure(code: code, place: .registration) }
    try ring.nop(.firstResult, flags: CLINUX_SQE_ASYNC)
    // Without /proc there is nothing to look at.
    guard let directory = opendir("/proc/self/task") else { return }
    defer { closedir(directory) }
    var workers = 0
    while let name = readdir(directory) {
      let thread = withUnsafePointer(to: &name.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { atoi($0) }
      }
      guard thread > 0, thread != getpid() else { continue }
      memset(words + 16, 0, 128)
      guard clinux_affinity_of(thread, words + 16, 16) > 0 else { continue }
      try require(.worker, memcmp(words, words + 16, 128) == 0)
      workers += 1
    }
    try require(.worker, workers > 0)
  }
}
