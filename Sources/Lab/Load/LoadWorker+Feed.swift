// Giving requests to connections: in an open loop what is due, to the connection that has been idle
// for the longest; in a closed loop as many as the connections take. A moment that finds no idle
// connection is remembered by nothing but the lane's place in its own sequence.

import HTTP1
import Histogram
import MillraceEngine
import Transport

extension LoadWorker where E: ~Copyable {
  /// After so many sends in a row the clock is read again. On epoll each is a system call of some
  /// microseconds, and the last of a batch would seem to have left long before it did; on io_uring
  /// they leave together, when the turn ends.
  private var sendsPerClock: Int { engine.kind == .epoll ? 8 : 64 }

  /// Content that travels with its head; the rest follows piece by piece.
  static var uploadPiece: Int { 262_144 }

  mutating func feed(_ lane: UnsafeMutablePointer<Lane>) {
    if lane.pointee.pacer != nil {
      feedOpen(lane)
    } else {
      feedClosed(lane)
    }
  }

  private mutating func feedOpen(_ lane: UnsafeMutablePointer<Lane>) {
    var sends = 0
    while true {
      let now = engine.now
      let isAgain = !lane.pointee.resend.isEmpty
      guard isAgain || lane.pointee.nextSendTime <= now, let c = takeIdle(lane) else { return }
      if isAgain, let flight = lane.pointee.resend.popFirst() {
        launch(
          c,
          Flight(
            planned: flight.planned, sent: now, template: flight.template,
            isCounted: flight.isCounted))
      } else {
        let planned = lane.pointee.nextSendTime
        let flight = Flight(
          planned: planned, sent: now, template: lane.pointee.nextTemplate,
          isCounted: planned >= countStart)
        advanceLane(lane)
        if flight.isCounted {
          tally.planned += 1
          tally.delay.record(UInt64(now - planned))
        }
        launch(c, flight)
      }
      flush(c)
      offer(c)
      sends += 1
      if sends % sendsPerClock == 0 { engine.refreshClocks() }
    }
  }

  private mutating func feedClosed(_ lane: UnsafeMutablePointer<Lane>) {
    var sends = 0
    let isRunning = stage == .running
    while !lane.pointee.resend.isEmpty || (isRunning && (closedLeft > 0 || lane.pointee.isSlow)) {
      guard let c = takeIdle(lane) else { return }
      let now = engine.now
      // A pipeline's requests leave together.
      while canTake(c) {
        if let flight = lane.pointee.resend.popFirst() {
          launch(
            c,
            Flight(
              planned: now, sent: now, template: flight.template, isCounted: flight.isCounted))
          continue
        }
        if !isRunning { break }
        let isCounted = isCounting && !lane.pointee.isSlow
        if isCounted {
          if closedLeft == 0 { break }
          if closedLeft != .max { closedLeft -= 1 }
          tally.planned += 1
        }
        launch(
          c,
          Flight(
            planned: now, sent: now, template: chooseClosed(lane), isCounted: isCounted))
      }
      flush(c)
      sends += 1
      if sends % sendsPerClock == 0 { engine.refreshClocks() }
    }
  }

  @inline(__always)
  private func chooseClosed(_ lane: UnsafeMutablePointer<Lane>) -> UInt32 {
    let number = lane.pointee.sequence
    lane.pointee.sequence &+= 1
    return lane.pointee.chooser!.template(number)
  }

  // MARK: Lanes

  /// Moves a lane to its next moment.
  @inline(__always)
  mutating func advanceLane(_ lane: UnsafeMutablePointer<Lane>) {
    guard lane.pointee.pacer != nil else { return }
    while let moment = lane.pointee.pacer!.next() {
      let planned = start &+ moment.offset
      if planned >= countEnd { break }
      if prepared[Int(moment.template)].server != lane.pointee.server { continue }
      lane.pointee.nextSendTime = planned
      lane.pointee.nextTemplate = moment.template
      return
    }
    lane.pointee.nextSendTime = .max
  }

  /// Puts a connection into its lane's queue if it can take a request.
  @inline(__always)
  mutating func offer(_ c: LoadConnectionPointer) {
    guard !c.pointee.isQueued, canTake(c) else { return }
    c.pointee.isQueued = true
    lanes[Int(c.pointee.lane)].idle.append(slot(c))
  }

  @inline(__always)
  func canTake(_ c: LoadConnectionPointer) -> Bool {
    guard c.pointee.phase == .open, Int(c.pointee.flightCount) < depth,
      c.pointee.requestsLeft > 0
    else { return false }
    if speaksHTTP2 { return c.pointee.canRequest() }
    return !c.pointee.transport.sending && c.pointee.uploadTemplate < 0
  }

  /// The connection that has waited longest; those that ended meanwhile are passed over.
  @inline(__always)
  private mutating func takeIdle(_ lane: UnsafeMutablePointer<Lane>) -> LoadConnectionPointer? {
    while let slot = lane.pointee.idle.popFirst() {
      let c = connections.baseAddress! + Int(slot)
      c.pointee.isQueued = false
      if canTake(c) { return c }
    }
    return nil
  }

  @inline(__always)
  func slot(_ c: LoadConnectionPointer) -> UInt32 {
    UInt32(c - connections.baseAddress!)
  }

  // MARK: Flights

  @inline(__always)
  func pushFlight(_ c: LoadConnectionPointer, _ flight: Flight) {
    var place = Int(c.pointee.firstFlight + c.pointee.flightCount)
    if place >= depth { place -= depth }
    flights[Int(slot(c)) * depth + place] = flight
    c.pointee.flightCount += 1
  }

  /// The request whose response is next. - Precondition: there is one.
  @inline(__always)
  func oldestFlight(_ c: LoadConnectionPointer) -> UnsafeMutablePointer<Flight> {
    flights + Int(slot(c)) * depth + Int(c.pointee.firstFlight)
  }

  @inline(__always)
  mutating func popFlight(_ c: LoadConnectionPointer) -> Flight? {
    guard c.pointee.flightCount > 0 else { return nil }
    if speaksHTTP2 { return popStream(c) }
    let flight = oldestFlight(c).pointee
    c.pointee.firstFlight += 1
    if Int(c.pointee.firstFlight) == depth { c.pointee.firstFlight = 0 }
    c.pointee.flightCount -= 1
    if !c.pointee.isSlow { inAir -= 1 }
    return flight
  }

  // MARK: Sending

  /// Writes a request behind what the connection is about to send.
  @inline(__always)
  private mutating func launch(_ c: LoadConnectionPointer, _ flight: Flight) {
    if !speaksHTTP2 { pushFlight(c, flight) }
    c.pointee.attempts = 0
    if !c.pointee.isSlow {
      inAir += 1
      quarter.sent += 1
      if flight.isCounted { tally.sent += 1 }
      if isCounting { tally.sentInTime += 1 }
    }
    if speaksHTTP2 { return launchStream(c, flight) }
    // Frames are as many as connections twice over; without one the engine is at its end.
    guard c.pointee.plain.prepare(&engine) else {
      return end(c, .reset, "no send frame is free")
    }
    if c.pointee.requestsLeft != .max { c.pointee.requestsLeft -= 1 }
    let request = prepared.baseAddress! + Int(flight.template)
    let head = c.pointee.requestsLeft == 0 ? request.pointee.lastHead : request.pointee.head
    guard c.pointee.plain.append(head) else {
      return end(c, .reset, "a request does not fit into a send frame")
    }
    if request.pointee.contentCount > 0 {
      c.pointee.uploadTemplate = Int32(flight.template)
      c.pointee.uploadSent = 0
      appendContent(c)
    }
  }

  /// Appends the next piece of a request's content to the frame.
  mutating func appendContent(_ c: LoadConnectionPointer) {
    let request = prepared.baseAddress! + Int(c.pointee.uploadTemplate)
    let count = min(request.pointee.contentCount - c.pointee.uploadSent, Self.uploadPiece)
    let piece = request.pointee.content.subslice(start: c.pointee.uploadSent, count: count)
    c.pointee.uploadSent += count
    if c.pointee.uploadSent == request.pointee.contentCount { c.pointee.uploadTemplate = -1 }
    if !c.pointee.plain.append(piece) {
      end(c, .reset, "the request content does not fit into a send frame")
    }
  }

  /// Sends what is pending, if nothing is in flight.
  @inline(__always)
  mutating func flush(_ c: LoadConnectionPointer) {
    guard !c.pointee.transport.sending, c.pointee.phase != .ending else { return }
    if c.pointee.http2 != nil { gatherFrames(c) }
    if !c.pointee.plain.isEmpty, !movePlain(c) {
      return end(c, .tls, "encryption failed")
    }
    if isCounting { tally.bytesSent += c.pointee.transport.unsent.count }
    // Nothing waits for the success of a send whose response tells it.
    let isWhole =
      depth == 1 && !speaksHTTP2 && c.pointee.uploadTemplate < 0 && c.pointee.phase == .open
    _ = c.pointee.transport.flush(
      isWhole ? .quiet : .awaited,
      Token(kind: LoadTokenKind.send.rawValue, generation: 0, slot: slot(c)), &engine)
  }

  /// Moves what is to be said to what leaves next; over TLS in records. - Returns: false if it cannot.
  @inline(__always)
  private mutating func movePlain(_ c: LoadConnectionPointer) -> Bool {
    guard let channel = c.pointee.transport.tls else {
      c.pointee.transport.unsent.replace(with: &c.pointee.plain)
      return true
    }
    guard let frame = c.pointee.plain.take() else { return true }
    return c.pointee.transport.encrypt(channel, frame, &engine) == .done
  }

  mutating func sent(_ slot: UInt32, _ result: Int32) {
    let c = connections.baseAddress! + Int(slot)
    c.pointee.transport.sent()
    if c.pointee.phase == .ending { return reapable.append(slot) }
    if result < 0 {
      // The server may have answered before it closed: what it sent is read first, and its end
      // decides. Where nothing is being read any more, this was the end.
      c.pointee.plain.clear()
      c.pointee.transport.unsent.clear()
      c.pointee.uploadTemplate = -1
      c.pointee.requestsLeft = 0
      if !c.pointee.transport.receiving {
        end(c, .reset, SystemFailure(code: -result, operation: "send").description)
      }
      return
    }
    if let channel = c.pointee.transport.tls, channel.pointee.isStalled {
      resumeDecrypting(c, channel)
      if c.pointee.phase == .ending { return }
    }
    if c.pointee.uploadTemplate >= 0 && c.pointee.phase == .open {
      guard c.pointee.plain.prepare(&engine) else { return end(c, .reset, "no send frame is free") }
      appendContent(c)
    } else if c.pointee.phase == .open {
      c.pointee.deadline = .max
    }
    flush(c)
    if speaksHTTP2 && endIfOver(c) { return }
    offer(c)
  }
}
