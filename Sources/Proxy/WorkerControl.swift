// The few words between a worker and the rest of the process: what it is asked to do, and what it
// reports. Control only; nothing here is touched per request.

import AuditLog
import Glibc
import Logging
import Metrics
import MillraceEngine
import Synchronization
import Transport

/// Requests to a worker, as bits.
struct WorkerRequest {
  static let drain: UInt32 = 1
  static let report: UInt32 = 2
  static let anchor: UInt32 = 4
  static let plan: UInt32 = 8
}

/// One worker's control block, on cache lines of its own.
struct WorkerControl: ~Copyable {
  let requests = Atomic<UInt32>(0)
  static let starting = 0
  static let ready = 1
  static let failed = 2
  let state = Atomic<Int>(0)
  let finished = Atomic<Bool>(false)
  /// A `PlanGeneration` that the worker has not taken yet, retained; nil: none.
  let plan = Atomic<UnsafeMutableRawPointer?>(nil)
  /// Plans that the worker has installed since its start.
  let plansInstalled = Atomic<Int>(0)
  /// To 128 bytes: processors fetch cache lines in pairs, so that neighbours a line apart would
  /// still pull on each other.
  private let padding = InlineArray<11, UInt64>(repeating: 0)

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

extension Worker where E: ~Copyable {
  mutating func obeyControl() {
    guard control.pointee.requests.load(ordering: .relaxed) != 0 else { return }
    let requests = control.pointee.requests.exchange(0, ordering: .acquiring)
    if requests & WorkerRequest.plan != 0 { takePlan() }
    if requests & WorkerRequest.drain != 0 { beginDrain() }
    if requests & WorkerRequest.report != 0 { report() }
    if requests & WorkerRequest.anchor != 0 { logAnchor() }
  }

  /// Writes one line with every gauge and counter.
  private mutating func report() {
    publishMetrics()
    var text = "counters worker=\(index) engine=\(engine.kind.rawValue)"
    // Gauges first.
    for metric in PublishedMetric.allCases where metric.isReported && metric.family.kind == .gauge {
      text += " \(metric.family.name)=\(counters[metric])"
    }
    text += " descriptors=\(DescriptorLimit.open())"
    for metric in WorkerMetric.allCases {
      text += " \(metric.family.name)=\(counters[WorkerCounterPlace(metric: metric)])"
    }
    for metric in PublishedMetric.allCases
    where metric.isReported && metric.family.kind == .counter {
      text += " \(metric.family.name)=\(counters[metric])"
    }
    logger.info("\(text)")
    guard logger.logLevel <= .debug else { return }
    for slot in 0..<downstreams.touched where isActive(slot) { describe(downstreams[slot]) }
  }

  /// One line with all that a connection and its exchange are waiting for.
  private mutating func describe(_ d: DownstreamPointer) {
    let t = Self.transport(d)
    var text =
      "connection worker=\(index) slot=\(d.pointee.slot) phase=\(d.pointee.phase)"
      + " closing=\(t.pointee.closing) \(Self.describe(t))"
      + " close_after=\(d.pointee.closeAfterResponse) scanning=\(d.pointee.isScanning)"
    if d.pointee.exchange >= 0 {
      let x = exchanges[UInt32(d.pointee.exchange)]
      text +=
        " exchange=\(exchangeText(x.pointee.id)) step=\(x.pointee.phase) status=\(x.pointee.status)"
        + " request_complete=\(x.pointee.requestComplete)"
        + " request_blocked=\(x.pointee.requestBlocked)"
        + " response_blocked=\(x.pointee.responseBlocked) waiting=\(x.pointee.heldBytes)"
        + " gate=\(x.pointee.gate) response_bytes=\(x.pointee.responseBytes)"
      if x.pointee.upstream >= 0 {
        let u = upstreams[UInt32(x.pointee.upstream)]
        text += " upstream=\(u.pointee.phase) \(Self.describe(Self.transport(u)))"
      }
    }
    logger.debug("\(text)")
  }

  private static func describe(_ t: UnsafeMutablePointer<Transport>) -> String {
    "receiving=\(t.pointee.receiving) mode=\(t.pointee.mode)"
      + " stopping=\(t.pointee.receive == .stopping)"
      + " paused=\(t.pointee.paused) ended=\(t.pointee.readClosed)"
      + " sending=\(t.pointee.sending) in_flight=\(t.pointee.send.bytes)"
      + " pending=\(t.pointee.unsent.count) held=\(t.pointee.unread.count)"
  }
}
