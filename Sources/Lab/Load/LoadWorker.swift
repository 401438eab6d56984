// One load thread: an engine, its share of the connections, and a loop that sends what is due. A turn
// takes all completions, then reads the clock again and dispatches: a request's time of sending is
// not blurred by the responses that were read before it. Nothing here is shared but the board.

import Glibc
import HTTP1
import HTTP2
import MillraceEngine
import Synchronization
import TLS
import Transport

/// What a token is about.
enum LoadTokenKind: UInt8 {
  case connect = 1
  case receive, send
}

/// How far a thread has got.
enum LoadStage: UInt8, Comparable {
  /// Connections are made; nothing is sent.
  case settling
  /// Moments come: the warm-up, then the counted part.
  case running
  /// The counted part is over; what has waited for a connection may still be sent, and what a server
  /// left unanswered sent again.
  case finishing
  /// Nothing is sent any more; responses are waited for.
  case draining
  /// Connections are closed.
  case ending
  case done

  static func < (a: LoadStage, b: LoadStage) -> Bool { a.rawValue < b.rawValue }
}

struct LoadWorker<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let board: LoadBoard
  let index: Int
  let addresses: [SocketAddress]
  let hosts: [String]
  let depth: Int
  let requestsPerConnection: Int
  let resumesSessions: Bool
  let timeout: Int64
  let slowBytesPerSecond: Int
  var isOpenLoop: Bool
  let speaksHTTP2: Bool

  let lanes: UnsafeMutableBufferPointer<Lane>
  let connections: UnsafeMutableBufferPointer<LoadConnection>
  /// `depth` per connection.
  let flights: UnsafeMutablePointer<Flight>
  let prepared: UnsafeMutableBufferPointer<PreparedRequest>
  /// In HTTP/2: as many as flights; the heads of the templates; memory of all sessions.
  let streams: UnsafeMutablePointer<StreamPlace>?
  let fieldLists: UnsafeMutableBufferPointer<HTTP2FieldList>
  let http2Memory: HTTP2Memory?
  let plaintext: UnsafeMutableRawBufferPointer
  var channels: TLSChannels
  /// Output of HTTP/2 sessions.
  let frames: UnsafeMutableRawBufferPointer
  var responseHead: ResponseHead
  let responseLimits = HeadLimits(headBytes: 65_536, targetBytes: 0, fields: 256)

  var tally: LoadTally
  var quarter = LoadQuarter()
  var stage = LoadStage.settling
  var heap: DeadlineHeap<UInt32>
  /// Slots that a connection is to be made for.
  var toOpen: SlotRing<UInt32>
  var reapable: [UInt32] = []
  var connectsInFlight = 0
  var reported = 0
  /// Requests in flight, those of slow readers apart.
  var inAir = 0
  var inUse = 0
  /// In a closed loop with a limit: counted requests that may still be sent.
  var closedLeft: Int
  /// Whether the requests may be over before the time is.
  let mayRunOut: Bool
  /// Whether the counted part then ends with the last answer.
  let waitsForAnswers: Bool

  // Monotonic nanoseconds.
  var warmUp: Int64
  var duration: Int64
  var start = Int64.max
  var countStart = Int64.max
  var countEnd = Int64.max
  /// What waits for a connection may be sent until then.
  var sendEnd = Int64.max
  var drainEnd = Int64.max
  var nextSweep: Int64
  let sweepInterval: Int64
  var quarterIndex = Int.min
  var nextQuarter = Int64.max
  var isCounting = false
  /// Of slices: the number of the last order that was taken.
  var sliceNumber = 0
  var threadClock: Int64 = 0
  var processClock: Int64 = 0

  /// Connects under way at one time: a burst beyond a server's backlog (511 in nginx) would be
  /// dropped, and tried again after a second only.
  static var connectsAtOnce: Int { 128 }

  // MARK: The loop

  mutating func run() {
    while stage != .done { turn() }
  }

  mutating func turn() {
    reap()
    if !toOpen.isEmpty { openWaiting() }
    engine.wait(until: nextDeadline())
    while let completion = engine.next() { take(completion) }
    let now = engine.now
    while let slot = heap.takeDue(now) { due(slot, now) }
    if now >= nextSweep { sweep(now) }
    advance(now)
    if stage == .running || stage == .finishing {
      engine.refreshClocks()
      for i in lanes.indices { feed(lanes.baseAddress! + i) }
    }
    if now >= nextQuarter { deliverQuarters(now) }
  }

  @inline(__always)
  private mutating func take(_ completion: Completion) {
    let slot = completion.token.slot
    switch LoadTokenKind(rawValue: completion.token.kind) {
    case .receive: received(slot, completion)
    case .send: sent(slot, completion.result)
    case .connect: connected(slot, completion.result)
    case nil: assertionFailure("a completion of an unknown kind")
    }
  }

  private func nextDeadline() -> Int64? {
    if !reapable.isEmpty { return 0 }
    var deadline = min(heap.nextDue, nextSweep, nextQuarter)
    switch stage {
    case .settling: deadline = min(deadline, start)
    case .running: deadline = min(deadline, isCounting ? countEnd : countStart, countEnd)
    case .finishing: deadline = min(deadline, sendEnd)
    case .draining: deadline = min(deadline, drainEnd)
    case .ending, .done: break
    }
    if stage == .running || stage == .finishing {
      for i in lanes.indices where !lanes[i].idle.isEmpty {
        deadline = min(deadline, lanes[i].nextSendTime)
      }
    }
    return deadline
  }

  // MARK: Stages

  /// Starts the warm-up at a moment of the monotonic clock.
  mutating func begin(at moment: Int64) {
    start = moment
    countStart = moment + warmUp
    countEnd = countStart + duration
    // What waits at the end belongs to the counted part and deserves an answer; a server that can
    // never catch up does not hold the run for longer than this.
    sendEnd = countEnd + min(timeout, max(1_000_000_000, duration / 10))
    let intoQuarter = warmUp % LoadQuarter.nanoseconds
    quarterIndex = -Int((warmUp + LoadQuarter.nanoseconds - 1) / LoadQuarter.nanoseconds)
    nextQuarter = start + (intoQuarter == 0 ? LoadQuarter.nanoseconds : intoQuarter)
    for i in lanes.indices where !lanes[i].isSlow { advanceLane(lanes.baseAddress! + i) }
  }

  private mutating func advance(_ now: Int64) {
    if board.stops.load(ordering: .relaxed) { stopEarly(now) }
    switch stage {
    case .settling:
      if let desk = board.desk {
        if start == .max { takeSlice(desk) }
      } else if start == .max {
        let moment = board.startAt.load(ordering: .acquiring)
        if moment > 0 { begin(at: moment) }
      }
      if now >= start {
        stage = .running
        advance(now)
      }
    case .running:
      if !isCounting && now >= countStart { beginCounting() }
      if hasRunOut(now) { countEnd = min(countEnd, max(now, countStart)) }
      if now >= countEnd {
        if !isCounting { beginCounting() }
        endCounting()
        stage = .finishing
        advance(now)
      }
    case .finishing:
      // While something is in flight the server may end its connection and leave it to another.
      if now >= sendEnd || (!hasBacklog && inAir == 0) {
        failUnsent()
        stage = .draining
        advance(now)
      }
    case .draining:
      if inAir == 0 || now >= drainEnd {
        forgetUnfinished()
        if let desk = board.desk, !board.stops.load(ordering: .relaxed) { return endSlice(desk) }
        stage = .ending
        for slot in connections.indices { endForGood(UInt32(slot)) }
      }
    case .ending:
      if inUse == 0 { stage = .done }
    case .done: break
    }
  }

  private mutating func beginCounting() {
    isCounting = true
    tally.startedMicroseconds = engine.wallMicroseconds
    threadClock = Self.nanoseconds(CLOCK_THREAD_CPUTIME_ID)
    processClock = Self.nanoseconds(CLOCK_PROCESS_CPUTIME_ID)
  }

  private mutating func endCounting() {
    isCounting = false
    tally.countedNanoseconds = countEnd - countStart
    tally.threadNanoseconds = Self.nanoseconds(CLOCK_THREAD_CPUTIME_ID) - threadClock
    // The threads' counted parts are the same but for a turn: one of them looks for all.
    if index == 0 {
      tally.processNanoseconds = Self.nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - processClock
    }
    guard board.desk == nil else { return }
    deliverQuarters(countEnd)
    // The rest of a quarter; after it nothing belongs to the course any more.
    board.deliver(quarterIndex, &quarter)
    nextQuarter = .max
  }

  /// Whether there is nothing left to send before the time is over.
  private func hasRunOut(_ now: Int64) -> Bool {
    guard mayRunOut else { return false }
    if !isOpenLoop && closedLeft > 0 || waitsForAnswers && inAir > 0 { return false }
    return !hasBacklog
  }

  private var hasBacklog: Bool {
    for i in lanes.indices where !lanes[i].isSlow {
      if lanes[i].nextSendTime != .max || !lanes[i].resend.isEmpty { return true }
    }
    return false
  }

  private mutating func stopEarly(_ now: Int64) {
    guard stage < .draining else { return }
    if stage == .settling {
      stage = .ending
      for slot in connections.indices { endForGood(UInt32(slot)) }
      return
    }
    if !isCounting { countStart = min(countStart, now) }
    countEnd = min(countEnd, now)
    for i in lanes.indices { dropRequestsAfterEnd(lanes.baseAddress! + i) }
    sendEnd = min(sendEnd, now)
    drainEnd = min(drainEnd, now + 1_000_000_000)
  }

  private mutating func dropRequestsAfterEnd(_ lane: UnsafeMutablePointer<Lane>) {
    if lane.pointee.nextSendTime >= countEnd { lane.pointee.nextSendTime = .max }
  }

  /// What has waited for a connection until the end has failed.
  private mutating func failUnsent() {
    for i in lanes.indices where !lanes[i].isSlow {
      let lane = lanes.baseAddress! + i
      while let flight = lane.pointee.resend.popFirst() {
        if flight.isCounted { failed(.unsent, flight.template) }
      }
      while lane.pointee.nextSendTime != .max {
        if lane.pointee.nextSendTime >= countStart {
          tally.planned += 1
          failed(.unsent, lane.pointee.nextTemplate)
        }
        advanceLane(lane)
      }
    }
  }

  /// After an early stop: requests whose outcome nobody waited for were never counted.
  private mutating func forgetUnfinished() {
    guard inAir > 0 else { return }
    for slot in connections.indices where !connections[slot].isSlow {
      let c = connections.baseAddress! + slot
      while let flight = popFlight(c) {
        guard flight.isCounted else { continue }
        tally.planned -= 1
        tally.sent -= 1
      }
    }
  }

  private mutating func deliverQuarters(_ now: Int64) {
    while now >= nextQuarter {
      board.deliver(quarterIndex, &quarter)
      quarterIndex += 1
      nextQuarter += LoadQuarter.nanoseconds
    }
  }

  static func nanoseconds(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
