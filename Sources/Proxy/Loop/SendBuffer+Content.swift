// Content in HTTP/1.1 framing (RFC 9112 6 and 7) into a send buffer: the same towards both sides.
//
// TRAP: (file) the room of a frame has memory.

import HTTP1
import MillraceEngine
import Transport

extension SendBuffer {
  /// Appends content, in a chunk of its own where the message is chunked.
  /// - Returns: false if it has no room, and then the message cannot go on: `hasRoomForChunk` tells
  ///   before.
  @inline(__always)
  mutating func appendContent(_ slice: consuming BufferSlice, chunked: Bool) -> Bool {
    guard chunked else { return append(slice) }
    let size = slice.count
    let written = self.write(capacity: ChunkFraming.headerMaximum) { room in
      ChunkFraming.writeHeader(size, to: room.baseAddress!)
    }
    guard written > 0, append(slice) else { return false }
    return append(ChunkFraming.chunkEnd)
  }

  /// Appends the last chunk, with its trailer section if there is one. - Returns: false if it has no
  /// room, and then the message has no end.
  mutating func appendContentEnd(_ body: inout BodyDecoder) -> Bool {
    guard body.hasTrailers else { return append(ChunkFraming.end) }
    let written = self.write(capacity: HeadLimits.trailers.headBytes + 64) { room in
      var w = HeadWriter(room)
      w.append(ChunkFraming.lastChunk)
      w.trailers(of: body)
      w.crlf()
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }
}
