// Request content on its way to the server, with the client paused while the server is slow.
//
// TRAP: (file) `pending` is set where `ensurePending` said so, and while `pendingBytes` is above 0;
// the room of a frame has memory.

import AuditLog
import Configuration
import Glibc
import HTTP1
import MillraceEngine

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
          || (ut.pointee.pending!.canTakeMore() && ut.pointee.outstanding < Watermark.high)
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
        appendContent(
          &ut.pointee.pending!, &ut.pointee.pendingBytes,
          slice.subslice(start: start, count: count),
          chunked: x.pointee.requestFraming == .chunked)
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
    if x.pointee.requestBody.hasTrailers {
      appendTrailers(&ut.pointee.pending!, &ut.pointee.pendingBytes, &x.pointee.requestBody)
    } else {
      ut.pointee.pending!.append(ChunkFraming.end)
      ut.pointee.pendingBytes += ChunkFraming.end.utf8CodeUnitCount
    }
  }

  /// Appends content to a frame, in a chunk of its own where the message is chunked.
  @inline(__always)
  mutating func appendContent(
    _ frame: inout SendFrame, _ total: inout Int, _ slice: consuming BufferSlice, chunked: Bool
  ) {
    total += slice.count
    if chunked {
      let size = slice.count
      total += frame.write(capacity: ChunkFraming.headerMaximum) { room in
        ChunkFraming.writeHeader(size, to: room.baseAddress!)
      }
      frame.append(slice)
      frame.append(ChunkFraming.chunkEnd)
      total += ChunkFraming.chunkEnd.utf8CodeUnitCount
    } else {
      frame.append(slice)
    }
  }

  /// Appends the last chunk with its trailer section.
  mutating func appendTrailers(
    _ frame: inout SendFrame, _ total: inout Int, _ body: inout BodyDecoder
  ) {
    let written = frame.write(capacity: HeadLimits.trailers.headBytes + 64) { room in
      var w = HeadWriter(room)
      w.append(ChunkFraming.lastChunk)
      w.trailers(of: body)
      w.crlf()
      return w.overflowed ? -1 : w.count
    }
    if written > 0 { total += written }
  }

  /// All input of the turn is with the upstream's transport: send it, and say what is waited for.
  mutating func requestProgressed(_ d: DownstreamPointer) {
    let x = exchanges[UInt32(d.pointee.exchange)]
    let t = Self.transport(d)
    if x.pointee.upstream >= 0 {
      let u = upstreams[UInt32(x.pointee.upstream)]
      flushUpstream(u)
      // What waits behind a send or a connect pins no hot buffer while they are few.
      if Self.transport(u).pointee.pendingBytes > 0 && u.pointee.phase != .assigned
        && engine.isLowOnBuffers
      {
        Self.transport(u).pointee.pending!.evacuate()
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
