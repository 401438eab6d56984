// What the caller tells a session: requests and responses, content as it comes, and how streams and
// the connection end. Nothing leaves before `output` is called.

internal import CNghttp2

extension HTTP2Session {
  private static var noFlags: UInt8 { UInt8(NGHTTP2_FLAG_NONE.rawValue) }

  // MARK: Requests

  /// Whether one more request can be sent now: the peer allows another stream, the connection is not
  /// ending, and stream numbers are left.
  public var canRequest: Bool {
    let remote = nghttp2_session_get_remote_settings(
      session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
    return openStreams < min(streamCapacity, Int(remote))
      && nghttp2_session_check_request_allowed(session) != 0
  }

  /// Submits a request: a client's.
  ///
  /// - Parameters:
  ///   - fields: `:method`, `:scheme`, `:authority` and `:path`, then the others.
  ///   - content: what follows; `.none` ends the stream with the head.
  ///   - tag: comes with each event of the stream.
  /// - Returns: the stream, or nil if there is no room for another one (`canRequest`).
  public mutating func request(
    _ fields: borrowing HTTP2FieldList, content: HTTP2Content = .none, tag: UInt64 = 0
  ) -> Int32? {
    guard let record = state.pointee.records.take(0) else { return nil }
    record.pointee.tag = tag
    record.pointee.content = content
    let stream: Int32
    if content.isNone {
      stream = nghttp2_submit_request(session, nil, fields.start, fields.count, nil, record)
    } else {
      var provider = SessionCallbacks.provider(record)
      stream = nghttp2_submit_request(session, nil, fields.start, fields.count, &provider, record)
    }
    guard stream > 0 else {
      state.pointee.records.giveBack(record)
      return nil
    }
    record.pointee.stream = stream
    return stream
  }

  // MARK: Responses

  /// Submits the response of a stream: a server's, once per stream.
  ///
  /// - Returns: false if the stream is not there any more, or has been answered.
  @discardableResult
  public mutating func respond(
    _ stream: Int32, _ fields: borrowing HTTP2FieldList, content: HTTP2Content = .none
  ) -> Bool {
    guard let record = record(stream) else { return false }
    if content.isNone {
      return nghttp2_submit_response(session, stream, fields.start, fields.count, nil) == 0
    }
    record.pointee.content = content
    var provider = SessionCallbacks.provider(record)
    return nghttp2_submit_response(session, stream, fields.start, fields.count, &provider) == 0
  }

  /// Submits an interim response (1xx) before the response of a stream.
  @discardableResult
  public mutating func respondInterim(
    _ stream: Int32, _ fields: borrowing HTTP2FieldList
  ) -> Bool {
    nghttp2_submit_headers(
      session, Self.noFlags, stream, nil, fields.start, fields.count, nil) == 0
  }

  // MARK: Streams

  /// Names a stream of a server: comes with each event of it that is taken from here on.
  ///
  /// - Returns: false if the stream is not there any more: none of its events will be named, and the
  ///   last one of them may be waiting behind its head.
  public mutating func setTag(_ stream: Int32, _ tag: UInt64) -> Bool {
    guard let record = record(stream) else { return false }
    record.pointee.tag = tag
    return true
  }

  /// Gives more content to a stream whose content was `.later` or has drained.
  ///
  /// - Returns: false if the stream is not there any more.
  @discardableResult
  public mutating func supply(_ stream: Int32, _ content: HTTP2Content) -> Bool {
    guard let record = record(stream) else { return false }
    // TRAP: which messages are sent, and when, is the caller's own state; a peer's frames change it
    // by value.
    precondition(
      record.pointee.content.remaining == 0 && !record.pointee.content.endsStream,
      "content is still on its way")
    record.pointee.content = content
    if record.pointee.isDeferred {
      record.pointee.isDeferred = false
      return nghttp2_session_resume_data(session, stream) == 0
    }
    return true
  }

  /// Ends a stream with RST_STREAM.
  public mutating func reset(_ stream: Int32, _ code: HTTP2ErrorCode) {
    nghttp2_submit_rst_stream(session, Self.noFlags, stream, code.rawValue)
  }

  /// With `HTTP2Configuration.consumesByHand`: opens the windows by bytes of content that have been
  /// passed on.
  public mutating func consume(_ stream: Int32, _ count: Int) {
    nghttp2_session_consume(session, stream, count)
  }

  /// Bytes of a stream's content that have not left; 0 if the stream is not there.
  public func contentRemaining(_ stream: Int32) -> Int {
    record(stream)?.pointee.content.remaining ?? 0
  }

  // MARK: The connection

  /// Says GOAWAY: streams that the peer opened up to now go on, none is accepted after them.
  public mutating func goAway(_ code: HTTP2ErrorCode = .noError) {
    nghttp2_submit_goaway(
      session, Self.noFlags, nghttp2_session_get_last_proc_stream_id(session), code.rawValue, nil,
      0)
  }

  /// Gives the connection up: GOAWAY, and then nothing any more.
  public mutating func terminate(_ code: HTTP2ErrorCode) {
    nghttp2_session_terminate_session(session, code.rawValue)
  }

  func record(_ stream: Int32) -> UnsafeMutablePointer<StreamRecord>? {
    guard let raw = nghttp2_session_get_stream_user_data(session, stream) else { return nil }
    return raw.assumingMemoryBound(to: StreamRecord.self)
  }

  private var streamCapacity: Int { state.pointee.records.capacity }
}
