// Connections from their making to their end: connect, TLS, open, and the join before the close. A
// connection that ends is replaced at once; one that could not be made is tried again, later each
// time. Each attempt that fails takes a request with it, whoever came at that moment.

import Glibc
import HTTP1
import Histogram
import MillraceEngine
import Synchronization
import TLS
import Transport

extension LoadWorker where E: ~Copyable {
  /// The longest pause between two attempts to connect.
  private static var longestPause: Int64 { 1_000_000_000 }
  /// How long a server may take to close a connection that it has announced the end of.
  static var closingNanoseconds: Int64 { 1_000_000_000 }

  // MARK: Making

  mutating func openWaiting() {
    while connectsInFlight < Self.connectsAtOnce, stage < .draining {
      guard let slot = toOpen.popFirst() else { return }
      open(connections.baseAddress! + Int(slot))
    }
  }

  private mutating func open(_ c: LoadConnectionPointer) {
    let lane = lanes[Int(c.pointee.lane)]
    c.pointee.connectStart = engine.now
    do throws(SystemFailure) {
      let socket = try engine.connect(
        addresses[lane.server],
        Token(kind: LoadTokenKind.connect.rawValue, generation: 0, slot: slot(c)))
      c.pointee.transport = Transport(socket: socket, connecting: true)
      if c.pointee.isSlow { c.pointee.transport.mode = .once }
    } catch {
      return connectFailed(c, error.description)
    }
    inUse += 1
    connectsInFlight += 1
    c.pointee.phase = .connecting
    c.pointee.deadline = engine.now + timeout
  }

  mutating func connected(_ slot: UInt32, _ result: Int32) {
    let c = connections.baseAddress! + Int(slot)
    c.pointee.transport.connected()
    connectsInFlight -= 1
    if c.pointee.phase == .ending { return reapable.append(slot) }
    guard result == 0 else {
      let reason = SystemFailure(
        code: -result, operation: "connect \(addresses[lanes[Int(c.pointee.lane)].server])")
      connectFailed(c, reason.description)
      return end(c, nil)
    }
    let lane = lanes.baseAddress! + Int(c.pointee.lane)
    if lane.pointee.context != nil {
      guard beginHandshake(c, lane) else { return end(c, .tls, "cannot create a TLS session") }
    } else {
      opened(c)
    }
    arm(c)
  }

  /// The connection can be used.
  mutating func opened(_ c: LoadConnectionPointer) {
    c.pointee.phase = .open
    if speaksHTTP2 && !beginHTTP2(c) {
      return end(c, .protocolError, "cannot create an HTTP/2 session")
    }
    // Until it has been of use: a server that closes at once is not asked again without a pause.
    c.pointee.attempts += 1
    c.pointee.deadline = .max
    c.pointee.requestsLeft = requestsPerConnection
    tally.connectionsOpened += 1
    let lane = lanes.baseAddress! + Int(c.pointee.lane)
    lane.pointee.openCount += 1
    if isCounting && !c.pointee.isSlow {
      tally.connectTime.record(UInt64(max(0, engine.now - c.pointee.connectStart)))
    }
    report(c)
    offer(c)
  }

  /// The first result of a slot: when all have one, the run may begin.
  private mutating func report(_ c: LoadConnectionPointer) {
    guard !c.pointee.hasReported else { return }
    c.pointee.hasReported = true
    reported += 1
    guard reported == connections.count else { return }
    for i in lanes.indices where lanes[i].openCount == 0 {
      let why =
        tally.examples[LoadFailureKind.tls.rawValue]
        ?? tally.examples[LoadFailureKind.connect.rawValue] ?? "no connection was established"
      board.refuse("\(hosts[lanes[i].server]) (\(addresses[lanes[i].server])): \(why)")
    }
    board.settled.add(1, ordering: .releasing)
  }

  // MARK: Failing

  /// A connection could not be made. The one who came at this moment sees it.
  private mutating func connectFailed(_ c: LoadConnectionPointer, _ reason: String) {
    setUpFailed(c, .connect, reason)
    if c.pointee.phase == .vacant { reopen(c) }
  }

  /// Counts a connection that did not come about, and the request that it was made for.
  private mutating func setUpFailed(
    _ c: LoadConnectionPointer, _ kind: LoadFailureKind, _ reason: String
  ) {
    c.pointee.attempts += 1
    note(kind, reason)
    report(c)
    guard stage == .running || stage == .finishing else { return }
    if c.pointee.isSlow {
      tally.slowFailures += 1
      return
    }
    let lane = lanes.baseAddress! + Int(c.pointee.lane)
    if lane.pointee.pacer != nil {
      guard lane.pointee.nextSendTime <= engine.now else { return }
      let isCounted = lane.pointee.nextSendTime >= countStart
      let template = lane.pointee.nextTemplate
      advanceLane(lane)
      if isCounted { tally.planned += 1 }
      if isCounted { failed(kind, template) } else { quarter.failed += 1 }
    } else if isCounting && closedLeft > 0 {
      if closedLeft != .max { closedLeft -= 1 }
      tally.planned += 1
      failed(kind, lane.pointee.chooser!.template(lane.pointee.sequence))
    }
  }

  /// Counts a request of the counted part that was not good.
  mutating func failed(_ kind: LoadFailureKind, _ template: UInt32) {
    quarter.failed += 1
    tally.fail(kind, row: prepared[Int(template)].row)
  }

  /// Keeps the first failure of each kind in words.
  mutating func note(_ kind: LoadFailureKind, _ reason: @autoclosure () -> String) {
    if tally.examples[kind.rawValue] == nil { tally.examples[kind.rawValue] = reason() }
  }

  // MARK: Ending

  /// Ends a connection, and with it the requests that are in flight on it.
  mutating func end(
    _ c: LoadConnectionPointer, _ kind: LoadFailureKind?, _ reason: @autoclosure () -> String = ""
  ) {
    let phase = c.pointee.phase
    guard phase != .ending, phase != .vacant else { return }
    if let kind {
      note(kind, reason())
      if phase == .handshaking { setUpFailed(c, kind, reason()) }
      failFlights(c, kind)
    }
    assert(c.pointee.flightCount == 0 || stage >= .draining)
    if phase == .open || phase == .finished { lanes[Int(c.pointee.lane)].openCount -= 1 }
    c.pointee.phase = .ending
    c.pointee.deadline = .max
    if kind == nil { closeTLS(c) }
    c.pointee.plain.clear()
    c.pointee.transport.unsent.clear()
    c.pointee.transport.join(&engine)
    reapable.append(slot(c))
  }

  private mutating func failFlights(_ c: LoadConnectionPointer, _ kind: LoadFailureKind) {
    while let flight = popFlight(c) { fail(c, flight, kind) }
  }

  /// Counts a request that is not good, whoever sent it.
  mutating func fail(_ c: LoadConnectionPointer, _ flight: Flight, _ kind: LoadFailureKind) {
    if c.pointee.isSlow {
      tally.slowFailures += 1
    } else if flight.isCounted {
      failed(kind, flight.template)
    } else {
      quarter.failed += 1
    }
  }

  /// At the end of the run.
  mutating func endForGood(_ slot: UInt32) {
    let c = connections.baseAddress! + Int(slot)
    while popFlight(c) != nil {}
    end(c, nil)
  }

  /// No response follows on this connection: what the server has left unanswered is asked again on
  /// another one. A server that announced the end is left to close first, so that the port is not
  /// ours to hold; one that ignored what was asked of it would never do so, and is not waited for.
  mutating func finish(_ c: LoadConnectionPointer) {
    let lane = lanes.baseAddress! + Int(c.pointee.lane)
    while let flight = popFlight(c) {
      if c.pointee.isSlow { continue }
      if stage >= .draining {
        // Nothing is sent any more.
        if flight.isCounted { failed(.closed, flight.template) }
        continue
      }
      if flight.isCounted { tally.sent -= 1 }
      lane.pointee.resend.append(flight)
    }
    let isAnnounced = !speaksHTTP2 && !c.pointee.keepsConnection
    if !isAnnounced || c.pointee.transport.sending || c.pointee.uploadTemplate >= 0
      || !c.pointee.transport.receiving
    {
      // What is still being sent will never be read.
      return end(c, nil)
    }
    c.pointee.phase = .finished
    c.pointee.deadline = engine.now + Self.closingNanoseconds
  }

  /// Closes what has nothing in flight any more.
  mutating func reap() {
    while let slot = reapable.popLast() {
      let c = connections.baseAddress! + Int(slot)
      guard c.pointee.phase == .ending, c.pointee.transport.isJoined else { continue }
      c.pointee.transport.close(&engine)
      channels.close(&c.pointee.transport)
      c.pointee.reset()
      inUse -= 1
      reopen(c)
    }
  }

  private mutating func reopen(_ c: LoadConnectionPointer) {
    guard stage < .draining else { return }
    if c.pointee.attempts == 0 { return toOpen.append(slot(c)) }
    let pause = min(Self.longestPause, 1_000_000 << Int64(min(c.pointee.attempts - 1, 10)))
    heap.insert(slot(c), at: engine.now + pause)
  }

  // MARK: Time

  /// The pause of a connection is over.
  mutating func due(_ slot: UInt32, _ now: Int64) {
    let c = connections.baseAddress! + Int(slot)
    if c.pointee.phase == .vacant {
      if stage < .draining { toOpen.append(slot) }
    } else if c.pointee.isSlow {
      arm(c)
    }
  }

  /// Looks at every connection for what has lasted too long. Sixteen times per timeout: a request is
  /// found at most a sixteenth late, and no request costs a timer.
  mutating func sweep(_ now: Int64) {
    nextSweep = now + sweepInterval
    for slot in connections.indices {
      let c = connections.baseAddress! + slot
      switch c.pointee.phase {
      case .connecting where now >= c.pointee.deadline:
        setUpFailed(
          c, .connect, "connect \(addresses[lanes[Int(c.pointee.lane)].server]): timed out")
        end(c, nil)
      case .handshaking where now >= c.pointee.deadline:
        end(c, .tls, "handshake timeout")
      case .finished where now >= c.pointee.deadline: end(c, nil)
      case .open where now >= c.pointee.deadline: end(c, nil)
      case .open where c.pointee.flightCount > 0 && !c.pointee.isSlow:
        if speaksHTTP2 {
          sweepStreams(c, now)
        } else if oldestFlight(c).pointee.sent + timeout <= now {
          end(c, .timeout, "response timeout")
        }
      default: break
      }
    }
  }
}
