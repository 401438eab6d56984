// Frames of a connection's streams on their way out. They leave through one buffer, in the order in which they
// were put there; whose bytes a send has is noted beside it, so that each stream's owner hears of its own.
//
// TRAP: (file) the memory of a list that has something in it.

import HTTP2
import MillraceEngine
import Transport

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

struct StreamOutput: ~Copyable {
  /// Frames that wait for the transport, as plaintext.
  var frames = SendBuffer()
  /// Whose bytes are in `frames`, in what the transport has still to send, and in the send in flight.
  private var queued = StreamBytesList()
  private var waiting = StreamBytesList()
  var flying = StreamBytesList()
  /// Exchanges with output for which there was no room.
  var ready: [ExchangeKey] = []
  var choice = StreamChoice()
  /// What is to be sent cannot be, or is gone: nothing more is, and the exchanges are told at the end of the turn.
  var isLost = false
  private var mayTakeMuch: Bool { flying.isEmpty && !choice.isOpen }

  /// Small frames of several streams leave together up to here; larger ones have a send of their own.
  private static var copyMaximum: Int { 2048 }

  /// Takes the frames of a stream, where there is room. - Returns: false if there is none now.
  mutating func take<E: Engine & ~Copyable>(
    _ output: inout SendBuffer, of key: ExchangeKey, _ loop: inout Loop<E>
  ) -> Bool {
    guard !isLost else { return false }
    let count = output.count
    // While something is in flight much waits for its turn: another stream may be more urgent by then.
    if frames.isEmpty && (mayTakeMuch || count <= Self.copyMaximum) {
      frames.replace(with: &output)
    } else if count <= Self.copyMaximum && !frames.isEmpty && frames.inlineRoom() >= count
      && frames.hasRoomForOne(), let frame = output.take()
    {
      for i in 0..<frame.segmentCount { _ = frames.append(frame.segment(i)) }
    } else {
      if loop.engine.isLowOnBuffers { output.evacuate() }
      return false
    }
    queued.append(StreamBytes(key: key, count: count))
    return true
  }

  /// Gives what waits to a transport that has nothing to send. - Returns: false if it cannot be sent.
  mutating func handOver<E: Engine & ~Copyable>(
    _ t: UnsafeMutablePointer<Transport>, _ loop: inout Loop<E>
  ) -> Bool {
    guard t.pointee.unsent.isEmpty, !frames.isEmpty else { return true }
    if let channel = t.pointee.tls {
      guard let frame = frames.take() else { return true }
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
      t.pointee.unsent.replace(with: &frames)
    }
    waiting.append(queued)
    queued.removeAll()
    return true
  }

  /// The transport has begun to send what it had.
  mutating func tookOff() {
    swap(&waiting, &flying)
    waiting.removeAll()
  }
}
