// World drives one journal against a SimulatedDisk in virtual time, as a worker's loop does:
// appends, asks each lane for its operation, completes operations in any order. It keeps what an
// exchange was told, so that tests can hold the disk against it.

import Glibc
import MillraceEngine

@testable import AuditLog

final class World {
  private final class Lane {
    var operation: JournalOperation?
  }

  var journal: Journal
  let disk: SimulatedDisk
  private let lanes = JournalLane.allCases.map { _ in Lane() }
  var now: Int64 = 1_000
  var wall: Int64 = 1_795_224_838_123_456
  var nextExchange: UInt64 = 1
  /// Sequence to exchange, for what was appended.
  var appended: [UInt64: UInt64] = [:]
  /// Sequences whose exchanges were closed unanswered.
  var failed: Set<UInt64> = []
  private var failedSeen: UInt64 = 0
  var commitsInFlightMax = 0

  init(_ configuration: JournalConfiguration, _ chain: ChainState, _ disk: SimulatedDisk) {
    journal = Journal(configuration: configuration, recovered: chain)
    self.disk = disk
  }

  static func configuration(
    worker: Int = 0, run: UInt64 = 1, durability: Durability = .beforeResponse
  ) -> JournalConfiguration {
    var configuration = JournalConfiguration(
      directory: "/log", worker: worker, run: RunIdentity(high: run, low: 7))
    configuration.durability = durability
    configuration.segmentSize = 128 << 10
    configuration.firstSegmentSize = 64 << 10
    configuration.batchSize = 16 << 10
    configuration.batchCount = 6
    configuration.recordMaximum = 4 << 10
    configuration.prefillChunk = 32 << 10
    configuration.prefillStep = 16 << 10
    configuration.watchNanoseconds = 0
    return configuration
  }

  /// Asks every lane once.
  func poll() {
    if journal.wantsDirectory { journal.adoptDirectory(grantsDirectory) }
    for lane in JournalLane.allCases where lanes[lane.rawValue].operation == nil {
      if let operation = journal.nextOperation(lane, now: now) {
        lanes[lane.rawValue].operation = consume operation
      }
    }
    noteFailures()
  }

  /// Whether another directory in the place of a lost one is given to this process.
  var grantsDirectory = true

  func isBusy(_ lane: JournalLane) -> Bool { lanes[lane.rawValue].operation != nil }

  @discardableResult
  func complete(_ lane: JournalLane) -> Int32 {
    guard let operation = lanes[lane.rawValue].operation.take() else { return 0 }
    var answer = disk.perform(operation, lane: lane)
    let result = answer.result
    if lane == .watch {
      journal.completedWatch(result: result, status: answer.status)
      return result
    }
    finish(lane, result, answer.buffer.take())
    return result
  }

  /// Completes a write without performing it.
  func answer(_ lane: JournalLane, _ result: Int32) {
    guard let operation = lanes[lane.rawValue].operation.take() else { return }
    switch consume operation {
    case .write(_, let buffer, _, _, _): finish(lane, result, buffer)
    default: finish(lane, result, nil)
    }
  }

  private func finish(_ lane: JournalLane, _ result: Int32, _ buffer: consuming FileBuffer?) {
    journal.completed(lane, result: result, buffer: buffer, now: now)
    noteFailures()
  }

  private func noteFailures() {
    _ = journal.takeFailure()
    if journal.failedThrough > failedSeen {
      for sequence in journal.failedFirst...journal.failedThrough { failed.insert(sequence) }
      failedSeen = journal.failedThrough
    }
  }

  /// Runs until no lane has anything to do, letting time pass to deadlines up to `limit`.
  func settle(until limit: Int64 = 0) {
    for _ in 0..<100_000 {
      poll()
      var progressed = false
      for lane in JournalLane.allCases where isBusy(lane) {
        complete(lane)
        progressed = true
      }
      if progressed {
        now += 1_000
        continue
      }
      guard let deadline = journal.nextDeadline, deadline > now, deadline <= limit else { return }
      now = deadline
    }
    fatalError("the journal does not come to rest")
  }

  /// Appends one exchange if it is granted; nil if not.
  @discardableResult
  func exchange(path: String = "/", kind: RecordKind = .exchange) -> UInt64? {
    let part = Self.requestPart(path: path)
    let result = journal.reserve(bytes: RecordWriter.recordMaximum(requestPart: part.count))
    guard case .granted(var reservation) = result else { return nil }
    let sequence = append(kind, nextExchange, part, &reservation)
    nextExchange += 1
    journal.release(&reservation)
    return sequence
  }

  func append(
    _ kind: RecordKind, _ id: UInt64, _ part: [UInt8], _ reservation: inout Reservation
  ) -> UInt64 {
    wall += 17
    let response = ResponseFacts(
      status: 200, requestBytes: 0, responseBytes: 128, totalMicroseconds: 900)
    let sequence = part.withUnsafeBytes {
      journal.append(
        kind, exchangeID: id, requestPart: $0, response: kind == .begin ? nil : response,
        wallMicroseconds: wall, charging: &reservation)
    }
    appended[sequence] = id
    return sequence
  }

  static func requestPart(path: String) -> [UInt8] {
    var memory = [UInt8](repeating: 0, count: 16 << 10)
    let path = Array(path.utf8)
    let method = Array("GET".utf8)
    let length = memory.withUnsafeMutableBytes { memory in
      path.withUnsafeBytes { path in
        method.withUnsafeBytes { method in
          var facts = RequestFacts()
          facts.method = method
          facts.path = path
          return RecordWriter.writeRequestPart(facts, into: memory)
        }
      }
    }
    return Array(memory[0..<length])
  }

  /// The machine stops: what is in flight may be torn.
  func crash() -> [(name: String, content: [UInt8])] {
    for lane in lanes {
      if let operation = lane.operation.take() { disk.interrupt(operation) }
    }
    return disk.crash()
  }

  /// Sequences that an exchange was told are safe.
  var acknowledged: [UInt64] {
    appended.keys.filter { $0 <= journal.durableSequence && !failed.contains($0) }.sorted()
  }
}

/// A folder that goes away with the value.
final class Folder {
  let path: String

  init(in parent: String? = nil) {
    let parent = parent ?? (access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
    var template = Array("\(parent)/millrace-audit-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
  }

  deinit {
    for name in (try? BlockingFiles.list(path)) ?? [] { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  func clear() {
    for name in (try? BlockingFiles.list(path)) ?? [] { unlink("\(path)/\(name)") }
  }

  func write(_ files: [(name: String, content: [UInt8])]) throws {
    for file in files {
      let open = try BlockingFiles.open("\(path)/\(file.name)", .create)
      try file.content.withUnsafeBytes { try open.write($0, at: 0) }
    }
  }

  func read() throws -> [(name: String, content: [UInt8])] {
    try BlockingFiles.list(path).filter { !$0.hasPrefix("millrace.") }.map { name in
      (name, try content(name))
    }
  }

  func content(_ name: String) throws -> [UInt8] {
    let file = try BlockingFiles.open("\(path)/\(name)", .read)
    var bytes = [UInt8](repeating: 0, count: try file.size())
    _ = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
    return bytes
  }

  /// Takes the folder, from which an earlier lease is gone. What another test has just forked has the descriptors of
  /// this process until its exec(2), and with them the lock that was on them.
  func lease() throws -> DirectoryLease {
    for _ in 0..<10_000 {
      do throws(Errno) {
        return try BlockingFiles.lease(directory: path)
      } catch {
        guard error.code == EWOULDBLOCK else { throw error }
        usleep(1000)
      }
    }
    return try BlockingFiles.lease(directory: path)
  }

  func recover(run: UInt64 = 99) throws -> RecoveredLog {
    let lease = try lease()
    return try Recovery(
      run: RunIdentity(high: run, low: 1), wallMicroseconds: 1_795_300_000_000_000
    ).recover(lease)
  }

  func verify(_ anchors: [Anchor] = []) throws -> VerificationReport {
    try Verification(directory: path).run(anchors: anchors)
  }

  /// Sequence to exchange of all sealed records, by worker 0's segments in order.
  func records() throws -> [UInt64: UInt64] {
    var result: [UInt64: UInt64] = [:]
    for name in try BlockingFiles.list(path) where name.hasSuffix(".jsonl") {
      try content(name).withUnsafeBytes { bytes in
        for line in bytes.split(separator: 0x0A) {
          let line = UnsafeRawBufferPointer(rebasing: line)
          if let record = RecordLine.parse(line), record.kind != .loss, record.kind != .recovery {
            result[record.sequence] = record.exchangeID
          }
        }
      }
    }
    return result
  }
}
