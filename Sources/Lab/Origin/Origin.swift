// An origin as a whole: chooses the engine, loads the certificate, starts the threads, says where
// they listen, and ends them. It is control plane: nothing here runs per request.

import CLinux
import Glibc
public import MillraceEngine
import Synchronization
import TLS

/// Why an origin cannot start, with what to do about it.
public struct OriginFailure: Error, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}

/// An origin server.
public struct Origin: Sendable {
  private let plan: OriginPlan
  private let attempts: EngineAttempts
  private let context: TLSContext?
  private let board = OriginBoard()

  /// Prepares an origin: loads its certificate, and tries io_uring in a forked child (some 5 ms)
  /// unless the plan says epoll. Call it before the process has other threads.
  public init(_ plan: OriginPlan) throws(OriginFailure) {
    var plan = plan
    var options = EngineOptions()
    options.descriptorLimit = min(DescriptorLimit.raise(), 1 << 20)
    // Some descriptors go to rings, listeners and the like.
    plan.connections = max(16, min(plan.connections, options.descriptorLimit - 64))
    options.frames = plan.connections * 3 + 1024
    attempts = try Self.chooseEngine(plan, &options)
    context = try Self.makeContext(plan)
    self.plan = plan
  }

  private static func chooseEngine(
    _ plan: OriginPlan, _ options: inout EngineOptions
  ) throws(OriginFailure) -> EngineAttempts {
    let threads = max(1, plan.threads)
    let epoll = options
    if plan.engine == .epoll {
      return EngineAttempts(.epoll, epoll, threads: threads, orEpollWith: nil)
    }
    let probe = ProbeReport.run(reducing: &options)
    if probe.usable {
      options.setupFlags = probe.setupFlags
      options.features.formIntersection(probe.provenFeatures)
      return EngineAttempts(
        .uring, options, threads: threads, orEpollWith: plan.engine == .uring ? nil : epoll)
    }
    guard plan.engine == .uring else {
      return EngineAttempts(
        .epoll, epoll, threads: threads, orEpollWith: nil,
        because: probe.refusal?.label == "ENOMEM" ? probe.refusal : nil)
    }
    throw OriginFailure(
      """
      io_uring was requested but is not available: \(probe.refusal?.detail ?? "unknown"). \
      \(probe.refusal?.hint ?? "") Or use --engine epoll.
      """)
  }

  private static func makeContext(_ plan: OriginPlan) throws(OriginFailure) -> TLSContext? {
    guard let certificate = plan.certificatePath, let key = plan.keyPath else { return nil }
    let tickets = TicketKeys(
      randomBytes: { SystemRandomness.fill($0) },
      now: SystemClock.monotonicNanoseconds() / 1_000_000_000)
    do {
      return try TLSContext(
        certificates: [CertificateSource(certificatePath: certificate, keyPath: key)],
        alpn: ["h2", "http/1.1"], tickets: tickets)
    } catch {
      throw OriginFailure("cannot set up TLS: \(error)")
    }
  }

  /// Why it runs on another engine, or with smaller rings, than it would; nil if it does not. Once it
  /// has started.
  public var engineNote: String? { board.engineNote }

  /// A start that waits for another one on the same address gives up after so long.
  private static let lockMilliseconds = 10_000

  /// The threads share their ports (SO_REUSEPORT), and the kernel lets another process of the same
  /// user share them as well: a trial without that option tells, and the lock keeps another start out
  /// until this one listens.
  private func checkAddresses() throws(OriginFailure) -> StartLock {
    let addresses = plan.listeners.map(\.address)
    guard let lock = StartLock.take(addresses, milliseconds: Self.lockMilliseconds) else {
      throw Self.inUse(addresses)
    }
    for address in addresses {
      if let path = address.unixPath {
        try Self.check(path, address)
      } else {
        try Self.check(address)
      }
    }
    return lock
  }

  private static func check(_ address: SocketAddress) throws(OriginFailure) {
    var failure = BindTrial.run(address)
    // One that was killed a moment ago may still hold the address: the kernel ends a ring, and
    // with it its listeners, after the process.
    for _ in 0..<10 where failure?.code == EADDRINUSE {
      Pause.microseconds(50_000)
      failure = BindTrial.run(address)
    }
    if failure?.code == EADDRINUSE { throw inUse([address]) }
  }

  /// What a run that was killed leaves behind is removed; whatever else is at the path stays.
  private static func check(_ path: String, _ address: SocketAddress) throws(OriginFailure) {
    switch UnixPathTrial.look(path) {
    case .stale: _ = UnixPathTrial.remove(path)
    case .inUse, .foreign: throw inUse([address])
    // Listening says what is wrong.
    case .free, .notASocket, .directory: break
    }
  }

  private static func inUse(_ addresses: [SocketAddress]) -> OriginFailure {
    OriginFailure(
      """
      the address \(addresses.map { "\($0)" }.joined(separator: ", ")) is in use. Stop the process that listens \
      there (`ss -lnxtp` shows it), or choose another one with --listen or --port
      """)
  }

  /// Starts the threads. - Returns: where they listen, with the ports that the kernel chose, in the
  /// plan's order.
  public func start() throws(OriginFailure) -> [SocketAddress] {
    let lock = try checkAddresses()
    defer { lock.release() }
    let shared = UnsafeMutablePointer<OriginShared>.allocate(capacity: 1)
    shared.initialize(to: OriginShared())
    let count = max(1, plan.threads)
    var attempts = attempts
    while true {
      let gate = EngineGate(count: count)
      let threads = startThreads(count, attempts, gate, shared)
      guard let failure = gate.result() else {
        board.note(attempts)
        try listen(count, gate)
        return board.addresses
      }
      gate.close()
      for thread in threads { thread.join() }
      guard attempts.next(after: failure) else {
        throw OriginFailure(
          "cannot create the engine of a thread: "
            + (attempts.refusal.map { "\($0)" } ?? "\(failure)"))
      }
    }
  }

  private func startThreads(
    _ count: Int, _ attempts: EngineAttempts, _ gate: EngineGate,
    _ shared: UnsafeMutablePointer<OriginShared>
  ) -> [WorkerThread] {
    let now = SystemClock.monotonicNanoseconds()
    var threads: [WorkerThread] = []
    for i in 0..<count {
      let parameters = OriginThreadParameters(
        plan: plan, index: i, options: attempts.options, context: context, shared: shared,
        board: board, start: now)
      let cpu = plan.processors.isEmpty ? nil : plan.processors[i % plan.processors.count]
      let kind = attempts.kind
      do throws(SystemFailure) {
        threads.append(
          try WorkerThread.start(name: "origin \(i)", cpu: cpu) {
            OriginThread.run(kind, parameters, gate)
          })
      } catch {
        gate.fail(kind, error)
      }
    }
    return threads
  }

  /// The first thread alone: the others share the ports that it is given.
  private func listen(_ count: Int, _ gate: EngineGate) throws(OriginFailure) {
    for i in 0..<count {
      gate.open(to: i + 1)
      while board.settled.load(ordering: .acquiring) <= i { Pause.microseconds(500) }
      if let reason = board.whyRefused { throw OriginFailure(reason) }
    }
  }

  /// Ends the threads: nothing new is accepted, and answers under way have a second. Returns when
  /// they have ended.
  public func stop() {
    board.stops.store(true, ordering: .releasing)
    board.wakeAll()
    while board.finished.load(ordering: .acquiring) < board.settled.load(ordering: .acquiring) {
      Pause.microseconds(1000)
    }
  }

  /// Has each thread write a line with its counters to standard error.
  public func report() {
    board.reports.wrappingAdd(1, ordering: .releasing)
    board.wakeAll()
  }
}

/// The life of one thread. The one place where the engine's type is chosen: below it everything is
/// specialised.
enum OriginThread {
  static func run(_ kind: EngineKind, _ parameters: OriginThreadParameters, _ gate: EngineGate) {
    // Delays are to be exact: the kernel may otherwise be late by 50 µs (timer_slack_ns, prctl(2)).
    clinux_timer_slack(1)
    do throws(EngineFailure) {
      switch kind {
      case .uring:
        let engine = try Uring(parameters.options)
        if gate.pass(parameters.index) { serve(parameters, engine) }
      case .epoll:
        let engine = try Epoll(parameters.options)
        if gate.pass(parameters.index) { serve(parameters, engine) }
      case .simulated:
        preconditionFailure("a simulated origin runs in a SimulatedWorld, not on a thread")
      }
    } catch {
      gate.fail(error)
    }
  }

  private static func serve<E: Engine & ~Copyable>(
    _ parameters: OriginThreadParameters, _ engine: consuming E
  ) {
    parameters.board.add(engine.waker)
    // Never torn down: the process ends with its threads, and with connections that would not finish.
    let worker = UnsafeMutablePointer<OriginWorker<E>>.allocate(capacity: 1)
    worker.initialize(to: OriginWorker<E>(parameters, engine: engine))
    do throws(SystemFailure) {
      try worker.pointee.listen(parameters)
    } catch {
      parameters.board.refuse("cannot listen: \(error)")
    }
    parameters.board.settled.add(1, ordering: .releasing)
    worker.pointee.run()
    parameters.board.finished.add(1, ordering: .releasing)
  }
}
