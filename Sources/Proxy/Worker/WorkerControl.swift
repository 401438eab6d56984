// The few words between a worker and the rest of the process: what it is asked to do, and what it
// reports. Control only; nothing here is touched per request.

import AuditLog
import Glibc
import Logging
import MillraceEngine
import Synchronization
import Transport

/// Requests to a worker, as bits.
struct WorkerRequest {
  static let drain: UInt32 = 1
  static let report: UInt32 = 2
  static let anchor: UInt32 = 4
  static let plan: UInt32 = 8
  static let pulse: UInt32 = 16
  /// Publish the figures that only the worker knows.
  static let publish: UInt32 = 256
  /// Look at servers that an operator has taken out.
  static let servers: UInt32 = 512
  /// Drain, since another process has taken this one's place.
  static let drainReplaced: UInt32 = 1024
}

/// One worker's control block, on cache lines of its own.
struct WorkerControl: ~Copyable {
  let requests = Atomic<UInt32>(0)
  static let starting = 0
  static let ready = 1
  static let failed = 2
  /// All that is missing are its listeners.
  static let prepared = 3
  let state = Atomic<Int>(0)
  let finished = Atomic<Bool>(false)
  /// It has turned since it was called.
  let hasTurned = Atomic<Bool>(false)
  /// Its listeners are closed, at the end.
  let hasStoppedAccepting = Atomic<Bool>(false)
  /// A `PlanGeneration` that the worker has not taken yet, retained; nil: none.
  let plan = Atomic<UnsafeMutableRawPointer?>(nil)
  /// Plans that the worker has installed since its start.
  let plansInstalled = Atomic<Int>(0)
  /// The number of the newest plan that it has installed; 0: only the one that it was started with.
  let generation = Atomic<Int>(0)
  /// To 128 bytes: processors fetch cache lines in pairs, so that neighbours a line apart would
  /// still pull on each other.
  private let padding = InlineArray<10, UInt64>(repeating: 0)

  init() {}

  /// Leaves a plan for the worker; one that it has not taken yet is forgotten.
  func leave(_ generation: PlanGeneration) {
    let left = Unmanaged.passRetained(generation).toOpaque()
    release(plan.exchange(left, ordering: .acquiringAndReleasing))
  }

  /// Forgets a plan that was not taken. After the worker's end.
  func dropPlan() { release(plan.exchange(nil, ordering: .acquiring)) }

  private func release(_ left: UnsafeMutableRawPointer?) {
    if let left { Unmanaged<PlanGeneration>.fromOpaque(left).release() }
  }
}
