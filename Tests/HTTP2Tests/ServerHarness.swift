// A server's session with its input, its output and what it told.

import HTTP
import Testing

@testable import HTTP2

struct ServerHarness: ~Copyable {
  /// An event with what it points at copied out.
  struct Seen: Equatable, CustomStringConvertible {
    var event: String
    var id: UInt32 = 0
    var text = ""
    var code = HTTP2ErrorCode.noError

    var description: String { "\(event)#\(id) \(text) \(code.label)" }
  }

  static let hello = preface + frame(4)

  var session: HTTP2Endpoint
  private var reader: HTTP2HeadReader
  private let memory = HTTP2Memory()
  private var pending: [UInt8] = []
  /// Places of streams, by number.
  var places: [UInt32: Int] = [:]
  var seen: [Seen] = []
  var content: [UInt32: [UInt8]] = [:]
  var output: [UInt8] = []
  /// Content is given back at once; else it stays unconsumed.
  var consumes = true
  /// What the session has to say leaves at once; else it is kept back.
  var writes = true
  var now: Int64 = 1_000_000_000
  /// Called with each event; may answer.
  var answer: (inout HTTP2Endpoint, HTTP2EndpointEvent) -> [UInt8] = { _, _ in [] }

  init(_ options: HTTP2EndpointOptions = HTTP2EndpointOptions(), fields: Int = 128) {
    session = HTTP2Endpoint(options, fields: fields, memory: memory)
    reader = HTTP2HeadReader(bytes: options.headBytes, fields: fields)
  }

  /// Gives bytes in pieces, as a connection would: what is not used is kept in front of what comes.
  mutating func hear(_ bytes: [UInt8], piece: Int = .max) {
    var rest = bytes[...]
    repeat {
      pending += rest.prefix(piece)
      rest = rest.dropFirst(piece)
      use()
    } while !rest.isEmpty
  }

  mutating func use() {
    var offset = 0
    reading: while true {
      let event = pending.withUnsafeBytes { session.next($0, at: &offset, &reader, now: now) }
      note(event)
      switch event {
      case .needsInput: break reading
      case .needsOutput:
        guard writes else { break reading }
      case .failed: break reading
      default:
        if writes { say() }
        output += answer(&session, event)
      }
      if writes { say() }
    }
    if case nil = session.failure { pending.removeFirst(offset) } else { pending = [] }
    if writes { say() }
  }

  mutating func say() {
    withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { room in
      while session.hasControl {
        let count = session.writeControl(into: room)
        output += room[..<count]
        if session.takeOpenedWindows() { seen.append(Seen(event: "window")) }
        if count == 0 { return }
      }
    }
  }

  private mutating func note(_ event: HTTP2EndpointEvent) {
    switch event {
    case .needsInput: return
    case .needsOutput: if seen.last?.event != "blocked" { seen.append(Seen(event: "blocked")) }
    case .head(let stream, let ends):
      // Before anything else can be read into it.
      let head = reader.head
      var parts: [String] = []
      head.forEach { field in
        parts.append(
          String(decoding: field.name, as: UTF8.self) + "="
            + String(decoding: field.value, as: UTF8.self))
      }
      let id = session.id(stream)
      places[id] = stream
      session.setTag(stream, UInt64(id))
      seen.append(Seen(event: ends ? "head." : "head", id: id, text: parts.joined(separator: " ")))
    case .headTooLarge(let stream, _):
      let id = session.id(stream)
      places[id] = stream
      session.setTag(stream, UInt64(id))
      seen.append(Seen(event: "too large", id: id))
    case .trailers(let stream):
      seen.append(
        Seen(event: "trailers", id: session.id(stream), text: "\(reader.head.count)"))
    case .content(let stream, let start, let count):
      let id = session.id(stream)
      content[id, default: []] += pending[start..<(start + count)]
      if consumes { session.consume(stream, count) }
    case .end(let stream): seen.append(Seen(event: "end", id: session.id(stream)))
    case .reset(let tag, let code, let byClient):
      seen.append(
        Seen(event: byClient ? "reset" : "cut", id: UInt32(truncatingIfNeeded: tag), code: code))
    case .windowOpened(let stream):
      seen.append(Seen(event: "window", id: stream < 0 ? 0 : session.id(stream)))
    case .goAway(_, let code): seen.append(Seen(event: "go away", code: code))
    case .pong: seen.append(Seen(event: "pong"))
    case .failed(let failure):
      if seen.last?.event == "failed" { return }
      seen.append(Seen(event: "failed", text: "\(failure.label)", code: failure.code))
    }
  }

  /// What was written, without the preface and the acknowledgements of settings.
  var said: [Frame] {
    Frame.all(in: output).filter { $0.type != 4 && !($0.type == 8 && $0.stream == 0) }
  }

  /// The last GOAWAY's code.
  var goAwayCode: UInt32? { said.last { $0.type == 7 }?.code }
  /// The code of the RST_STREAM for a stream.
  func resetCode(_ id: UInt32) -> UInt32? { said.last { $0.type == 3 && $0.stream == id }?.code }
}

/// A request's field block, without compression.
func requestBlock(
  _ path: String = "/", method: String = "GET", _ more: [(String, String)] = []
) -> [UInt8] {
  MalformedInputTests.fields(
    [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)] + more)
}

/// A request without content, as one frame.
func getFrame(_ id: UInt32) -> [UInt8] { frame(1, flags: 5, stream: id, requestBlock()) }
/// The head of a request that content follows.
func postFrame(_ id: UInt32, _ more: [(String, String)] = []) -> [UInt8] {
  frame(1, flags: 4, stream: id, requestBlock(method: "POST", more))
}
