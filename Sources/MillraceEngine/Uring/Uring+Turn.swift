// The turn: one enter that submits and waits, then every completion that is there. With a kernel
// thread that takes submissions the enter is left out where there is nothing to wait for.

import CLinux
import Glibc

extension Uring {
  public mutating func wait(until deadline: Int64?) {
    turn(until: deadline, coalescing: 1, before: 0)
  }

  public mutating func wait(until deadline: Int64?, coalescing count: Int, before limit: Int64) {
    turn(until: deadline, coalescing: count, before: limit)
  }

  @inline(__always)
  public mutating func submit() {
    // TRAP: the caller's order of calls, which no event changes: chains are made and closed by code
    // in one go.
    precondition(!chainIsOpen, "a submission while a chain is open")
    guard ring.pending > 0 else { return }
    if ring.hasThread { turnBesideThread(0, -1) } else { submitNow() }
  }

  @inline(__always)
  private mutating func turn(until deadline: Int64?, coalescing count: Int, before limit: Int64) {
    // TRAP: the caller's order of calls, which no event changes: chains are made and closed by code
    // in one go.
    precondition(!chainIsOpen, "a wait while a chain is open")
    statistics.turns += 1
    pollSignal.clear()
    queue.rewind()
    while let completion = later.popFirst() { queue.append(completion) }
    if linkedCancels > 0 { repeatLinkedCancels() }
    if !cancelledSends.isEmpty { repeatSendCancels() }
    let receivesWait = restock()
    var timeout: Int64 = -1
    var wanted: UInt32 = 1
    if !queue.isEmpty || expedited || receivesWait {
      wanted = 0
    } else {
      let deadline = min(deadline ?? .max, suspectsDue)
      if deadline <= now {
        wanted = 0
      } else if deadline != .max {
        // `now` is as old as the turn's work: a sleep is measured from here.
        timeout = max(0, deadline - SystemClock.monotonicNanoseconds())
        if timeout == 0 { wanted = 0 }
      }
    }
    expedited = false
    if ring.hasThread {
      turnBesideThread(wanted, timeout)
    } else if wanted > 0 && count > 1 && limit > now
      && limit > SystemClock.monotonicNanoseconds()
    {
      coalesce(count, before: limit, timeout)
    } else if wanted > 0 && minWaitMicroseconds > 0 {
      waitForBatch(timeout)
    } else {
      statistics.systemCalls += 1
      Self.check(ring.enter(wait: wanted, timeoutNanoseconds: timeout))
    }
    // Asked before completions are taken: those may fill entries of their own.
    let allTaken = ring.pending == 0
    refreshClocks()
    takeCompletions()
    if allTaken && quietCount > 0 {
      // What did not fit into the queue may say that one of them failed.
      while ring.hasOverflowed { fetchOverflowed() }
      finishQuietSends()
    }
    if now >= suspectsDue { lookAtSuspects() }
    if pollSignal.isWatched { tellOtherLoop() }
  }

  /// Tells a loop that sleeps on `pollDescriptor` what the kernel will not: that the turn has left
  /// something to submit, receives that can go on, or a time to look at silent sockets. Where the turn
  /// has completions, that loop turns the engine once more anyhow.
  @inline(never)
  private mutating func tellOtherLoop() {
    pollSignal.setDeadline(suspectsDue)
    if foreignPollEnded {
      foreignPollEnded = false
      pollSignal.renew(ring.descriptor)
    }
    let receivesGoOn =
      (!starvedSmall.isEmpty && (smallRing.provided > 0 || small.freeCount > 0))
      || (!starvedLarge.isEmpty && (largeRing.provided > 0 || large.freeCount > 0))
    // A thread of the kernel takes what it can see by itself, and the kernel tells of its completions.
    let leaves = ring.hasThread ? ring.hasUnpublished : ring.pending > 0
    if queue.isEmpty && (receivesGoOn || leaves || ring.hasOverflowed) {
      pollSignal.raise()
    }
  }

  /// Has the kernel move completions that found the queue full into it, and takes them.
  @inline(never)
  private mutating func fetchOverflowed() {
    statistics.systemCalls += 1
    Self.check(ring.enter(wait: 0, timeoutNanoseconds: -1))
    takeCompletions()
  }

  /// The longest wait that `waitForBatch` makes: without a general timeout, or with one that the
  /// kernel takes for endless, it would end a wait of no event at all with the minimum's end.
  private static let longWait: Int64 = 3_600_000_000_000

  /// Waits for several completions, or after the minimum for any; never past the deadline.
  @inline(never)
  private mutating func waitForBatch(_ timeout: Int64) {
    statistics.systemCalls += 1
    let limit = timeout < 0 ? Self.longWait : min(timeout, Self.longWait)
    // A minimum that reaches the deadline adds nothing; the kernel then waits for the deadline.
    let minimum = min(Int64(minWaitMicroseconds), limit / 1000)
    guard minimum > 0 else {
      return Self.check(ring.enter(wait: 1, timeoutNanoseconds: limit))
    }
    Self.check(
      ring.enter(
        wait: batchCompletions, timeoutNanoseconds: limit, minWait: UInt32(minimum)))
  }

  /// Waits for several completions, but no longer than until the limit, or the timeout if that ends first.
  @inline(never)
  private mutating func coalesce(_ count: Int, before limit: Int64, _ timeout: Int64) {
    statistics.systemCalls += 1
    statistics.coalescedWaits += 1
    let rest = max(0, limit - SystemClock.monotonicNanoseconds())
    // Most of what is submitted now are sends, which end at once and are not what is waited for. The
    // kernel waits for a full completion queue at the most.
    let wanted = max(1, count + Int(ring.pending) - quietCount)
    Self.check(
      ring.enter(
        wait: UInt32(clamping: wanted), timeoutNanoseconds: timeout < 0 ? rest : min(rest, timeout))
    )
    guard ring.ready == 0 else { return }
    // A kernel may end a wait by its time without having done the work that it had put off.
    statistics.systemCalls += 1
    Self.check(ring.enter(wait: 0, timeoutNanoseconds: -1))
  }

  /// A turn whose submissions a thread of the kernel takes: a system call only to wake it, to
  /// sleep, or to fetch completions that did not fit.
  @inline(never)
  private mutating func turnBesideThread(_ wanted: UInt32, _ timeout: Int64) {
    var extra: UInt32 = 0
    if ring.pending > 0 {
      ring.publish()
      if ring.threadSleeps {
        extra = UInt32(CLINUX_ENTER_SQ_WAKEUP)
        statistics.submissionThreadWakes += 1
      }
    }
    let sleeps = wanted > 0 && ring.ready == 0
    guard extra != 0 || sleeps || ring.hasOverflowed else { return }
    statistics.systemCalls += 1
    Self.check(
      ring.enter(wait: sleeps ? wanted : 0, timeoutNanoseconds: timeout, extra: extra))
  }

  /// Submits what is pending, outside the turn's own enter. Beside a kernel thread it returns when
  /// there is room for another entry.
  @inline(never)
  mutating func submitNow() {
    // The places of what was taken so far, so that a full completion queue has room.
    ring.commitTaken()
    statistics.systemCalls += 1
    guard ring.hasThread else {
      return Self.check(ring.enter(wait: 0, timeoutNanoseconds: -1))
    }
    ring.publish()
    var extra = UInt32(CLINUX_ENTER_SQ_WAIT)
    if ring.threadSleeps {
      extra |= UInt32(CLINUX_ENTER_SQ_WAKEUP)
      statistics.submissionThreadWakes += 1
    }
    Self.check(ring.enter(wait: 0, timeoutNanoseconds: -1, extra: extra))
  }

  /// Returns when every entry has been tried once: the kernel moves the queue's head when it has
  /// issued a batch.
  mutating func submitAndTry() {
    guard ring.pending > 0 else { return }
    submitNow()
    guard ring.hasThread else { return }
    while ring.pending > 0 {
      if ring.threadSleeps { submitNow() }
      sched_yield()
    }
  }

  /// The end of the engine: what was submitted and not yet taken (closes, cancellations) goes.
  func flushAtEnd() {
    while true {
      let code = ring.enterAtEnd()
      guard ring.hasThread, ring.pending > 0 else { return }
      // Nobody takes them any more where the kernel's thread is gone.
      guard code >= 0 || code == -EINTR || code == -EAGAIN || code == -EBUSY else { return }
      sched_yield()
    }
  }

  /// Errors that another turn mends are let through. The others mean that this engine is used
  /// from a thread that did not make it (EEXIST) or that its memory is broken: to go on would
  /// be to spin without ever completing anything.
  ///
  /// EOWNERDEAD is misuse as well, and nothing that a living process can meet: the kernel's submission
  /// thread is one of the process's own, blocks every signal but SIGKILL and SIGSTOP, and ends with
  /// the process. Only a child of fork(2) that uses its parent's engine outlives it.
  @inline(__always)
  static func check(_ code: Int32) {
    if code < 0 { checkFailure(-code) }
  }

  @inline(never)
  private static func checkFailure(_ code: Int32) {
    switch code {
    case EINTR, ETIME, EBUSY, EAGAIN, ENOMEM: break
    case EBADR: engineBug("the kernel had to drop completions")
    // The last two: elsewhere a registered ring's place is no ring's.
    case EEXIST, EINVAL, EBADF:
      // TRAP: no socket's or file's error comes from the enter itself. These say that the ring is
      // not ours or is broken; to go on would spin without a completion.
      preconditionFailure(
        "io_uring_enter: errno \(code): an engine is used by a thread that did not make it")
    case EOWNERDEAD:
      // TRAP: no socket's or file's error comes from the enter itself. These say that the ring is
      // not ours or is broken; to go on would spin without a completion.
      preconditionFailure("an engine is used by a child of fork(2), after the end of its parent")
    // TRAP: no socket's or file's error comes from the enter itself. These say that the ring is not
    // ours or is broken; to go on would spin without a completion.
    default: preconditionFailure("io_uring_enter: errno \(code)")
    }
  }

  @inline(__always)
  mutating func takeCompletions() {
    let overflowed = ring.hasOverflowed
    if overflowed { statistics.completionQueueOverflows += 1 }
    let crowded = overflowed || ring.ready > ring.cqEntries / 4 * 3
    // Asked anew when the end is reached: there may be more by then. A full submission queue makes
    // `dispatch` come back here, and then more may have been taken than there were.
    while ring.ready > 0 {
      let end = ring.taken &+ ring.ready
      while Int32(bitPattern: end &- ring.taken) > 0 { dispatch(ring.take()) }
    }
    statistics.completions += Int(ring.taken &- countedCompletions)
    countedCompletions = ring.taken
    ring.commitTaken()
    if !postponed.isEmpty { acceptPostponed() }
    if crowded && use.contains(.ringResize) { growCompletions() }
  }

  /// Doubles the completion queue, up to its limit.
  @inline(never)
  private mutating func growCompletions() {
    let wanted = Int(ring.cqEntries) * 2
    guard wanted <= completionLimit else { return }
    let code = ring.growCompletions(to: wanted)
    if code == 0 {
      statistics.completionQueueGrowths += 1
    } else if code != -EBUSY && code != -EOVERFLOW {
      use.refuse(.ringResize, errno: -code)
    }
  }
}
