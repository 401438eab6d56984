// What an endpoint finds in its input, one thing at a time: the caller acts on each before it
// asks for the next, so that nothing is queued between the two.

/// What came next.
public enum HTTP2EndpointEvent: Equatable, Sendable {
  /// The input is used up, or ends in the middle of a frame: the rest is to be kept and given again in
  /// front of what comes.
  case needsInput
  /// Frames of the session's own must leave before more input is used (`writeControl`).
  case needsOutput
  /// A request's head, in the reader that was given. The stream is to be named (`setTag`).
  case head(stream: Int, endsStream: Bool)
  /// A head over the limits; its stream is open, to be answered (431) or reset.
  case headTooLarge(stream: Int, endsStream: Bool)
  /// Trailer fields, in the reader that was given; `end` follows.
  case trailers(stream: Int)
  /// Content at a place in the input. It counts against the windows until it is consumed.
  case content(stream: Int, start: Int, count: Int)
  /// The request is whole.
  case end(stream: Int)
  /// The stream is gone: by the client's RST_STREAM, or reset for a rule that the client broke. This is
  /// the last that is heard of it.
  case reset(tag: UInt64, code: HTTP2ErrorCode, byClient: Bool)
  /// A window that was used up has opened: a stream's, or the connection's or all streams' (-1).
  case windowOpened(stream: Int)
  /// The peer will open no more streams, or accept none: those above `last` were not processed.
  case goAway(last: UInt32, code: HTTP2ErrorCode)
  /// The client has answered our PING.
  case pong(data: UInt64)
  /// The session is over; its GOAWAY waits to be written.
  case failed(HTTP2EndpointFailure)
}

/// Why a session ends.
public struct HTTP2EndpointFailure: Error, Equatable, Sendable {
  /// What the client did.
  public enum Reason: UInt8, Sendable, CaseIterable {
    /// The first bytes are not the preface (RFC 9113 3.4).
    case notHTTP2
    case frameSize, frameOrder, badStream, badSetting, badWindow, badPadding, badPriority
    /// DATA beyond the connection's window.
    case windowExceeded
    case closedStream
    /// A field block that cannot be decoded.
    case fieldBlock
    /// A field block of more bytes, or in more frames, than any head needs.
    case fieldBlockTooLong
    /// More frames that move nothing than the budget has.
    case flood
    case push
    case outOfMemory
  }

  public let reason: Reason
  public let code: HTTP2ErrorCode

  /// The name in logs and metrics; stable.
  public var label: StaticString {
    switch reason {
    case .notHTTP2: "not_http2"
    case .frameSize: "frame_size"
    case .frameOrder: "frame_order"
    case .badStream: "bad_stream"
    case .badSetting: "bad_setting"
    case .badWindow: "bad_window"
    case .badPadding: "bad_padding"
    case .badPriority: "bad_priority"
    case .windowExceeded: "window_exceeded"
    case .closedStream: "closed_stream"
    case .fieldBlock: "field_block"
    case .fieldBlockTooLong: "field_block_too_long"
    case .flood: "flood"
    case .push: "push"
    case .outOfMemory: "out_of_memory"
    }
  }
}

/// Where the head lies that was read last: one for all connections of a thread.
public struct HTTP2HeadReader: ~Copyable {
  var arena: HeadArena
  var scratch = BlockScratch()
  let fieldLimit: Int

  /// - Parameters:
  ///   - bytes: of the largest head, as SETTINGS_MAX_HEADER_LIST_SIZE counts.
  ///   - fields: of the largest head.
  public init(bytes: Int, fields: Int) {
    arena = HeadArena(headBytes: bytes)
    fieldLimit = fields
  }

  deinit { arena.release() }

  /// The head or trailer section of the last event that was one. Valid until the next one is read.
  public var head: HTTP2Head {
    HTTP2Head(
      start: arena.start, bytes: arena.openBytes, fieldCount: Int(arena.openFields))
  }
}
