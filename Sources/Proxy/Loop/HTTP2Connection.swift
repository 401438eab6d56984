// What HTTP/2 keeps of a connection, a client's or a server's: its session, whose streams are open on it, and how
// it comes to its end. What leaves is StreamOutput's.

import HTTP2
import MillraceEngine
import Transport

/// Whom a stream belongs to, and who may have ended when it is looked at again: an exchange, or the stream
/// of a connection to a server.
struct ExchangeKey: Equatable {
  let slot: UInt32
  let generation: UInt32
}

struct HTTP2Connection: ~Copyable {
  /// What is put behind the beginning of a frame at a time, in bytes, so that the rest of a large buffer need not
  /// be copied: enough for the rest of any frame (RFC 9113 4.2).
  static let pieceMaximum = 16_384 + 9

  var session: HTTP2Endpoint
  var output = StreamOutput()
  /// Slots of all exchanges of the connection.
  var exchanges: [UInt32] = []
  /// No stream is accepted any more: the connection ends with the last one.
  var isEnding = false
  /// When it accepts no more streams, because the worker drains; Int64.max: it does not.
  var refusesAt = Int64.max
  /// When its time without a stream is over, whatever its client pings meanwhile; Int64.max: it has one.
  var idleUntil = Int64.max
  /// It closes as soon as what there is has been handed over.
  var isClosing = false
  /// A stream of it has come to its end.
  var hasServed = false
  /// A window has opened: what waits for one is gone on with when the input is used up, since windows
  /// come in pairs, and often many at once.
  var hasOpened = false
  /// It is in the list of connections that are flushed at the turn's end at the latest.
  var isNoted = false
  /// A client's: it is in the list of those that are looked at once more.
  var isResumable = false
  /// Tunnels wait to hear from its server's SETTINGS whether it takes them.
  var awaitsSettings = false
  /// Input is kept until the session's own frames have left.
  var isBlocked = false
  var ping = KeepAlivePing()
  var receiveSize = ReceiveSize()

  init(session: consuming HTTP2Endpoint) { self.session = session }

  // MARK: Signs of life

  /// Asks the peer for one. What it is asked with says nothing: any byte is an answer.
  /// - Returns: false where it does not read what it is owed already.
  mutating func ask(_ now: Int64, _ rules: PingRules) -> Bool {
    guard !isClosing, !session.isControlFull else { return false }
    session.ping(UInt64(bitPattern: now))
    ping.asked(now, rules)
    return true
  }

  // MARK: Receiving

  /// Chooses how the next bytes are received. - Parameter bytes: what came, as it was on the wire.
  mutating func received<E: Engine & ~Copyable>(
    _ bytes: Int, _ t: UnsafeMutablePointer<Transport>, _ loop: inout Loop<E>
  ) {
    t.pointee.setMode(receiveSize.mode(after: bytes, in: t.pointee.mode), &loop.engine)
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

  /// Gives what waits, and the session's own frames, to the transport.
  /// - Returns: false if what is to be sent cannot be.
  mutating func handOver<E: Engine & ~Copyable>(
    _ t: UnsafeMutablePointer<Transport>, _ loop: inout Loop<E>
  ) -> Bool {
    guard !output.isLost, putControl(&loop), output.handOver(t, &loop) else { return false }
    // What found no room behind a full frame is first in the next one, if there is one.
    if session.hasControl { _ = putControl(&loop) }
    return true
  }

  /// Writes the session's own frames behind what waits, as far as there is room.
  /// - Returns: false if there is no frame to write them into.
  mutating func putControl<E: Engine & ~Copyable>(_ loop: inout Loop<E>) -> Bool {
    guard session.hasControl else { return true }
    guard loop.prepare(&output.frames) else { return false }
    while session.hasControl, output.frames.hasRoomForOne(),
      output.frames.inlineRoom() >= HTTP2Endpoint.controlRoom
    {
      if writeControl() <= 0 { break }
    }
    return true
  }

  private mutating func writeControl() -> Int {
    var frames = SendBuffer()
    swap(&frames, &output.frames)
    let written = frames.write(capacity: HTTP2Endpoint.controlRoom) { room in
      session.writeControl(into: room)
    }
    swap(&frames, &output.frames)
    if session.takeOpenedWindows() { hasOpened = true }
    return written
  }
}
