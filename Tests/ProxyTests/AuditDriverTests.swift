import AuditLog
import Configuration
import Logging
import MillraceEngine
import Testing

@testable import Proxy

/// A driver with an engine of its own on a simulated disk.
private struct Harness: ~Copyable {
  let world = SimulatedWorld(seed: 1, .calm)
  var engine: Simulated
  var audit: AuditDriver

  init(
    _ whenFull: AuditConfiguration.WhenFull = .reject, directory isThere: Bool = true
  ) throws {
    if isThere { world.disk.makeDirectory("/log") }
    engine = Simulated(EngineOptions(), world: world)
    let settings = AuditConfiguration(directory: "/log", whenFull: whenFull)
    let parameters = JournalParameters(
      settings, worker: 0, exchanges: 8, run: RunIdentity(high: 1, low: 1),
      recovered: RecoveredLog())
    audit = AuditDriver(
      parameters, settings, exchanges: 8, worker: 0, tokenKind: TokenKind.journal.rawValue,
      logger: Logger(label: "audit") { _ in SwiftLogNoOpLogHandler() })
  }

  /// One turn of a loop that has nothing else to do.
  mutating func turn() {
    _ = audit.commit(&engine)
    audit.maintain(&engine)
    engine.wait(until: engine.now + 1_000_000)
    while let completion = engine.next() {
      _ = audit.completed(completion.token.slot, completion, &engine)
    }
  }

  /// Ends the log, so that the engine has nothing in flight.
  mutating func end() {
    audit.beginShutdown()
    for _ in 0..<1000 where !audit.hasShutDown() || engine.counters.operationsInFlight > 0 {
      turn()
    }
  }

  mutating func prepare() {
    for _ in 0..<1000 where audit.isPreparing(requestPart: 1024) { turn() }
  }

  mutating func claim(
    bytes: Int = RecordWriter.exchangeMaximum(requestPart: 1024), since: Int64 = 0,
    now: Int64 = 5_000_000_000
  ) -> AuditClaim {
    var reservation = Reservation()
    return audit.claim(bytes: bytes, waitingSince: since, now: now, &reservation)
  }

  /// Records an exchange in a slot, which then waits for its record.
  mutating func record(_ slot: UInt32) {
    var reservation = Reservation()
    let bytes = RecordWriter.exchangeMaximum(requestPart: 1024)
    _ = audit.claim(bytes: bytes, waitingSince: 0, now: engine.now, &reservation)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1024, alignment: 8)
    defer { memory.deallocate() }
    let length = RecordWriter.writeRequestPart(RequestFacts(), into: memory)
    let sequence = audit.append(
      .exchange, exchangeID: UInt64(slot),
      requestPart: UnsafeRawBufferPointer(rebasing: memory[..<length]),
      ResponseFacts(status: 200, requestBytes: 0, responseBytes: 0, ending: "completed"),
      isLast: true, wallMicroseconds: engine.wallMicroseconds, charging: &reservation)
    audit.release(&reservation)
    audit.gate(slot, generation: 7, until: sequence)
  }
}

@Suite("The audit driver")
struct AuditDriverTests {
  @Test(
    "without room a request waits two seconds at most, and after that gets what when_full says",
    arguments: [
      (AuditConfiguration.WhenFull.reject, AuditClaim.refused), (.drop, .unrecorded),
      (.block, .blocked),
    ])
  func claimsWithoutRoom(_ policy: AuditConfiguration.WhenFull, _ expected: AuditClaim) throws {
    var harness = try Harness(policy)
    let fresh = harness.claim()
    let young = harness.claim(since: 3_000_000_001)
    let old = harness.claim(since: 3_000_000_000)
    #expect(fresh == .blocked)
    #expect(young == .blocked)
    #expect(old == expected)
    let dropped = harness.audit.totals().dropped
    #expect(dropped == (policy == .drop ? 1 : 0))
    harness.end()
  }

  @Test("a record that the log can never take is too large whatever when_full says")
  func tooLarge() throws {
    var harness = try Harness(.drop)
    harness.prepare()
    let claim = harness.claim(bytes: 1 << 30)
    #expect(claim == .tooLarge)
    harness.end()
  }

  @Test("a log that reports an error is not waited for")
  func failingLog() throws {
    var harness = try Harness(.reject, directory: false)
    harness.prepare()
    let claim = harness.claim()
    #expect(claim == .refused)
    harness.end()
  }

  @Test("exchanges are released in order, and only when their records are durable")
  func release() throws {
    var harness = try Harness()
    harness.prepare()
    let claim = harness.claim()
    #expect(claim == .granted)
    harness.record(3)
    harness.record(1)
    let early = harness.audit.takeSettled()
    #expect(early == nil)
    var released: [UInt32] = []
    for _ in 0..<100 {
      harness.turn()
      while let settled = harness.audit.takeSettled() {
        #expect(!settled.isLost)
        #expect(settled.generation == 7)
        released.append(settled.slot)
      }
    }
    #expect(released == [3, 1])
    let recorded = harness.audit.exchangesRecorded
    #expect(recorded == 2)
    harness.end()
  }

  @Test("the log ends after its shutdown, and at once where there is none")
  func shutdown() throws {
    var harness = try Harness()
    harness.prepare()
    harness.record(0)
    harness.audit.beginShutdown()
    let early = harness.audit.hasShutDown()
    #expect(!early)
    for _ in 0..<1000 where !harness.audit.hasShutDown() { harness.turn() }
    let late = harness.audit.hasShutDown()
    #expect(late)
    harness.end()
    var none = AuditDriver(
      nil, nil, exchanges: 1, worker: 0, tokenKind: 0,
      logger: Logger(label: "audit") { _ in SwiftLogNoOpLogHandler() })
    let isDown = none.hasShutDown()
    #expect(isDown)
    let deadline = none.nextDeadline(now: 5)
    #expect(deadline == .max)
  }

  @Test("connections that wait are looked at in rounds, first come, first served")
  func waitQueue() {
    var queue = AuditWaitQueue()
    for slot in [4, 2, 9] as [UInt32] { queue.append(slot) }
    queue.beginRound()
    var first: [UInt32] = []
    while let slot = queue.take() {
      first.append(slot)
      if slot != 2 { queue.append(slot) }
    }
    #expect(first == [4, 2, 9])
    queue.beginRound()
    var second: [UInt32] = []
    while let slot = queue.take() { second.append(slot) }
    #expect(second == [4, 9])
    let isEmpty = queue.isEmpty
    #expect(isEmpty)
  }
}
