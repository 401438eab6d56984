// One side of an HTTP/2 connection as a machine over memory (RFC 9113): bytes in, one event
// at a time out, frames of its own written where the caller has room. It owns the rules of frames,
// streams and windows; content passes by it as places in the input, and responses are written by
// `HTTP2ResponseWriter` into the caller's own buffers. No socket, no clock, no queue of events.
//
// How it works
//  1. `next` looks at the input: a frame that is not DATA is used once it is there as a whole, a head
//     once its last CONTINUATION is; DATA is handed on as it comes.
//  2. What the peer is owed (acknowledgements, resets, windows) waits in a bounded queue until
//     `writeControl`; while that is full, no input is used.
//  3. The caller takes room for DATA (`takeWindow`) before it writes it, and gives back what it has
//     passed on (`consume`).

internal import Glibc
internal import Synchronization

public struct HTTP2Endpoint: ~Copyable {
  /// What stands in the input.
  enum Position: Equatable {
    case preface
    /// The client's SETTINGS must be the first frame.
    case firstFrame
    case frame
    /// In the payload of DATA; `stream` is -1 where nobody wants it any more.
    case data(stream: Int, left: Int, padding: Int, ends: Bool)
    /// A stream's end is still to be told.
    case end(stream: Int)
    case over
  }

  /// Keeps the session at its address: without it a method that only reads is passed a copy, 500 bytes.
  private let inPlace = Atomic<UInt8>(0)
  let options: HTTP2EndpointOptions
  var blocks: FieldBlockReader
  var streams: StreamTable
  var control: ControlQueue
  /// A GOAWAY that waits to be written.
  var goAway: (last: UInt32, code: HTTP2ErrorCode)?
  /// The first stream with a window to give back; -1: none.
  var updates: Int16 = -1
  var budget = FloodBudget()
  var peer = PeerSettings()
  var position = Position.preface
  /// The highest stream that the client has opened; on a client's side ours.
  var lastStream: UInt32 = 0
  /// The highest one that came behind our GOAWAY and was passed over: it is not idle either.
  var passedOver: UInt32 = 0
  /// The peer has sent GOAWAY.
  var hasPeerLeft = false
  /// Streams above it are refused: GOAWAY has been sent.
  var acceptedThrough: UInt32 = 0x7FFF_FFFF
  var windows: ConnectionWindows
  /// The field block in the input: bytes of it that are whole frames, and their number.
  var blockBytes = 0
  var blockFrames = 0
  var hasWrittenPreface = false
  public internal(set) var failure: HTTP2EndpointFailure?

  public init(_ options: HTTP2EndpointOptions, fields: Int, memory: HTTP2Memory) {
    blocks = FieldBlockReader(fieldLimit: fields, memory: memory)
    self.options = options
    position = options.side == .server ? .preface : .firstFrame
    streams = StreamTable(capacity: options.streams)
    control = ControlQueue(streams: options.streams)
    windows = ConnectionWindows(target: options.connectionWindow)
  }

  // MARK: Input

  /// Finds what comes next in `bytes`, from `offset`, which moves behind what is done with. Call it
  /// until it needs input or output.
  /// - Parameters:
  ///   - reader: holds the head of an event that has one.
  ///   - now: monotonic time in nanoseconds.
  public mutating func next(
    _ bytes: UnsafeRawBufferPointer, at offset: inout Int, _ reader: inout HTTP2HeadReader,
    now: Int64
  ) -> HTTP2EndpointEvent {
    budget.pass(to: now)
    while true {
      if budget.isOverdrawn && position != .over { return fail(.flood, .enhanceYourCalm) }
      if control.isFull { return .needsOutput }
      switch position {
      case .over:
        return .failed(failure ?? HTTP2EndpointFailure(reason: .frameOrder, code: .noError))
      case .preface:
        guard let event = readPreface(bytes, &offset) else { continue }
        return event
      case .end(let stream):
        position = .frame
        return .end(stream: stream)
      case .data:
        guard let event = readData(bytes, &offset) else { continue }
        return event
      case .firstFrame, .frame:
        guard bytes.count - offset >= FrameHeader.size, let base = bytes.baseAddress else {
          return .needsInput
        }
        let header = FrameHeader(reading: base + offset)
        guard header.length <= FrameHeader.payloadMaximum else {
          return fail(.frameSize, .frameSizeError)
        }
        if position == .firstFrame {
          guard header.type == .settings, !header.flags.has(.ack) else {
            return fail(.frameOrder, .protocolError)
          }
        }
        if header.type == .data {
          offset += FrameHeader.size
          if let event = beginData(header) { return event }
          continue
        }
        guard bytes.count - offset >= FrameHeader.size + header.length else { return .needsInput }
        let payload = UnsafeRawBufferPointer(
          start: base + offset + FrameHeader.size, count: header.length)
        if header.type == .headers {
          let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
          switch readBlock(header, rest, &reader) {
          case .incomplete: return .needsInput
          case .used(let count, let event):
            offset += count
            if let event { return event }
          }
          continue
        }
        offset += FrameHeader.size + header.length
        if position == .firstFrame { position = .frame }
        if let event = readFrame(header, payload) { return event }
      }
    }
  }

  private mutating func readPreface(
    _ bytes: UnsafeRawBufferPointer, _ offset: inout Int
  ) -> HTTP2EndpointEvent? {
    let preface = HTTP2EndpointOptions.clientPreface
    let length = preface.utf8CodeUnitCount
    let count = min(bytes.count - offset, length)
    guard count > 0, let base = bytes.baseAddress else { return .needsInput }
    guard memcmp(base + offset, preface.utf8Start, count) == 0 else {
      return fail(.notHTTP2, .protocolError)
    }
    guard count == length else { return .needsInput }
    offset += length
    position = .firstFrame
    return nil
  }

  // MARK: Failures

  /// Ends the connection with a GOAWAY (RFC 9113 5.4.1).
  mutating func fail(
    _ reason: HTTP2EndpointFailure.Reason, _ code: HTTP2ErrorCode
  ) -> HTTP2EndpointEvent {
    let failure = HTTP2EndpointFailure(reason: reason, code: code)
    self.failure = failure
    position = .over
    goAway = (lastOfPeer, code)
    return .failed(failure)
  }

  /// The highest stream that the peer has opened: a server opens none with us.
  var lastOfPeer: UInt32 { options.side == .server ? lastStream : 0 }

  /// Ends a stream for what its client did (RFC 9113 5.4.2). - Returns: what to tell the caller.
  mutating func resetStream(_ stream: Int, _ code: HTTP2ErrorCode) -> HTTP2EndpointEvent {
    let tag = streams[stream].pointee.tag
    budget.spend(.wastedStream)
    close(stream, code)
    return .reset(tag: tag, code: code, byClient: false)
  }

  /// Sends RST_STREAM for a stream that has a record; behind an error of the connection GOAWAY tells all.
  mutating func close(_ stream: Int, _ code: HTTP2ErrorCode) {
    if failure == nil { control.push(.reset(streams[stream].pointee.id, code)) }
    release(stream, .byReset)
  }

  /// Forgets a stream. What nobody will consume any more goes back to the connection's window.
  mutating func release(_ stream: Int, _ end: StreamEnd) {
    windows.giveBack(streams[stream].pointee.unconsumed)
    windows.growth -= streams[stream].pointee.window - options.streamWindow
    if streams[stream].pointee.isInUpdates { leaveUpdates(stream) }
    streams.close(stream, end)
    disown(stream)
  }

  /// What is still to come of a frame belongs to no stream once its own is gone: another one may have its place
  /// by then.
  private mutating func disown(_ stream: Int) {
    switch position {
    case .data(stream, let left, let padding, _):
      position = .data(stream: -1, left: left, padding: padding, ends: false)
    case .end(stream): position = .frame
    default: break
    }
  }

  /// Takes a stream out of the list of those that have a window to give back.
  private mutating func leaveUpdates(_ stream: Int) {
    let next = streams[stream].pointee.next
    var place = Int(updates)
    if place == stream {
      updates = next
      return
    }
    while streams[place].pointee.next != Int16(truncatingIfNeeded: stream) {
      place = Int(streams[place].pointee.next)
    }
    streams[place].pointee.next = next
  }
}
