// The worker's audit log: claims of exchanges on its room, their records, the responses that wait for
// records or are held for their end, and the journal's file operations, which run on the worker's
// engine. It is told facts and returns what happened; it knows no connection and calls nothing of
// the worker. What a result means for an exchange is decided in `Relay+AuditWaits.swift`.
//
// TRAP: (file) `journal` is set from the making to the end where `isOn` is true, and the worker asks
// `isOn` before it calls what needs a journal.

import AuditLog
import Configuration
import Logging
import MillraceEngine

/// The answer to a claim on the audit log.
enum AuditClaim {
  case granted
  /// `when_full: drop`: served without a record; the log counts it.
  case unrecorded
  /// `when_full: reject`.
  case refused
  /// The log can never take its record.
  case tooLarge
  /// Not now: because of `when_full: block`, or because the log is only behind.
  case blocked
}

/// An exchange whose record is durable, or lost.
struct AuditRelease {
  var slot: UInt32
  /// Of the slot, when the record was written.
  var generation: UInt32
  var sequence: UInt64
  /// The commit of the record failed.
  var isLost: Bool
}

struct AuditDriver: ~Copyable {
  /// How long a request waits for room while the log is only behind, in nanoseconds, whatever
  /// `when_full` says: a segment takes some milliseconds to make, and a log that is about to have
  /// room is not full.
  private static var waitNanoseconds: Int64 { 2_000_000_000 }
  /// How often the connections that wait for room are looked at if nothing else happens.
  private static var retryNanoseconds: Int64 { 20_000_000 }

  private var journal: Journal?
  /// True if there is an audit log.
  let isOn: Bool
  /// True when responses wait for their records.
  let waitsForRecords: Bool
  private let whenFull: AuditConfiguration.WhenFull
  /// How long a response may be held for its end, in nanoseconds; 0: not at all.
  private let holdNanoseconds: Int64
  private var gated: GateQueue
  private var holds: HoldQueue
  /// Connections whose request waits for room.
  private var waiting = AuditWaitQueue()
  /// When the journal wants to be asked again, in monotonic nanoseconds.
  private var journalDeadline = Int64.max
  /// Takes the directory again when another one has its place.
  private let directory: AuditDirectory?
  private var messages: AuditMessages
  /// Of the tokens of its operations; their slot is the lane.
  private let tokenKind: UInt8
  /// When the commit in flight was submitted, in monotonic nanoseconds; 0: there is none.
  private var commitStarted: Int64 = 0
  /// How long the last commit took that succeeded; nil: it was taken.
  private var commitTime: Int64?
  private var commitsSeen: UInt64 = 0
  /// Exchanges whose end is recorded: one by one the same as `WorkerCounters.responses` once all is
  /// quiet, however many records each took.
  private(set) var exchangesRecorded: UInt64 = 0
  /// True once the log was given up at the end: the device does not answer.
  private(set) var isAbandoned = false

  /// - Parameters:
  ///   - parameters: nil without an audit log.
  ///   - settings: of the configuration, where it has any.
  ///   - exchanges: slots of exchanges, numbered from 0.
  init(
    _ parameters: JournalParameters?, _ settings: AuditConfiguration?, exchanges: Int, worker: Int,
    tokenKind: UInt8, logger: Logger
  ) {
    self.tokenKind = tokenKind
    if let parameters {
      journal = Journal(configuration: parameters.configuration, recovered: parameters.recovered)
      isOn = true
      waitsForRecords = settings?.durability == .beforeResponse
    } else {
      journal = nil
      isOn = false
      waitsForRecords = false
    }
    directory = parameters?.directory
    whenFull = settings?.whenFull ?? .reject
    holdNanoseconds = waitsForRecords ? settings?.holdNanoseconds ?? 0 : 0
    gated = GateQueue(capacity: exchanges)
    holds = HoldQueue(capacity: exchanges, byteLimit: ResponseHold.workerBytes)
    messages = AuditMessages(
      logger: logger, worker: worker, directory: settings?.directory ?? "")
  }

  /// When the worker has to look at the log, in monotonic nanoseconds; Int64.max: not at all.
  func nextDeadline(now: Int64) -> Int64 {
    guard isOn else { return .max }
    let deadline = min(journalDeadline, holds.nextDeadline)
    return waiting.isEmpty ? deadline : min(deadline, now + Self.retryNanoseconds)
  }

  // MARK: Claims

  /// Claims room for all records that an exchange may need.
  /// - Parameters:
  ///   - bytes: of all of them at most.
  ///   - since: when the request began to wait, in monotonic nanoseconds; 0: it has not.
  ///   - reservation: set where room is granted.
  mutating func claim(
    bytes: Int, waitingSince since: Int64, now: Int64, _ reservation: inout Reservation
  ) -> AuditClaim {
    switch journal!.reserve(bytes: bytes, records: RecordWriter.exchangeRecords) {
    case .granted(let granted):
      reservation = granted
      return .granted
    case .full(let reason):
      return claimWithoutRoom(reason, since, now)
    }
  }

  private mutating func claimWithoutRoom(
    _ reason: JournalFullReason, _ since: Int64, _ now: Int64
  ) -> AuditClaim {
    // Whatever `when_full` says: no client can avoid its record by what it sends.
    if reason == .recordTooLarge { return .tooLarge }
    if reason != .shuttingDown {
      let waited = since == 0 ? 0 : now - since
      let isBehind = journal!.prepareError() == 0 && waited < Self.waitNanoseconds
      if whenFull == .block || isBehind { return .blocked }
    }
    // The log has room for all but large requests: to send many of them is no way around it either.
    guard whenFull == .drop && reason != .large else { return .refused }
    journal!.countDropped()
    return .unrecorded
  }

  /// Gives back what is left of a claim.
  @inline(__always)
  mutating func release(_ reservation: inout Reservation) {
    if !reservation.isEmpty { journal!.release(&reservation) }
  }

  /// Remembers a connection whose request waits for room.
  mutating func wait(_ slot: UInt32) { waiting.append(slot) }

  /// Begins to look at the connections that wait.
  /// - Returns: false if there are none.
  @inline(__always)
  mutating func beginRetries() -> Bool {
    guard !waiting.isEmpty else { return false }
    waiting.beginRound()
    return true
  }

  /// The next connection to look at: first come, first served. It no longer waits.
  mutating func takeWaiting() -> UInt32? { waiting.take() }

  /// Whether to try a request again that waits for room. One that has waited for long is tried in
  /// any case, since its answer may have changed.
  mutating func mayHaveRoom(_ bytes: Int, waitingSince since: Int64, now: Int64) -> Bool {
    since <= now - Self.waitNanoseconds || journal!.prepareError() != 0
      || journal!.hasSpace(bytes)
  }

  // MARK: Records

  /// Writes one record.
  /// - Parameters:
  ///   - requestPart: as `RecordWriter.writeRequestPart` wrote it; empty behind a `begin`.
  ///   - isLast: the end of an exchange that has none recorded yet.
  /// - Returns: its sequence.
  mutating func append(
    _ kind: RecordKind, exchangeID: UInt64, requestPart: UnsafeRawBufferPointer,
    _ response: ResponseFacts?, isLast: Bool, wallMicroseconds: Int64,
    charging reservation: inout Reservation
  ) -> UInt64 {
    if isLast { exchangesRecorded += 1 }
    return journal!.append(
      kind, exchangeID: exchangeID, requestPart: requestPart, response: response,
      wallMicroseconds: wallMicroseconds, charging: &reservation)
  }

  // MARK: The gate

  var hasGated: Bool { !gated.isEmpty }

  /// Lets an exchange wait for a record, which is younger than those that others wait for.
  @inline(__always)
  mutating func gate(_ slot: UInt32, generation: UInt32, until sequence: UInt64) {
    gated.append(GateQueue.Entry(sequence: sequence, slot: slot, generation: generation))
  }

  /// Takes out the first exchange whose record is settled, in the order of the records. The slot may
  /// have another exchange by now.
  @inline(__always)
  mutating func takeSettled() -> AuditRelease? {
    guard waitsForRecords, !gated.isEmpty else { return nil }
    let (durable, failedFirst, failedThrough) = journal!.marks()
    guard let entry = gated.popFirst(through: max(durable, failedThrough)) else { return nil }
    return AuditRelease(
      slot: entry.slot, generation: entry.generation, sequence: entry.sequence,
      isLost: entry.sequence >= failedFirst && entry.sequence <= failedThrough)
  }

  // MARK: Holding

  var holdsResponses: Bool { holdNanoseconds > 0 }
  /// Responses that are held for their end.
  var heldResponses: Int { holds.count }

  /// Holds a response, or tells how much it holds now.
  /// - Returns: false if the worker would hold too much: it is not held then.
  mutating func hold(_ slot: UInt32, bytes: Int, now: Int64) -> Bool {
    holds.hold(slot, bytes: bytes, until: now + holdNanoseconds)
  }

  /// Nothing happens where the response is not held.
  @inline(__always)
  mutating func endHold(_ slot: UInt32) { holds.remove(slot) }

  /// Takes out an exchange whose response has been held for as long as it may be.
  @inline(__always)
  mutating func takeExpiredHold(now: Int64) -> UInt32? { holds.takeDue(now: now) }

  // MARK: The journal's file operations

  /// Submits the next commit, if there is something to commit.
  /// - Returns: true if a commit has failed: what it released is to be taken at once, since a later
  ///   failure must not cover its range.
  mutating func commit<E: Engine & ~Copyable>(_ engine: inout E) -> Bool {
    drive(.commit, &engine)
    return journal!.takeFailure()
  }

  /// Submits what else the journal wants done, and logs what it has to say; behind `commit`.
  mutating func maintain<E: Engine & ~Copyable>(_ engine: inout E) {
    drive(.prepare, &engine)
    drive(.retire, &engine)
    drive(.fill, &engine)
    drive(.watch, &engine)
    if journal!.hasCandidate() { takeDirectoryAgain() }
    journalDeadline = journal!.deadline() ?? .max
    while let notice = journal!.takeNotice() { messages.log(notice) }
  }

  @inline(__always)
  private mutating func drive<E: Engine & ~Copyable>(_ lane: JournalLane, _ engine: inout E) {
    guard let operation = journal!.nextOperation(lane, now: engine.now) else { return }
    // Its sync and its other tries belong to it.
    if lane == .commit, commitStarted == 0 { commitStarted = engine.now }
    engine.submit(
      operation,
      Token(kind: tokenKind, generation: 0, slot: UInt32(lane.rawValue)))
  }

  /// An operation of a lane has ended.
  /// - Returns: true if records may have been settled.
  mutating func completed<E: Engine & ~Copyable>(
    _ lane: UInt32, _ completion: Completion, _ engine: inout E
  ) -> Bool {
    guard let lane = JournalLane(rawValue: Int(lane)) else { return false }
    if lane == .watch {
      let status = completion.hasStatus ? engine.takeStatus(completion) : nil
      journal!.completedWatch(result: completion.result, status: status)
      return false
    }
    var buffer: FileBuffer?
    if completion.hasFileBuffer { buffer = engine.takeFileBuffer(completion) }
    journal!.completed(lane, result: completion.result, buffer: buffer, now: engine.now)
    if lane == .commit { noteCommit(now: engine.now) }
    // At once: a later failure must not cover this one's range.
    _ = journal!.takeFailure()
    return true
  }

  private mutating func noteCommit(now: Int64) {
    let commits = UInt64(journal!.totals().commits)
    guard commits != commitsSeen else { return }
    commitsSeen = commits
    commitTime = now - commitStarted
    commitStarted = 0
  }

  /// How long the commit took that has just ended, in nanoseconds.
  @inline(__always)
  mutating func takeCommitTime() -> Int64? {
    guard let time = commitTime else { return nil }
    commitTime = nil
    return time
  }

  /// The directory of the audit log was replaced. One blocking look, as at the start: nothing can be
  /// recorded before.
  private mutating func takeDirectoryAgain() {
    let problem = directory?.takeAgain()
    messages.logDirectory(problem)
    journal!.adoptDirectory(problem == nil)
  }

  // MARK: The start and the end

  /// How long the start may wait for the log, in nanoseconds.
  static var startNanoseconds: Int64 { waitNanoseconds }

  /// Whether the log cannot take a first exchange yet, but may soon.
  /// - Parameter requestPart: bytes of that exchange's request part.
  mutating func isPreparing(requestPart: Int) -> Bool {
    guard isOn else { return false }
    let bytes = RecordWriter.exchangeMaximum(requestPart: requestPart)
    return !journal!.hasSpace(bytes) && journal!.prepareError() == 0
  }

  /// Whether the log can take a first exchange, or need not.
  mutating func canBegin(requestPart: Int) -> Bool {
    guard isOn, whenFull != .drop else { return true }
    return journal!.hasSpace(RecordWriter.exchangeMaximum(requestPart: requestPart))
  }

  /// Commits what is there, then ends; nothing is granted any more.
  mutating func beginShutdown() {
    if isOn { journal!.beginShutdown() }
  }

  /// True once the log has ended, or if there is none.
  mutating func hasShutDown() -> Bool { isOn ? journal!.hasShutDown() : true }

  /// Gives up what could not be committed.
  mutating func abandon() {
    journal!.abandonPending()
    isAbandoned = true
  }

  /// Where the chain stands, for `millrace audit verify --anchor`; nil if there is nothing to say.
  mutating func anchor(workers: Int) -> String? {
    isOn ? journal!.anchorLine(workers: workers) : nil
  }

  /// What the journal has counted; zeros without an audit log.
  mutating func totals() -> JournalCounters {
    isOn ? journal!.totals() : JournalCounters()
  }
}

extension Journal {
  // For a journal that is stored in an optional, which can only be mutated in place.
  @inline(__always)
  fileprivate mutating func marks() -> (
    durable: UInt64, failedFirst: UInt64, failedThrough: UInt64
  ) {
    (durableSequence, failedFirst, failedThrough)
  }
  fileprivate mutating func deadline() -> Int64? { nextDeadline }
  fileprivate mutating func hasCandidate() -> Bool { wantsDirectory }
  fileprivate mutating func hasShutDown() -> Bool { isShutDown }
  fileprivate mutating func prepareError() -> Int32 { lastPrepareError }
  @inline(__always)
  fileprivate mutating func hasSpace(_ bytes: Int) -> Bool {
    spaceAvailable(bytes: bytes, records: RecordWriter.exchangeRecords)
  }
  fileprivate mutating func anchorLine(workers: Int) -> String? { anchor(workers: workers) }
  fileprivate mutating func totals() -> JournalCounters { counters }
}
