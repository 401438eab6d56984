// Trailers on their way between two protocols: as lines of HTTP/1.1, which were checked when they were
// read, one after the other without the empty line.

import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Transport

struct TrailerLines {
  let bytes: UnsafeRawBufferPointer

  /// Keeps the lines of a section that came by HTTP/2 and go on.
  /// - Parameter dropped: counts lines that are left out because of an ambiguous name.
  /// - Returns: nil if there are none.
  static func keep<E: Engine & ~Copyable>(
    _ trailers: borrowing HTTP2Trailers, of section: HTTP2Head, dropsUnderscores: Bool,
    dropped: inout Int, _ engine: inout E
  ) -> BufferSlice? {
    var memory = engine.coldMemory(section.byteBound)
    var text = HeadWriter(memory.mutableBytes)
    dropped += trailers.forEachForwarded(dropsUnderscores: dropsUnderscores) { name, value in
      text.append(name)
      text.append(": ")
      text.append(value)
      text.append("\r\n")
    }
    guard text.count > 0, !text.overflowed else { return nil }
    memory.truncate(to: text.count)
    return memory
  }

  /// Calls `body` with the name and the value of each line.
  func forEach(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) {
    var start = 0
    while start < bytes.count {
      var colon = start
      while colon < bytes.count && bytes[colon] != UInt8(ascii: ":") { colon += 1 }
      var end = colon
      while end < bytes.count && bytes[end] != UInt8(ascii: "\r") { end += 1 }
      let value = min(colon + 2, end)
      body(
        UnsafeRawBufferPointer(rebasing: bytes[start..<colon]),
        UnsafeRawBufferPointer(rebasing: bytes[value..<end]))
      start = end + 2
    }
  }

  var count: Int {
    var count = 0
    forEach { _, _ in count += 1 }
    return count
  }
}

extension SendBuffer {
  /// Writes the end of a chunked message, with its trailers. - Returns: false if it has no room.
  mutating func appendContentEnd(_ trailers: consuming BufferSlice?) -> Bool {
    guard let lines = trailers.take() else { return append(ChunkFraming.end) }
    guard append(ChunkFraming.lastChunk), append(lines) else { return false }
    return append("\r\n")
  }

  /// Writes the end of a stream of HTTP/2. - Returns: false if it has no room.
  mutating func appendEnd(
    stream id: UInt32, announcesNoTable: Bool, _ trailers: consuming BufferSlice?
  ) -> Bool {
    guard let slice = trailers.take() else { return appendEnd(stream: id) }
    let lines = TrailerLines(bytes: slice.bytes)
    let block = slice.count + lines.count * FieldBlockWriter.fieldOverhead
    return self.write(capacity: HTTP2ResponseWriter.capacity(block: block)) { room in
      HTTP2ResponseWriter.writeHead(
        id, endsStream: true, announcesNoTable: announcesNoTable, into: room
      ) { block in
        lines.forEach { name, value in block.trailer(name, value) }
      }
    } > 0
  }

  /// The same with trailers as they were found behind chunked content.
  mutating func appendEnd(
    stream id: UInt32, announcesNoTable: Bool, _ trailers: borrowing BodyDecoder
  ) -> Bool {
    guard trailers.trailerCount > 0 else { return appendEnd(stream: id) }
    var block = 0
    for i in 0..<trailers.trailerCount {
      let line = trailers.trailer(i)
      block += line.name.count + line.value.count + FieldBlockWriter.fieldOverhead
    }
    return self.write(capacity: HTTP2ResponseWriter.capacity(block: block)) { room in
      HTTP2ResponseWriter.writeHead(
        id, endsStream: true, announcesNoTable: announcesNoTable, into: room
      ) { block in
        for i in 0..<trailers.trailerCount {
          let line = trailers.trailer(i)
          block.trailer(line.name, line.value)
        }
      }
    } > 0
  }

  /// Writes the end of a stream without trailers. - Returns: false if it has no room.
  private mutating func appendEnd(stream id: UInt32) -> Bool {
    self.write(capacity: HTTP2ResponseWriter.dataOverhead) { room in
      // TRAP: a capacity above 0 was given memory.
      HTTP2ResponseWriter.writeDataHead(id, count: 0, endsStream: true, to: room.baseAddress!)
      return HTTP2ResponseWriter.dataOverhead
    } > 0
  }

  /// Writes DATA. - Returns: false if it has no room, and then the message cannot go on.
  mutating func appendData(_ slice: consuming BufferSlice, stream id: UInt32, ends: Bool) -> Bool {
    let count = slice.count
    let written = self.write(capacity: HTTP2ResponseWriter.dataOverhead) { room in
      // TRAP: a capacity above 0 was given memory.
      HTTP2ResponseWriter.writeDataHead(id, count: count, endsStream: ends, to: room.baseAddress!)
      return HTTP2ResponseWriter.dataOverhead
    }
    guard written > 0 else { return false }
    return append(slice)
  }
}
