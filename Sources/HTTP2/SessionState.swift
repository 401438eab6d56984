// What a session's callbacks work on: at a fixed address that nghttp2 hands back to each of them, so
// that no event touches a reference count. Only the session and its callbacks see it.
//
// TRAP: (file) the room and the content have memory wherever a length above 0 was granted for them.

internal import CNghttp2
internal import Glibc

struct SessionState {
  let side: HTTP2Configuration.Side
  let fieldLimit: Int
  let keepsFields: Bool
  var events: EventQueue
  var arena: HeadArena
  var records: StreamRecords
  /// The caller's room for output, during a call of `output`.
  var room = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  var roomUsed = 0
  /// True after nghttp2 stopped in the middle of its input because the arena was crowded.
  var isPaused = false
  /// True after an event found no room: never, if the feeding counts right.
  var hasOverflowed = false
  /// The code of the GOAWAY that ended the session from our side.
  var terminationCode: HTTP2ErrorCode?

  /// A frame of DATA is not begun for less than this while the content has more: its 9 bytes, and
  /// the peer's work for it, would outweigh what it carries.
  private static let worthwhileData = 1024
  private static let frameHead = 9

  init(_ configuration: HTTP2Configuration) {
    side = configuration.side
    fieldLimit = configuration.headFields
    keepsFields = configuration.keepsFields
    events = EventQueue(atLeast: Self.eventRoom(configuration.concurrentStreams))
    arena = HeadArena(headBytes: configuration.headBytes)
    records = StreamRecords(capacity: configuration.concurrentStreams)
  }

  func release() {
    events.release()
    arena.release()
    records.release()
  }

  /// All streams may end at once (a GOAWAY), each with the end of its content, and beside them come
  /// the events of a portion of input.
  static func eventRoom(_ streams: Int) -> Int { streams * 2 + 1024 }

  mutating func post(_ event: HTTP2Event) {
    if !events.append(event) { hasOverflowed = true }
  }

  // MARK: Heads

  mutating func receivedField(
    _ record: UnsafeMutablePointer<StreamRecord>, _ name: UnsafePointer<UInt8>, _ nameCount: Int,
    _ value: UnsafePointer<UInt8>, _ valueCount: Int
  ) {
    // ":status", three digits, which nghttp2 has checked.
    if side == .client, nameCount == 7, valueCount == 3, name[0] == UInt8(ascii: ":") {
      record.pointee.status = (0..<3).reduce(0) { $0 * 10 + UInt16(value[$1] & 0x0F) }
    }
    if keepsFields {
      arena.append(name, nameCount, value, valueCount, fieldLimit: fieldLimit)
    }
  }

  mutating func receivedHead(_ record: UnsafeMutablePointer<StreamRecord>, endsStream: Bool) {
    // A request's first head has no status; anything later without one is a trailer section.
    let isHead = side == .client ? record.pointee.status != 0 : !record.pointee.hasHead
    record.pointee.hasHead = true
    var event = HTTP2Event(
      arena.isTooLarge ? .headTooLarge : isHead ? .head : .trailers, stream: record.pointee.stream,
      tag: record.pointee.tag)
    event.status = record.pointee.status
    event.endsStream = endsStream
    event.headStart = arena.openStart
    event.count = arena.isTooLarge ? 0 : arena.openBytes
    event.fieldCount = arena.isTooLarge ? 0 : arena.openFields
    record.pointee.status = 0
    arena.close()
    post(event)
  }

  // MARK: Content

  /// How many bytes of content the next frame carries, and whether it is the last.
  mutating func dataLength(
    _ record: UnsafeMutablePointer<StreamRecord>, _ allowed: Int, _ flags: inout UInt32
  ) -> Int {
    let left = record.pointee.content.remaining
    if left == 0 && !record.pointee.content.endsStream {
      record.pointee.isDeferred = true
      return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    let free = room.count - roomUsed - Self.frameHead
    let wanted = min(allowed, left)
    guard free >= min(wanted, Self.worthwhileData) else { return Int(NGHTTP2_ERR_PAUSE.rawValue) }
    let length = min(wanted, free)
    flags |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
    if length == left && record.pointee.content.endsStream {
      flags |= NGHTTP2_DATA_FLAG_EOF.rawValue
    }
    return length
  }

  /// Writes a frame of DATA into the caller's room; false when it does not fit.
  mutating func writeData(
    _ record: UnsafeMutablePointer<StreamRecord>, _ frameHead: UnsafePointer<UInt8>,
    _ length: Int
  ) -> Bool {
    guard room.count - roomUsed >= length + Self.frameHead else { return false }
    memcpy(room.baseAddress! + roomUsed, frameHead, Self.frameHead)
    roomUsed += Self.frameHead
    var left = length
    while left > 0 {
      let offset = record.pointee.content.offset
      let piece = min(left, record.pointee.content.period - offset)
      memcpy(room.baseAddress! + roomUsed, record.pointee.content.base! + offset, piece)
      roomUsed += piece
      left -= piece
      let next = offset + piece
      record.pointee.content.offset = next == record.pointee.content.period ? 0 : next
    }
    record.pointee.content.remaining -= length
    if record.pointee.content.remaining == 0 && !record.pointee.content.endsStream {
      post(HTTP2Event(.drained, stream: record.pointee.stream, tag: record.pointee.tag))
    }
    return true
  }
}
