// A client and a server back to back over memory, and what each of them told: the stage of most
// tests in this room. Bytes cross in pieces of any size, so that every split of a frame is seen.

import HTTP2
import Testing

/// An event with what it points at copied out.
struct Told: Equatable, CustomStringConvertible {
  var kind: HTTP2Event.Kind
  var stream: Int32
  var status = 0
  var text = ""
  var tag: UInt64 = 0
  var code = HTTP2ErrorCode.noError
  var count = 0
  var endsStream = false
  var lastStream: Int32 = 0

  var description: String { "\(kind)#\(stream) \(status) \(text) \(code.label) \(count)" }
}

/// One side with its history.
struct Side: ~Copyable {
  var session: HTTP2Session
  var told: [Told] = []
  /// Called with each event, with the session to answer on.
  var answer: (inout HTTP2Session, Told) -> Void = { _, _ in }
  /// All content that arrived, by stream.
  var content: [Int32: [UInt8]] = [:]
  private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

  init(_ configuration: HTTP2Configuration, _ memory: HTTP2Memory) {
    session = HTTP2Session(configuration, memory: memory)!
  }

  deinit { room.deallocate() }

  /// Takes all events.
  mutating func listen() {
    while let event = session.nextEvent() {
      var one = Told(kind: event.kind, stream: event.stream)
      one.status = Int(event.status)
      one.tag = event.tag
      one.code = event.code
      one.count = event.count
      one.endsStream = event.endsStream
      one.lastStream = event.lastStream
      if event.kind == .content { content[event.stream, default: []] += event.bytes }
      if event.kind == .head || event.kind == .trailers {
        var parts: [String] = []
        session.head(event).forEach { field in
          parts.append(
            String(decoding: field.name, as: UTF8.self) + "="
              + String(decoding: field.value, as: UTF8.self))
        }
        one.text = parts.joined(separator: " ")
        one.count = 0
      }
      told.append(one)
      answer(&session, one)
    }
  }

  /// Feeds bytes in pieces of `piece`.
  mutating func hear(_ bytes: [UInt8], piece: Int = .max) -> HTTP2Failure? {
    var offset = 0
    while offset < bytes.count {
      let end = min(bytes.count, offset + min(piece, bytes.count))
      while true {
        let transfer = bytes[offset..<end].withUnsafeBytes { session.receive($0) }
        offset += transfer.consumed
        listen()
        if case .failed(let failure) = transfer.progress { return failure }
        if transfer.progress == .wantsInput { break }
      }
    }
    return nil
  }

  /// All that waits to be sent, taken through a room of `roomBytes`.
  mutating func say(roomBytes: Int = 65_536) -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let count = session.output(into: .init(rebasing: room[..<roomBytes]))
      listen()
      if count == 0 { return bytes }
      bytes += room[..<count]
    }
  }

  func kinds(_ stream: Int32) -> [HTTP2Event.Kind] {
    told.filter { $0.stream == stream }.map(\.kind)
  }
}

struct Pair: ~Copyable {
  var client: Side
  var server: Side
  let memory = HTTP2Memory()

  init(
    client: HTTP2Configuration = HTTP2Configuration(.client),
    server: HTTP2Configuration = HTTP2Configuration(.server)
  ) {
    self.client = Side(client, memory)
    self.server = Side(server, memory)
  }

  /// Carries bytes until neither side has any. - Returns: bytes that crossed.
  @discardableResult
  mutating func pump(piece: Int = .max, roomBytes: Int = 65_536) -> Int {
    var crossed = 0
    while true {
      let forth = client.say(roomBytes: roomBytes)
      _ = server.hear(forth, piece: piece)
      let back = server.say(roomBytes: roomBytes)
      _ = client.hear(back, piece: piece)
      if forth.isEmpty && back.isEmpty { return crossed }
      crossed += forth.count + back.count
    }
  }
}

/// A request's fields.
func request(_ path: String = "/", method: String = "GET") -> HTTP2FieldList {
  var fields = HTTP2FieldList(fields: 160, bytes: 65_536, lasting: false)
  fields.append(":method", method)
  fields.append(":scheme", "http")
  fields.append(":authority", "example")
  fields.append(":path", path)
  return fields
}

/// A response's fields.
func response(_ status: Int = 200) -> HTTP2FieldList {
  var fields = HTTP2FieldList(lasting: false)
  fields.append(":status", number: status)
  return fields
}

/// Bytes of a known pattern that live as long as the tests and do not change.
nonisolated(unsafe) let block: UnsafeRawBufferPointer = {
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 4099, alignment: 16)
  for i in 0..<4099 { room[i] = UInt8(truncatingIfNeeded: i &* 31 &+ i >> 8) }
  return UnsafeRawBufferPointer(room)
}()

/// What `HTTP2Content(repeating: block, from:, count:)` must amount to.
func pattern(from offset: Int = 0, count: Int) -> [UInt8] {
  (0..<count).map { block[(offset + $0) % block.count] }
}

/// A frame as it lies on the wire (RFC 9113, section 4.1).
func frame(
  _ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = [], length: Int? = nil
) -> [UInt8] {
  let length = length ?? payload.count
  var bytes = [UInt8(length >> 16 & 0xFF), UInt8(length >> 8 & 0xFF), UInt8(length & 0xFF)]
  bytes += [type, flags]
  bytes += number(stream)
  return bytes + payload
}

/// Four bytes, most significant first.
func number(_ value: UInt32) -> [UInt8] {
  [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
}

/// Frames of some bytes: type, flags, stream, payload.
struct Frame: Equatable {
  var type: UInt8
  var flags: UInt8
  var stream: UInt32
  var payload: [UInt8]

  static func all(in bytes: [UInt8]) -> [Frame] {
    var frames: [Frame] = []
    var rest = bytes[...]
    while rest.count >= 9 {
      let head = Array(rest.prefix(9))
      let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
      let stream = head[5...8].reduce(0) { $0 << 8 | UInt32($1) }
      rest = rest.dropFirst(9)
      frames.append(
        Frame(
          type: head[3], flags: head[4], stream: stream, payload: Array(rest.prefix(length))))
      rest = rest.dropFirst(length)
    }
    return frames
  }

  /// The error code of a RST_STREAM or GOAWAY.
  var code: UInt32? {
    let tail: ArraySlice<UInt8>
    switch type {
    case 3: tail = payload[0..<4]
    case 7: tail = payload[4..<8]
    default: return nil
    }
    return tail.reduce(0) { $0 << 8 | UInt32($1) }
  }
}

/// The preface that a client begins with (RFC 9113, section 3.4).
let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

/// `#expect` for conditions over what cannot be copied, which the macro would take apart.
func check(
  _ condition: Bool, _ what: String = "", at location: SourceLocation = #_sourceLocation
) {
  #expect(condition, "\(what)", sourceLocation: location)
}
