// A response as frames in the caller's memory: HEADERS with its CONTINUATIONs, and what stands in front
// of content. Nothing here knows a session: a frame means the same whenever it leaves, as long as its
// stream's own follow each other.

internal import Glibc
internal import HTTP

public enum HTTP2ResponseWriter {
  /// Bytes of content that a frame may have, whatever the client allows: pieces of several streams
  /// take turns.
  public static var pieceMaximum: Int { FrameHeader.payloadMaximum }
  /// Bytes in front of each piece of content.
  public static var dataOverhead: Int { FrameHeader.size }

  /// Room for a field block of at most `block` bytes with its frames.
  public static func capacity(block: Int) -> Int {
    1 + block + (block / FrameHeader.payloadMaximum + 1) * FrameHeader.size
  }

  /// Writes a head.
  ///
  /// - Parameters:
  ///   - id: the stream's number.
  ///   - endsStream: no content follows.
  ///   - announcesNoTable: `HTTP2Endpoint.announcesNoTable`.
  ///   - room: `capacity(block:)` bytes.
  /// - Returns: bytes that were written; -1 if they do not fit.
  public static func writeHead(
    _ id: UInt32, endsStream: Bool, announcesNoTable: Bool,
    into room: UnsafeMutableRawBufferPointer, _ fields: (inout FieldBlockWriter) -> Void
  ) -> Int {
    guard room.count > FrameHeader.size else { return -1 }
    var block = FieldBlockWriter(UnsafeMutableRawBufferPointer(rebasing: room[FrameHeader.size...]))
    if announcesNoTable { block.noDynamicTable() }
    fields(&block)
    guard !block.overflowed else { return -1 }
    let count = block.count
    let flags: FrameFlags = endsStream ? .endStream : .none
    // TRAP: the room is not empty.
    let base = room.baseAddress!
    guard count > FrameHeader.payloadMaximum else {
      FrameHeader(.headers, flags | .endHeaders, stream: id, length: count).write(to: base)
      return FrameHeader.size + count
    }
    return split(count, id, flags, room)
  }

  /// Puts the heads of CONTINUATION frames into a block that is too long for one, from its end.
  private static func split(
    _ count: Int, _ id: UInt32, _ flags: FrameFlags, _ room: UnsafeMutableRawBufferPointer
  ) -> Int {
    let piece = FrameHeader.payloadMaximum
    let more = (count - 1) / piece
    let total = FrameHeader.size + count + more * FrameHeader.size
    // TRAP: the room is not empty.
    guard total <= room.count, let base = room.baseAddress else { return -1 }
    for index in (1...more).reversed() {
      let start = FrameHeader.size + index * piece
      let length = min(piece, count - index * piece)
      let place = base + start + index * FrameHeader.size
      memmove(place, base + start, length)
      FrameHeader(
        .continuation, index == more ? .endHeaders : .none, stream: id, length: length
      ).write(to: place - FrameHeader.size)
    }
    FrameHeader(.headers, flags, stream: id, length: piece).write(to: base)
    return total
  }

  /// What a frame is that was renumbered.
  public struct RenumberedFrame {
    public let length: Int
    public let isData: Bool
    public let endsStream: Bool
  }

  /// Gives a frame that was written here the number of another stream.
  public static func renumber(
    _ frame: UnsafeMutableRawPointer, to id: UInt32
  ) -> RenumberedFrame {
    let header = FrameHeader(reading: UnsafeRawPointer(frame))
    FrameHeader(header.type, header.flags, stream: id, length: header.length).write(to: frame)
    return RenumberedFrame(
      length: header.length, isData: header.type == .data,
      endsStream: header.flags.has(.endStream) && header.type != .continuation)
  }

  /// Writes what stands in front of `count` bytes of content: `dataOverhead` bytes.
  @inline(__always)
  public static func writeDataHead(
    _ id: UInt32, count: Int, endsStream: Bool, to room: UnsafeMutableRawPointer
  ) {
    FrameHeader(.data, endsStream ? .endStream : .none, stream: id, length: count).write(to: room)
  }
}
