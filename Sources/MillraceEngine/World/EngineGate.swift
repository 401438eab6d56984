// Several threads that start together: each makes its engine, and none goes on before all have theirs.
// What one ring can have need not be there for as many as there are threads: RLIMIT_MEMLOCK counts the
// rings of all processes of a user.

import Glibc
import Synchronization

/// Where threads wait until each of them has its engine.
public final class EngineGate: Sendable {
  private let count: Int
  private let arrived = Atomic<Int>(0)
  /// Threads below this number may go on; negative: none will.
  private let passing = Atomic<Int>(0)
  private let failure = Mutex<EngineFailure?>(nil)

  private static let pauseMicroseconds: UInt32 = 100

  /// - Parameter count: the threads.
  public init(count: Int) { self.count = count }

  // MARK: The threads

  /// Says that this thread has its engine, and waits.
  /// - Returns: false if the thread must give it up and end.
  public func pass(_ index: Int) -> Bool {
    arrived.add(1, ordering: .releasing)
    while true {
      let limit = passing.load(ordering: .acquiring)
      if limit < 0 { return false }
      if index < limit { return true }
      Pause.microseconds(Self.pauseMicroseconds)
    }
  }

  /// Says that this thread could not make its engine.
  public func fail(_ failure: EngineFailure) {
    self.failure.withLock { if $0 == nil { $0 = failure } }
    arrived.add(1, ordering: .releasing)
  }

  // MARK: Who starts them

  /// Says that a thread could not be started.
  public func fail(_ kind: EngineKind, _ failure: SystemFailure) {
    fail(EngineFailure(kind: kind, failure: failure))
  }

  /// Waits for all threads. - Returns: the first failure, or nil if each has its engine.
  public func result() -> EngineFailure? {
    while arrived.load(ordering: .acquiring) < count { Pause.microseconds(Self.pauseMicroseconds) }
    return failure.withLock { $0 }
  }

  /// Lets the first `count` threads go on.
  public func open(to count: Int) { passing.store(count, ordering: .releasing) }
  /// Lets all threads go on.
  public func open() { open(to: count) }
  /// Ends the threads that wait.
  public func close() { passing.store(-1, ordering: .releasing) }
}

/// Which engine several threads try to make, and what they try next.
public struct EngineAttempts: Sendable {
  /// The engine to make now.
  public private(set) var kind: EngineKind
  /// What to make it with.
  public private(set) var options: EngineOptions
  /// Why it is not the engine, or not the rings, that was tried first; nil if it is.
  public private(set) var refusal: EngineRefusal?
  private let threads: Int
  private let epoll: EngineOptions?
  private var repetitions = 0

  /// The rings of engines that were given up are freed by a worker of the kernel's, some milliseconds
  /// after the call.
  private static let repetitionsMaximum = 4
  private static let pauseMicroseconds: UInt32 = 50_000

  /// - Parameters:
  ///   - kind: the engine that is tried first.
  ///   - threads: how many of them are made.
  ///   - epoll: what to make epoll with if io_uring fails; nil: io_uring or nothing.
  ///   - refusal: why this is not what would have been tried first.
  public init(
    _ kind: EngineKind, _ options: EngineOptions, threads: Int, orEpollWith epoll: EngineOptions?,
    because refusal: EngineRefusal? = nil
  ) {
    self.refusal = refusal
    self.kind = kind
    self.options = options
    self.threads = threads
    self.epoll = epoll
  }

  /// One line that says what is used instead, why, and what to do; nil if it is what was tried first.
  public var note: String? {
    let isReduced = kind == .uring && options.hasReducedRings
    guard let refusal = refusal ?? (isReduced ? .littleMemory : nil) else { return nil }
    let rings =
      kind == .uring
      ? " rings=\(options.submissionEntries)/\(options.completionEntries)" : ""
    return "engine=\(kind.rawValue)\(rings) reason=\(refusal.label) detail=\"\(refusal.detail)\""
      + " hint=\"\(refusal.hint)\""
  }

  /// Decides what to try after a failure: smaller rings while memory is what is missing, then epoll for
  /// all. To be called when the threads of the last attempt have ended.
  /// - Returns: false if there is nothing left; `refusal` says why.
  public mutating func next(after failure: EngineFailure) -> Bool {
    guard kind == .uring else { return false }
    if refusal == nil { refusal = EngineRefusal(failure, threads: threads) }
    if failure.failure.code == ENOMEM {
      Pause.microseconds(Self.pauseMicroseconds)
      repetitions += 1
      if options.hasReducedRings && repetitions < Self.repetitionsMaximum { return true }
      repetitions = 0
      if options.reduceRings() { return true }
    }
    guard let epoll else { return false }
    kind = .epoll
    options = epoll
    return true
  }
}

extension EngineRefusal {
  /// Why so many engines could not be made.
  init(_ failure: EngineFailure, threads: Int) {
    let code = failure.failure.code
    let isMemory = code == ENOMEM
    self.init(
      label: ErrorText.name(code),
      detail: "Cannot create \(threads) rings, one per thread: \(failure.failure)."
        + (isMemory ? " \(Self.lockedMemory)" : ""),
      hint: isMemory ? Self.lockedMemoryHint : "Set engine: epoll, or use fewer threads.")
  }

  /// Where a self-test has found out that the usual rings do not fit.
  public static let littleMemory = EngineRefusal(
    label: "ENOMEM",
    detail: "RLIMIT_MEMLOCK is too low for rings of the default size. \(lockedMemory)",
    hint: lockedMemoryHint)

  /// What to do where memory for rings is missing.
  static let lockedMemoryHint =
    "Raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=), use fewer threads, or set"
    + " engine: epoll."

  /// The limit in words.
  private static var lockedMemory: String {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0,
      limit.rlim_cur < rlim_t(Int64.max)
    else { return "RLIMIT_MEMLOCK is unlimited." }
    return "RLIMIT_MEMLOCK allows \(limit.rlim_cur / 1024) KiB for the rings of all processes of"
      + " user \(getuid())."
  }
}

extension EngineOptions {
  /// Entries of both queues, from what the defaults become to what still makes a turn. At some 64 bytes
  /// for a submission and 16 for a completion: 48 KiB, then 12 KiB a ring, of 320 KiB for the defaults.
  private static let reducedRings = [(256, 2048), (64, 512)]

  /// Whether `reduceRings` has made the rings smaller.
  public var hasReducedRings: Bool { submissionEntries <= Self.reducedRings[0].0 }

  /// Makes the rings smaller. - Returns: false if they are the smallest already.
  public mutating func reduceRings() -> Bool {
    guard let (entries, completions) = Self.reducedRings.first(where: { $0.0 < submissionEntries })
    else { return false }
    submissionEntries = entries
    completionEntries = min(completionEntries, completions)
    return true
  }
}

extension ProbeReport {
  /// As `run`, with smaller rings where there is not enough memory for those of `options`, which then
  /// has the sizes that were tried last.
  public static func run(reducing options: inout EngineOptions) -> ProbeReport {
    while true {
      let report = run(options)
      guard report.refusal?.label == "ENOMEM", options.reduceRings() else { return report }
    }
  }
}
