// One worker: a thread, an engine, and what its connections need. Nothing here is shared with another
// worker but the process-wide limits. The worker is put together here and does nothing itself but turn;
// Worker+Completions.swift gives each completion to the component that it is for.

import Configuration
import Glibc
import Logging
import MillraceEngine
import Synchronization
import Transport

struct Worker<E: Engine & ~Copyable>: ~Copyable {
  var relay: Relay<E>
  var listeners: Listeners
  var drain = Drain()
  let workerCount: Int
  let control: UnsafeMutablePointer<WorkerControl>
  /// The CPU that this worker is pinned to, or nil.
  let cpu: Int?
  /// What clients have sent, while the turn's other completions are looked at.
  var fromClients: [Completion] = []

  // MARK: The loop

  mutating func run() {
    while !drain.isFinished { turn() }
  }

  mutating func turn() {
    relay.driveAudit()
    if relay.reap() { drain.lookSoon(now: relay.loop.engine.now) }
    wait()
    takeCompletions()
    expireTimers()
    relay.expireHolds()
    relay.releaseAudited()
    relay.retryWaiting()
    relay.resume()
    // Before what was given to kept connections leaves: a lost one must not be among them.
    if relay.upstreams.hasLost { relay.endLost() }
    relay.submitAssigned()
    relay.flushShared()
    relay.flushClients()
    obeyControl()
    if !relay.loop.unusedPlans.isEmpty { retirePlans() }
    if relay.loop.counters.isWatched { publishWhenDue() }
    if !drain.isServing { advanceDrain() }
  }

  private mutating func wait() {
    let deadline = nextDeadline()
    if let deadline, deadline <= relay.loop.engine.now {
      return relay.loop.engine.wait(until: deadline)
    }
    guard let goal = relay.loop.coalescing.goal(now: relay.loop.engine.now) else {
      return relay.loop.engine.wait(until: deadline)
    }
    relay.loop.engine.refreshClocks()
    let began = relay.loop.engine.now
    relay.loop.engine.wait(until: deadline, coalescing: goal.count, before: goal.limit)
    if began < goal.limit { relay.loop.coalescing.noteWait(relay.loop.engine.now - began) }
  }

  private func nextDeadline() -> Int64? {
    if relay.isPressing { return 0 }
    var deadline = min(listeners.nextRetry, drain.nextLook, relay.loop.counters.publishAt)
    if let due = relay.loop.wheel.nextDeadline { deadline = min(deadline, due) }
    deadline = min(deadline, relay.audit.nextDeadline(now: relay.loop.engine.now))
    return deadline == .max ? nil : deadline
  }

  private mutating func expireTimers() {
    let now = relay.loop.engine.now
    let clients = relay.downstreams.capacity
    while let node = relay.loop.wheel.takeDue(now: now) {
      if node < clients {
        relay.downstreamDue(UInt32(node))
      } else {
        relay.upstreamDue(UInt32(node - clients))
      }
    }
    listeners.retry(now: now, &relay.loop.engine)
    leaveEndedListeners()
  }

  /// Listeners that have ended hold their plan no longer.
  mutating func leaveEndedListeners() {
    while let use = listeners.takeEnded(now: relay.loop.engine.now) { relay.loop.leavePlan(use) }
  }

  // MARK: New connections

  mutating func accepted(_ listener: UInt32, _ completion: Completion) {
    switch listeners.accepted(Int(listener), completion, &relay.loop.engine) {
    case .accepted(let socket): admit(socket, listeners.index(Int(listener)))
    case .stopped: emptyListener(Int(listener))
    case .none: break
    }
  }

  /// Takes what waits in a listener's queue, then closes it.
  mutating func emptyListener(_ listener: Int) {
    while let socket = listeners.takeWaiting(listener, &relay.loop.engine) {
      admit(socket, listeners.index(listener))
    }
  }

  /// - Parameter listener: its index in `LivePlan`.
  private mutating func admit(_ socket: Descriptor, _ listener: Int32) {
    if let cpu, let arrived = relay.loop.engine.incomingCPU(socket), arrived != cpu {
      relay.loop.counters.acceptedElsewhere += 1
    }
    listeners.noteQueue(socket, relay.loop.engine)
    guard let d = relay.downstreams.admit(socket, listener, &relay.loop),
      relay.loop.plan.listeners[Int(listener)].relays
    else { return }
    relay.passOn(d)
  }

  /// A connection that was to go to another worker: where that one did not take it, it stays.
  mutating func handOverEnded(_ completion: Completion) {
    guard let (number, identity) = listeners.handOverEnded(completion) else {
      relay.loop.counters.handedOver += 1
      return
    }
    takeOver(number, identity)
  }

  /// A connection of another worker's, or one that nobody else could take.
  mutating func takeOver(_ number: Int32, _ identity: ListenerIdentity) {
    guard let socket = try? relay.loop.engine.adopt(number) else {
      // A number beyond the table, or a peer that has gone since; it sees an end, as at the accept.
      Glibc.close(number)
      relay.loop.counters.refused += 1
      return
    }
    // A worker that drains still serves what the kernel had accepted; one that has finished with
    // its connections does not begin again.
    var listener = listeners.index(of: identity)
    if listener == nil {
      // One of a plan that the other worker has taken and this one has not.
      takePlan()
      listener = listeners.index(of: identity)
    }
    guard drain.step == .serving || drain.step == .draining, let listener else {
      relay.loop.engine.resetOnClose(socket)
      relay.loop.engine.close(socket)
      relay.loop.counters.refused += 1
      return
    }
    admit(socket, listener)
  }
}
