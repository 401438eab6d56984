// What HTTP/2 keeps of a connection, a client's or a server's. Frames of all streams leave through one
// buffer, in the order in which they were put there; whose bytes a send has is noted beside it, so that
// each stream's owner hears of its own.
//
// TRAP: (file) the memory of a list that has something in it.

import HTTP2
import MillraceEngine
import Transport

/// Whom a stream belongs to, and who may have ended when it is looked at again: an exchange, or the stream
/// of a connection to a server.
struct ExchangeKey: Equatable {
  let slot: UInt32
  let generation: UInt32
}

/// Bytes of one stream among those of a connection.
struct StreamBytes {
  let key: ExchangeKey
  var count: Int
}

/// A list of them. Not an array: to walk over one, and to append it, retains it.
struct StreamBytesList: ~Copyable {
  private var first: UnsafeMutablePointer<StreamBytes>?
  private var capacity = 0
  private(set) var count = 0

  deinit { first?.deallocate() }

  var isEmpty: Bool { count == 0 }

  subscript(index: Int) -> StreamBytes {
    // TRAP: the index is below the count, which the caller walks up to.
    precondition(index >= 0 && index < count, "no bytes of a stream there")
    return first![index]
  }

  mutating func append(_ bytes: StreamBytes) {
    if count == capacity { grow() }
    (first! + count).initialize(to: bytes)
    count += 1
  }

  mutating func append(_ other: borrowing StreamBytesList) {
    for index in 0..<other.count { append(other[index]) }
  }

  /// Keeps the memory.
  mutating func removeAll() { count = 0 }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<StreamBytes>.allocate(capacity: max(8, capacity * 2))
    if let first {
      larger.update(from: first, count: count)
      first.deallocate()
    }
    first = larger
    capacity = max(8, capacity * 2)
  }
}

struct HTTP2Connection: ~Copyable {
  var session: HTTP2Endpoint
  /// Frames that wait for the transport, as plaintext.
  var outgoing = SendBuffer()
  /// Exchanges whose bytes are in `outgoing`, in what the transport has still to send, and in the send
  /// in flight.
  var queued = StreamBytesList()
  var waiting = StreamBytesList()
  var flying = StreamBytesList()
  /// Exchanges with output for which there was no room.
  var ready: [ExchangeKey] = []
  /// Slots of all exchanges of the connection.
  var exchanges: [UInt32] = []
  /// No stream is accepted any more: the connection ends with the last one.
  var isEnding = false
  /// When it accepts no more streams, because the worker drains; Int64.max: it does not.
  var refusesAt = Int64.max
  /// When its time without a stream is over, whatever its client pings meanwhile; Int64.max: it has one.
  var idleUntil = Int64.max
  /// What is to be sent cannot be, or is gone: nothing more is, and the exchanges are told at the end of the turn.
  var isLost = false
  /// It closes as soon as what there is has been handed over.
  var isClosing = false
  /// A stream of it has come to its end.
  var hasServed = false
  /// A window has opened: what waits for one is gone on with when the input is used up, since windows
  /// come in pairs, and often many at once.
  var hasOpened = false
  /// It is in the list of connections that are flushed at the turn's end.
  var isNoted = false
  /// A client's: it is in the list of those that are looked at once more.
  var isResumable = false
  /// Tunnels wait to hear from its server's SETTINGS whether it takes them.
  var awaitsSettings = false
  /// Input is kept until the session's own frames have left.
  var isBlocked = false
  var ping = KeepAlivePing()
  var choice = StreamChoice()
  private var mayTakeMuch: Bool { flying.isEmpty && !choice.isOpen }

  init(session: consuming HTTP2Endpoint) { self.session = session }

  /// The transport has taken what was in `outgoing`.
  mutating func handedOver() {
    waiting.append(queued)
    queued.removeAll()
  }

  /// The transport has begun to send what it had.
  mutating func tookOff() {
    swap(&waiting, &flying)
    waiting.removeAll()
  }

  // MARK: Signs of life

  /// Asks the peer for one. What it is asked with says nothing: any byte is an answer.
  /// - Returns: false where it does not read what it is owed already.
  mutating func ask(_ now: Int64, _ rules: PingRules) -> Bool {
    guard !isClosing, !session.isControlFull else { return false }
    session.ping(UInt64(bitPattern: now))
    ping.asked(now, rules)
    return true
  }

  // MARK: The name of a stream's owner, as its session keeps it

  static func tag(_ key: ExchangeKey) -> UInt64 {
    UInt64(key.generation) << 32 | UInt64(key.slot) + 1
  }

  /// nil: the stream was not given a name.
  static func key(_ tag: UInt64) -> ExchangeKey? {
    guard tag != 0 else { return nil }
    return ExchangeKey(
      slot: UInt32(truncatingIfNeeded: tag & 0xFFFF_FFFF) - 1,
      generation: UInt32(truncatingIfNeeded: tag >> 32))
  }

  // MARK: Sending

  /// Small frames of several streams leave together up to here; larger ones have a send of their own.
  private static var copyMaximum: Int { 2048 }

  /// Takes the frames of a stream, where there is room. - Returns: false if there is none now.
  mutating func take<E: Engine & ~Copyable>(
    _ output: inout SendBuffer, of key: ExchangeKey, _ loop: inout Loop<E>
  ) -> Bool {
    guard !isLost else { return false }
    let count = output.count
    // While something is in flight much waits for its turn: another stream may be more urgent by then.
    if outgoing.isEmpty && (mayTakeMuch || count <= Self.copyMaximum) {
      outgoing.replace(with: &output)
    } else if count <= Self.copyMaximum && !outgoing.isEmpty && outgoing.inlineRoom() >= count
      && outgoing.hasRoomForOne(), let frame = output.take()
    {
      for i in 0..<frame.segmentCount { _ = outgoing.append(frame.segment(i)) }
    } else {
      if loop.engine.isLowOnBuffers { output.evacuate() }
      return false
    }
    queued.append(StreamBytes(key: key, count: count))
    return true
  }

  /// Gives what waits, and the session's own frames, to the transport.
  /// - Returns: why what is to be sent cannot be; nil: it can.
  mutating func handOver<E: Engine & ~Copyable>(
    _ t: UnsafeMutablePointer<Transport>, _ loop: inout Loop<E>
  ) -> Bool {
    guard !isLost, putControl(&loop) else { return false }
    guard t.pointee.unsent.isEmpty, !outgoing.isEmpty else { return true }
    if let channel = t.pointee.tls {
      guard let frame = outgoing.take() else { return true }
      switch t.pointee.encrypt(channel, frame, &loop.engine) {
      case .done: break
      case .failed, .noRoom:
        isLost = true
        return false
      case .noFrame:
        isLost = true
        loop.counters.framesExhausted += 1
        return false
      }
    } else {
      t.pointee.unsent.replace(with: &outgoing)
    }
    handedOver()
    return true
  }

  /// Writes the session's own frames behind what waits, as far as there is room.
  /// - Returns: false if there is no frame to write them into.
  mutating func putControl<E: Engine & ~Copyable>(_ loop: inout Loop<E>) -> Bool {
    guard session.hasControl else { return true }
    guard loop.prepare(&outgoing) else { return false }
    while session.hasControl, outgoing.hasRoomForOne(),
      outgoing.inlineRoom() >= HTTP2Endpoint.controlRoom
    {
      if writeControl() <= 0 { break }
    }
    return true
  }

  private mutating func writeControl() -> Int {
    var output = SendBuffer()
    swap(&output, &outgoing)
    let written = output.write(capacity: HTTP2Endpoint.controlRoom) { room in
      session.writeControl(into: room)
    }
    swap(&output, &outgoing)
    return written
  }
}
