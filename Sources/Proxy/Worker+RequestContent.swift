// Request content on its way to the server, with the client paused while the server is slow.
//
// TRAP: (file) the room of a frame has memory.

import AuditLog
import Configuration
import Glibc
import HTTP1
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  /// Passes request content on. - Returns: false when the rest of `slice` has to wait.
  mutating func forwardContent(
    _ d: DownstreamPointer, _ x: ExchangePointer, _ slice: inout BufferSlice
  ) -> Bool {
    guard x.pointee.upstream >= 0 else { return false }
    let u = upstreams[UInt32(x.pointee.upstream)]
    let ut = Self.transport(u)
    var offset = 0
    while true {
      // With all bytes used the decoder is still asked: it may know that this was the end.
      guard ensurePending(ut),
        offset == slice.count
          || (ut.pointee.unsent.hasRoomForChunk() && ut.pointee.outstanding < Watermark.high)
      else {
        if ut.pointee.outstanding == 0 && u.pointee.phase == .busy {
          // Nothing waits to leave, so nothing would ever make room.
          failExchange(x, .resourcesExhausted)
          slice.dropPrefix(slice.count)
          return true
        }
        slice.dropPrefix(offset)
        x.pointee.requestBlocked = true
        return false
      }
      switch x.pointee.requestBody.next(slice.bytes, at: &offset) {
      case .content(let start, let count):
        x.pointee.requestBytes += UInt64(count)
        let isAdded = appendContent(
          &ut.pointee.unsent, slice.subslice(start: start, count: count),
          chunked: x.pointee.requestFraming == .chunked)
        guard isAdded else {
          failExchange(x, .resourcesExhausted)
          slice.dropPrefix(slice.count)
          return true
        }
      case .needsMore:
        slice.dropPrefix(slice.count)
        return true
      case .complete:
        slice.dropPrefix(offset)
        requestCompleted(x, ut)
        return true
      case .rejected:
        counters.badRequests += 1
        failExchange(x, .requestBodyMalformed)
        slice.dropPrefix(slice.count)
        return true
      }
    }
  }

  mutating func requestCompleted(
    _ x: ExchangePointer, _ ut: UnsafeMutablePointer<Transport>
  ) {
    x.pointee.requestComplete = true
    guard x.pointee.requestFraming == .chunked else { return }
    counters.fieldsDropped += x.pointee.requestBody.ambiguousTrailers
    if !appendContentEnd(&ut.pointee.unsent, &x.pointee.requestBody) {
      failExchange(x, .resourcesExhausted)
    }
  }

  /// Appends content, in a chunk of its own where the message is chunked.
  /// - Returns: false if it has no room, and then the message cannot go on: `hasRoomForChunk` tells
  ///   before.
  @inline(__always)
  mutating func appendContent(
    _ buffer: inout SendBuffer, _ slice: consuming BufferSlice, chunked: Bool
  ) -> Bool {
    guard chunked else { return buffer.append(slice) }
    let size = slice.count
    let written = buffer.write(capacity: ChunkFraming.headerMaximum) { room in
      ChunkFraming.writeHeader(size, to: room.baseAddress!)
    }
    guard written > 0, buffer.append(slice) else { return false }
    return buffer.append(ChunkFraming.chunkEnd)
  }

  /// Appends the last chunk, with its trailer section if there is one. - Returns: false if it has no
  /// room, and then the message has no end.
  mutating func appendContentEnd(_ buffer: inout SendBuffer, _ body: inout BodyDecoder) -> Bool {
    guard body.hasTrailers else { return buffer.append(ChunkFraming.end) }
    let written = buffer.write(capacity: HeadLimits.trailers.headBytes + 64) { room in
      var w = HeadWriter(room)
      w.append(ChunkFraming.lastChunk)
      w.trailers(of: body)
      w.crlf()
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }

  /// All input of the turn is with the upstream's transport: send it, and say what is waited for.
  mutating func requestProgressed(_ d: DownstreamPointer) {
    let x = exchanges[UInt32(d.pointee.exchange)]
    let t = Self.transport(d)
    if x.pointee.upstream >= 0 {
      let u = upstreams[UInt32(x.pointee.upstream)]
      flushUpstream(u)
      // What waits behind a send or a connect pins no hot buffer while they are few.
      if !Self.transport(u).pointee.unsent.isEmpty && u.pointee.phase != .assigned
        && engine.isLowOnBuffers
      {
        Self.transport(u).pointee.unsent.evacuate()
      }
      if t.pointee.mode == .once && !x.pointee.requestComplete
        && Self.transport(u).pointee.outstanding > Watermark.low
      {
        x.pointee.requestBlocked = true
        t.pointee.paused = true
        watch(t, Int(d.pointee.slot))
      }
    }
    if x.pointee.requestComplete || x.pointee.requestBlocked || x.pointee.phase == .complete {
      if d.pointee.phase == .body {
        d.pointee.phase = .response
        if !t.pointee.sending { t.pointee.deadline = .max }
      }
    } else {
      d.pointee.phase = .body
      t.pointee.deadline = engine.now + plan.listeners[Int(d.pointee.listener)].bodyTimeout
    }
  }

  /// The upstream has room again for request content.
  mutating func requestUnblocked(_ x: ExchangePointer) {
    x.pointee.requestBlocked = false
    let d = downstreams[x.pointee.downstream]
    let t = Self.transport(d)
    guard t.pointee.closing == .open else { return }
    t.pointee.paused = false
    useHeldInput(d)
    guard t.pointee.closing == .open else { return }
    if isActive(x, d) && !x.pointee.requestComplete && !x.pointee.requestBlocked {
      requestProgressed(d)
    }
    // What was held may have been refused: the answer leaves now.
    flushDownstream(d)
    armDownstream(d)
  }
}
