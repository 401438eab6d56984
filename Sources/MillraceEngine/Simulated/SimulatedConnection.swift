// One end of a simulated connection, as the kernel of a machine sees it: a send buffer, a receive
// buffer, and what is under way between the two ends. Order is kept per direction; the window of
// the receiver holds the sender back; a reset loses what has not arrived. The errors, and who is
// told them first, are those of Linux (tcp_reset, tcp_recvmsg, sk_stream_error).

import CLinux
import Glibc

/// Somebody who wants to hear what happens to an end: an engine or a peer.
protocol SimulatedOwner: AnyObject {
  /// Bytes, an end of stream or an error can be read, or there is room to send, or both.
  func changed(_ end: SimulatedEnd, readable: Bool, writable: Bool)
}

final class SimulatedEnd {
  unowned let world: SimulatedWorld
  let local: SocketAddress
  let remote: SocketAddress
  /// The other machine's end; nil when nothing that is done here reaches anybody any more.
  var other: SimulatedEnd?
  /// Kept as long as the connection is open on this side.
  var owner: (any SimulatedOwner)?
  /// What the owner knows this end by.
  var key: Int32 = -1

  private(set) var arrived = ByteQueue()
  private let arrivedLimit: Int
  private var toSend = ByteQueue()
  private let toSendLimit: Int
  /// Bytes under way from here, not yet in the other end's buffer.
  private(set) var underWay = 0
  /// When the last of them arrives: nothing that is sent later may come earlier.
  var lastArrival: Int64 = 0
  /// Bytes that the other end has, ever.
  private(set) var acknowledged = 0
  /// Bytes that were taken from the owner, ever.
  private(set) var taken = 0

  /// The error that the next call is told, once.
  private(set) var error: Int32 = 0
  /// No byte goes in or out any more: a reset was sent or has come.
  private(set) var isDead = false
  private(set) var isClosed = false
  private(set) var hasFinished = false
  private var finIsUnderWay = false
  private(set) var finHasCome = false
  private var receivesNoMore = false
  /// The machine has gone without a word.
  private var hasVanished = false
  private var pumps = false
  var resetsOnClose = false

  init(_ world: SimulatedWorld, local: SocketAddress, remote: SocketAddress) {
    self.world = world
    self.local = local
    self.remote = remote
    arrivedLimit = world.dice.roll(world.conditions.receiveRoom)
    toSendLimit = world.dice.roll(world.conditions.sendRoom)
    world.network.enlist(self)
  }

  static func join(_ a: SimulatedEnd, _ b: SimulatedEnd) {
    a.other = b
    b.other = a
  }

  // MARK: What the owner calls

  /// Takes bytes to send. - Returns: how many, or a negated errno.
  func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    if error != 0 { return -Int(takeError()) }
    if hasFinished || isDead { return -Int(EPIPE) }
    let room = toSendLimit - toSend.count - underWay
    guard room > 0 else { return bytes.isEmpty ? 0 : -Int(EAGAIN) }
    let length = min(room, bytes.count)
    toSend.append(UnsafeRawBufferPointer(rebasing: bytes[..<length]))
    taken += length
    pump()
    return length
  }

  /// Takes received bytes. - Returns: how many, 0 at the end of the stream, or a negated errno.
  func read(into room: UnsafeMutableRawBufferPointer) -> Int {
    if !arrived.isEmpty {
      let count = arrived.move(to: room)
      windowHasOpened()
      return count
    }
    if finHasCome { return 0 }
    if error != 0 { return -Int(takeError()) }
    return isDead || receivesNoMore ? 0 : -Int(EAGAIN)
  }

  private func takeError() -> Int32 {
    defer { error = 0 }
    return error
  }

  var isReadable: Bool {
    !arrived.isEmpty || finHasCome || error != 0 || isDead || receivesNoMore
  }
  var isWritable: Bool {
    error != 0 || hasFinished || isDead || toSend.count + underWay < toSendLimit
  }
  /// SIOCOUTQ.
  var unacknowledged: Int { toSend.count + underWay }

  func shutdown(_ direction: ShutdownDirection) {
    if direction != .send { receivesNoMore = true }
    if direction != .receive && !hasFinished {
      hasFinished = true
      pump()
    }
    owner?.changed(self, readable: direction != .send, writable: direction != .receive)
  }

  /// close(2): a reset if bytes are unread, as RFC 2525 section 2.17 wants it.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    owner = nil
    if resetsOnClose || !arrived.isEmpty {
      sendReset()
    } else {
      hasFinished = true
      pump()
    }
    arrived.removeAll()
    partIfDone()
  }

  func vanish() {
    hasVanished = true
    owner = nil
  }

  /// Ends the connection on both sides at once, as a middlebox does.
  func breakApart() {
    let other = other
    resetHasCome()
    other?.resetHasCome()
  }

  /// Bytes that can still come, and bytes that have: all that a simulated zero-copy send waits for.
  func hasAcknowledged(_ position: Int) -> Bool { acknowledged >= position || isDead }

  // MARK: The way

  /// Sends what the other end has room for.
  private func pump() {
    guard !isDead, !hasVanished, let other else { return }
    while !toSend.isEmpty {
      let window = other.arrivedLimit - other.arrived.count - underWay
      guard window > 0 else { return }
      let size = min(window, toSend.count, world.dice.roll(world.conditions.segmentBytes))
      let bytes = toSend.take(size)
      underWay += size
      world.schedule(nextArrival()) { [self] in arrive(bytes) }
    }
    if hasFinished && !finIsUnderWay {
      finIsUnderWay = true
      world.schedule(nextArrival()) { [self] in finArrives() }
    }
  }

  private func nextArrival() -> Int64 {
    let isTogether = lastArrival > world.now && world.dice.chance(world.conditions.coalescing)
    let arrival = isTogether ? lastArrival : max(lastArrival, world.now + world.latency())
    lastArrival = arrival
    return arrival
  }

  private func arrive(_ bytes: [UInt8]) {
    // A reset has overtaken it, or the other machine is no more: nobody answers.
    guard let other, !other.isDead, !other.hasVanished else { return }
    if world.dice.chance(world.conditions.resets) { return breakApart() }
    underWay -= bytes.count
    acknowledged += bytes.count
    if other.isClosed {
      // Data for a closed socket: a reset comes back.
      other.sendReset()
      return
    }
    other.arrived.append(bytes)
    world.note(.arrival, UInt64(bytes.count), Int64(other.arrived.count))
    other.owner?.changed(other, readable: true, writable: false)
    owner?.changed(self, readable: false, writable: true)
  }

  private func finArrives() {
    guard let other, !other.isDead, !other.hasVanished else { return }
    other.finHasCome = true
    other.owner?.changed(other, readable: true, writable: false)
    partIfDone()
  }

  /// The owner of this end has read: the other end may send more, once it hears of it.
  private func windowHasOpened() {
    guard let other, !other.pumps, !other.toSend.isEmpty else { return }
    other.pumps = true
    world.schedule(world.now + world.latency()) { [other] in
      other.pumps = false
      other.pump()
    }
  }

  func sendReset() {
    guard !isDead else { return }
    isDead = true
    toSend.removeAll()
    guard let other, !hasVanished else { return }
    let overtakes = world.dice.chance(world.conditions.overtakingResets)
    let arrival =
      overtakes ? world.now + world.latency() : max(lastArrival, world.now + world.latency())
    world.schedule(arrival) { [self] in
      self.other = nil
      other.resetHasCome()
    }
  }

  func resetHasCome() {
    guard !isDead, !hasVanished else { return }
    isDead = true
    toSend.removeAll()
    other = nil
    // After the end of the stream a reset is a broken pipe: tcp_reset in CLOSE_WAIT.
    error = finHasCome ? EPIPE : ECONNRESET
    owner?.changed(self, readable: true, writable: true)
  }

  /// Ends the connection on this side before it was one.
  func abandon() {
    owner = nil
    isClosed = true
    sendReset()
  }

  /// Both ends are closed and have heard so: they know each other no more.
  private func partIfDone() {
    guard isClosed, finHasCome, finIsUnderWay, toSend.isEmpty, let other, other.finHasCome
    else { return }
    if other.isClosed {
      other.other = nil
      self.other = nil
    }
  }
}
