// The connections from clients of a worker: taking them in, reading and sending, and their end. What
// the bytes mean is for others to say; nothing here knows of an exchange but that one is there.

import Configuration
import Glibc
import HTTP1
import MillraceEngine
import Synchronization
import TLS
import Transport

struct Downstreams: ~Copyable {
  private let inPlace = InPlace()
  private var slab: Slab<DownstreamConnection>
  /// The protocol that is spoken on them.
  var http1: HTTP1Server
  var http2: HTTP2Server
  /// The client's address as text, `clientTextBytes` per slot.
  private let clientText: UnsafeMutableRawPointer
  private var channels: TLSChannels
  /// Connections that may have nothing in flight any more.
  private var joining: [UInt32] = []
  /// Connections whose unread input may be used in the next turn.
  private var resumable: [UInt32] = []
  /// Connections of HTTP/2 that have something to send.
  private var noted: [UInt32] = []
  /// Of the process: connections of all workers.
  private let connectionCount: UnsafeMutablePointer<Atomic<Int>>

  private static var clientTextBytes: Int { 64 }

  init(_ limits: LimitsConfiguration, connectionCount: UnsafeMutablePointer<Atomic<Int>>) {
    let capacity = limits.connections
    slab = Slab(capacity: capacity)
    http1 = HTTP1Server(limits)
    http2 = HTTP2Server(limits)
    clientText = .allocate(byteCount: capacity * Self.clientTextBytes, alignment: 64)
    channels = TLSChannels(capacity: capacity)
    self.connectionCount = connectionCount
  }

  deinit { clientText.deallocate() }

  // MARK: Slots

  @inline(__always)
  subscript(slot: UInt32) -> DownstreamPointer { slab[slot] }
  /// The connection of a stream.
  @inline(__always)
  subscript(stream: StreamReference) -> DownstreamPointer { slab[stream.connection] }
  var capacity: Int { slab.capacity }
  var inUse: Int { slab.inUse }
  /// Slots that were ever in use are below.
  var touched: UInt32 { slab.touched }

  /// Whether a slot has a connection whose socket is open.
  func isActive(_ slot: UInt32) -> Bool {
    slot < slab.touched && slab.isTaken(slot) && slab[slot].pointee.transport.socket.isValid
  }

  @inline(__always)
  func token(_ kind: TokenKind, _ d: DownstreamPointer) -> Token {
    let slot = d.pointee.slot
    return Token(kind: kind.rawValue, generation: slab.generation(slot), slot: slot)
  }

  /// The client's address, without its port.
  @inline(__always)
  func client(_ d: DownstreamPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: clientText + Int(d.pointee.slot) * Self.clientTextBytes,
      count: d.pointee.clientLength)
  }

  /// The client's address as it stands in log lines.
  func clientName(_ d: DownstreamPointer) -> String { String(decoding: client(d), as: UTF8.self) }

  /// Memory in which a TLS session speaks.
  @inline(__always) var scratch: UnsafeMutableRawBufferPointer { channels.scratch }

  /// Connections of all workers.
  var countOfProcess: Int { connectionCount.pointee.load(ordering: .relaxed) }

  // MARK: Taking in

  /// Takes a new connection in, or refuses it with a reset when the process is full.
  /// - Parameter listener: its index in `LivePlan`.
  /// - Returns: nil if it was refused.
  mutating func admit<E: Engine & ~Copyable>(
    _ socket: Descriptor, _ listener: Int32, _ loop: inout Loop<E>
  ) -> DownstreamPointer? {
    let limit = loop.plan.limits.connections
    let others = connectionCount.pointee.wrappingAdd(1, ordering: .relaxed).oldValue
    guard others < limit, let slot = slab.take() else {
      refuse(socket, &loop)
      return nil
    }
    // Before anything is read: a client that has reset its connection may have no address any more
    // (ENOTCONN), and without one nothing of it is to be served or recorded.
    let text = UnsafeMutableRawBufferPointer(
      start: clientText + Int(slot) * Self.clientTextBytes, count: Self.clientTextBytes)
    let textLength = loop.engine.peerAddress(socket)?.writeHost(to: text) ?? 0
    guard textLength > 0 else {
      slab.release(slot)
      refuse(socket, &loop)
      return nil
    }
    let d = slab[slot]
    d.initialize(to: DownstreamConnection(socket: socket, slot: slot, listener: listener))
    if let context = loop.plan.listeners[Int(listener)].tls {
      guard let session = TLSSession(context: context.takeUnretainedValue()),
        channels.open(session, on: &d.pointee.transport)
      else {
        d.deinitialize(count: 1)
        slab.release(slot)
        refuse(socket, &loop)
        return nil
      }
    }
    d.pointee.use = loop.plan.join(listener)
    loop.counters.accepted += 1
    loop.counters[listener: loop.plan.row(ofListener: listener), .accepted] += 1
    d.pointee.clientLength = textLength
    d.pointee.transport.deadline =
      loop.engine.now + loop.plan.listeners[Int(listener)].headTimeout
    loop.armTimer(d.transport, Int(slot))
    arm(d, &loop)
    return d
  }

  private func refuse<E: Engine & ~Copyable>(_ socket: Descriptor, _ loop: inout Loop<E>) {
    connectionCount.pointee.wrappingSubtract(1, ordering: .relaxed)
    loop.counters.refused += 1
    loop.engine.resetOnClose(socket)
    loop.engine.close(socket)
  }

  // MARK: Reading

  /// Starts a receive, unless one is in flight or nothing is to be read.
  @inline(__always)
  func arm<E: Engine & ~Copyable>(_ d: DownstreamPointer, _ loop: inout Loop<E>) {
    d.transport.pointee.arm(token(.downstreamReceive, d), &loop.engine)
  }

  /// The receive in flight has ended: the next one begins, unless the connection is at its end.
  @inline(__always)
  mutating func receiveEnded<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, _ loop: inout Loop<E>
  ) {
    if d.transport.pointee.closing == .joining { joining.append(d.pointee.slot) }
    arm(d, &loop)
  }

  /// Stops reading: what came is kept, and what comes stays with the kernel.
  ///
  /// From here on the connection is read in pieces, one for each time that it is asked for more. A
  /// stream that is armed on a socket with much to read brings up to 136 KiB before it can be
  /// stopped (io_uring; 396 KiB before Linux 6.17), and each time again.
  func pauseInput<E: Engine & ~Copyable>(_ d: DownstreamPointer, _ loop: inout Loop<E>) {
    pause(d, &loop)
    d.pointee.isPaced = true
    d.transport.pointee.stopReceiving(&loop.engine)
    d.transport.pointee.mode = .once
  }

  /// Begins no further receive until `arm` is called with `paused` taken back.
  func pause<E: Engine & ~Copyable>(_ d: DownstreamPointer, _ loop: inout Loop<E>) {
    d.transport.pointee.paused = true
    loop.watch(d.transport, Int(d.pointee.slot))
  }

  /// Ends TLS on a connection whose client does not speak it: what leaves from now on is plain.
  mutating func dropTLS(_ d: DownstreamPointer) {
    // An alert that the session has put there would stand before the status line.
    d.pointee.transport.unsent.clear()
    channels.close(&d.pointee.transport)
  }

  // MARK: Sending

  /// Sends what waits, if nothing is in flight.
  @inline(__always)
  func send<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, _ urgency: SendUrgency, _ loop: inout Loop<E>
  ) {
    loop.flush(d.transport, urgency, token(.downstreamSend, d), node: Int(d.pointee.slot))
  }

  /// The send in flight has ended. - Returns: false if the connection waited for no more than that.
  @inline(__always)
  mutating func sendEnded(_ d: DownstreamPointer) -> Bool {
    d.transport.pointee.sent()
    guard d.transport.pointee.closing == .joining else { return true }
    joining.append(d.pointee.slot)
    return false
  }

  // MARK: Between requests

  /// The connection is ready for its next request.
  mutating func becomeIdle<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, largeRequest: Bool, _ loop: inout Loop<E>
  ) {
    let t = d.transport
    d.pointee.phase = .idle
    loop.adoptPlan(&d.pointee.use)
    t.pointee.deadline =
      loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].idleTimeout
    // An upload tends to be followed by another: the mode changes back after a small request.
    if !largeRequest && !d.pointee.isPaced { t.pointee.setMode(.stream, &loop.engine) }
    if !t.pointee.unread.isEmpty || t.pointee.readClosed {
      // What is unread is used up before more is read: each small request of a pipeline would else
      // let a large read in. One request per turn, so that no pipeline keeps the others waiting.
      pauseInput(d, &loop)
      resumable.append(d.pointee.slot)
      return
    }
    t.pointee.paused = false
    if loop.isEnding(d.pointee.use) { grantGrace(d, &loop) }
    arm(d, &loop)
  }

  /// Connections whose unread input may be used now. Those that are added meanwhile wait for the next
  /// turn.
  @inline(__always) var resumableCount: Int { resumable.count }
  func resumable(at index: Int) -> UInt32 { resumable[index] }
  mutating func removeResumable(_ count: Int) { resumable.removeFirst(count) }
  /// Has a connection looked at once more before the turn ends.
  mutating func addResumable(_ d: DownstreamPointer) {
    if d.pointee.isHTTP2 {
      let c = http2[d.pointee.slot]
      guard !c.pointee.isResumable else { return }
      c.pointee.isResumable = true
    }
    resumable.append(d.pointee.slot)
  }

  /// Has a connection of HTTP/2 flushed at the turn's end, or where few requests are in progress before the next client's
  /// are looked at: what its streams have by then leaves together, in one record of TLS.
  @inline(__always)
  mutating func noteOutput(_ d: DownstreamPointer) {
    let c = http2[d.pointee.slot]
    guard !c.pointee.isNoted else { return }
    c.pointee.isNoted = true
    noted.append(d.pointee.slot)
  }

  @inline(__always) var notedCount: Int { noted.count }
  /// nil: that connection has ended meanwhile.
  func noted(at index: Int) -> DownstreamPointer? {
    let slot = noted[index]
    return isActive(slot) && slab[slot].pointee.isHTTP2 ? slab[slot] : nil
  }
  mutating func removeNoted(_ count: Int) { noted.removeFirst(count) }

  /// An idle connection of a worker that drains may bring one more request, for a while; a head that
  /// has begun keeps its own deadline.
  func grantGrace<E: Engine & ~Copyable>(_ d: DownstreamPointer, _ loop: inout Loop<E>) {
    let t = d.transport
    guard t.pointee.closing == .open, !d.pointee.http1.isScanning else { return }
    t.pointee.deadline = min(t.pointee.deadline, loop.engine.now + loop.grace)
    loop.armTimerExactly(t, Int(d.pointee.slot))
  }

  // MARK: The end

  /// Ends a connection in order: what is to be sent leaves, TLS says goodbye, then it closes.
  /// - Parameter linger: true when the peer may still be sending; closing with unread input would
  ///   reset the connection and could destroy the answer before it is read (RFC 9112 9.6).
  mutating func close<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, linger: Bool, _ loop: inout Loop<E>
  ) {
    let t = d.transport
    guard t.pointee.closing == .open else { return }
    t.pointee.beginFlushing()
    d.pointee.lingers = linger
    if let channel = t.pointee.tls {
      t.pointee.sendCloseNotify(channel, scratch: channels.scratch, &loop.engine)
    }
    t.pointee.deadline =
      loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].bodyTimeout
    advanceClosing(d, &loop)
  }

  /// Goes on with the end of a connection when a send has ended.
  mutating func advanceClosing<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, _ loop: inout Loop<E>
  ) {
    let t = d.transport
    guard t.pointee.closing == .flushing else { return }
    if !t.pointee.sending && !t.pointee.unsent.isEmpty { send(d, .awaited, &loop) }
    if t.pointee.sending {
      loop.engine.expediteSends()
      return
    }
    guard d.pointee.lingers, !t.pointee.readClosed else { return join(d, &loop) }
    t.pointee.linger(&loop.engine)
    d.pointee.lingered = 0
    d.pointee.phase = .linger
    t.pointee.deadline = loop.engine.now + Watermark.lingerNanoseconds
    loop.armTimer(t, Int(d.pointee.slot))
    arm(d, &loop)
  }

  /// Counts what a lingering connection still sends; there is an end to that.
  mutating func drop<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, _ count: Int, _ loop: inout Loop<E>
  ) {
    d.pointee.lingered += count
    if d.pointee.lingered > Watermark.lingerBytes { join(d, &loop) }
  }

  /// Closes a connection when nothing is in flight any more.
  /// - Parameter resets: the peer shall see a reset.
  mutating func join<E: Engine & ~Copyable>(
    _ d: DownstreamPointer, resets: Bool = false, _ loop: inout Loop<E>
  ) {
    let t = d.transport
    guard t.pointee.closing != .joining else { return }
    t.pointee.join(&loop.engine, resets: resets)
    joining.append(d.pointee.slot)
  }

  @inline(__always) var hasJoining: Bool { !joining.isEmpty }

  /// Closes what has nothing in flight any more. - Returns: whether there was such a connection.
  @inline(__always)
  mutating func reap<E: Engine & ~Copyable>(_ loop: inout Loop<E>) -> Bool {
    var closed = false
    while let slot = joining.popLast() {
      if reap(slot, &loop) { closed = true }
    }
    return closed
  }

  private mutating func reap<E: Engine & ~Copyable>(
    _ slot: UInt32, _ loop: inout Loop<E>
  ) -> Bool {
    let d = slab[slot]
    let t = d.transport
    guard t.pointee.isJoined else { return false }
    // TRAP: every way to `joining` has ended the exchange before; what a peer sends chooses the way.
    precondition(
      d.pointee.http1.exchange < 0
        && (!d.pointee.isHTTP2 || http2[slot].pointee.exchanges.isEmpty),
      "a connection closed under its exchange")
    if d.pointee.isHTTP2 { http2.close(slot) }
    t.pointee.close(&loop.engine)
    channels.close(&t.pointee)
    loop.wheel.disarm(Int(slot))
    loop.leavePlan(d.pointee.use)
    d.deinitialize(count: 1)
    // The lists may name a slot twice: a free slot is told by its socket.
    t.pointee.socket = .none
    slab.release(slot)
    connectionCount.pointee.wrappingSubtract(1, ordering: .relaxed)
    return true
  }
}
