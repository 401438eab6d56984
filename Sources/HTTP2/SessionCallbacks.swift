// The functions that nghttp2 calls. Each finds the session's state and the stream's record behind
// the pointers that it is given, and posts at most one event: nothing here retains, allocates or
// calls out.
//
// TRAP: (file) nghttp2 calls with the pointers that its manual promises (frame, name, value, source
// and the session's own user data); a peer decides what they point to, never whether they do.

internal import CNghttp2
internal import Glibc

enum SessionCallbacks {
  private static let failure = Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)

  @inline(__always)
  private static func state(_ raw: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<SessionState> {
    raw!.assumingMemoryBound(to: SessionState.self)
  }

  @inline(__always)
  private static func record(
    _ session: OpaquePointer?, _ stream: Int32
  ) -> UnsafeMutablePointer<StreamRecord>? {
    guard let raw = nghttp2_session_get_stream_user_data(session, stream) else { return nil }
    return raw.assumingMemoryBound(to: StreamRecord.self)
  }

  static func install(in table: OpaquePointer) {
    nghttp2_session_callbacks_set_on_begin_headers_callback(table) { session, frame, raw in
      SessionCallbacks.beginHeaders(session, frame!, SessionCallbacks.state(raw))
    }
    nghttp2_session_callbacks_set_on_header_callback(table) {
      session, frame, name, nameCount, value, valueCount, _, raw in
      guard let record = SessionCallbacks.record(session, frame!.pointee.hd.stream_id) else {
        return 0
      }
      let state = SessionCallbacks.state(raw)
      let isFirst = state.pointee.arena.openSize == 0
      state.pointee.receivedField(record, name!, nameCount, value!, valueCount)
      guard isFirst, state.pointee.arena.isCrowded else { return 0 }
      state.pointee.isPaused = true
      return Int32(NGHTTP2_ERR_PAUSE.rawValue)
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(table) { session, frame, raw in
      SessionCallbacks.received(session, frame!, SessionCallbacks.state(raw))
      return 0
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table) {
      session, _, stream, bytes, count, raw in
      guard count > 0, let record = SessionCallbacks.record(session, stream) else { return 0 }
      var event = HTTP2Event(.content, stream: stream, tag: record.pointee.tag)
      event.setBytes(bytes, count)
      SessionCallbacks.state(raw).pointee.post(event)
      return 0
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(table) { session, stream, code, raw in
      guard let record = SessionCallbacks.record(session, stream) else { return 0 }
      var event = HTTP2Event(.closed, stream: stream, tag: record.pointee.tag)
      event.code = record.pointee.wasRefused ? .refusedStream : HTTP2ErrorCode(rawValue: code)
      let state = SessionCallbacks.state(raw)
      state.pointee.records.giveBack(record)
      state.pointee.post(event)
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_send_callback(table) { _, frame, raw in
      guard frame!.pointee.hd.type == UInt8(NGHTTP2_GOAWAY.rawValue) else { return 0 }
      let code = frame!.pointee.goaway.error_code
      if code != 0 {
        SessionCallbacks.state(raw).pointee.terminationCode = HTTP2ErrorCode(rawValue: code)
      }
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_not_send_callback(table) { session, frame, _, _ in
      SessionCallbacks.notSent(session, frame!)
      return 0
    }
    nghttp2_session_callbacks_set_send_data_callback(table) {
      _, frame, head, length, source, raw in
      let record = source!.pointee.ptr.assumingMemoryBound(to: StreamRecord.self)
      return SessionCallbacks.state(raw).pointee.writeData(record, head!, length)
        ? 0 : Int32(NGHTTP2_ERR_WOULDBLOCK.rawValue)
    }
  }

  /// Where the content of a stream comes from.
  static func provider(
    _ record: UnsafeMutablePointer<StreamRecord>
  ) -> nghttp2_data_provider {
    nghttp2_data_provider(
      source: nghttp2_data_source(ptr: UnsafeMutableRawPointer(record)),
      read_callback: { _, _, _, allowed, flags, source, raw in
        let record = source!.pointee.ptr.assumingMemoryBound(to: StreamRecord.self)
        return SessionCallbacks.state(raw).pointee.dataLength(record, allowed, &flags!.pointee)
      })
  }

  private static func beginHeaders(
    _ session: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>,
    _ state: UnsafeMutablePointer<SessionState>
  ) -> Int32 {
    let stream = frame.pointee.hd.stream_id
    if frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST {
      guard let record = state.pointee.records.take(stream) else {
        return Int32(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
      }
      nghttp2_session_set_stream_user_data(session, stream, record)
    }
    state.pointee.arena.open()
    return 0
  }

  private static func received(
    _ session: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>,
    _ state: UnsafeMutablePointer<SessionState>
  ) {
    let stream = frame.pointee.hd.stream_id
    let endsStream = frame.pointee.hd.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch nghttp2_frame_type(UInt32(frame.pointee.hd.type)) {
    case NGHTTP2_HEADERS:
      guard let record = record(session, stream) else { return state.pointee.arena.close() }
      state.pointee.receivedHead(record, endsStream: endsStream)
      if endsStream { end(record, state) }
    case NGHTTP2_DATA:
      if endsStream, let record = record(session, stream) { end(record, state) }
    case NGHTTP2_GOAWAY:
      var event = HTTP2Event(.goAway, stream: 0)
      event.code = HTTP2ErrorCode(rawValue: frame.pointee.goaway.error_code)
      event.lastStream = frame.pointee.goaway.last_stream_id
      state.pointee.post(event)
    case NGHTTP2_SETTINGS:
      if frame.pointee.hd.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 {
        state.pointee.post(HTTP2Event(.settings, stream: 0))
      }
    default: break
    }
  }

  private static func end(
    _ record: UnsafeMutablePointer<StreamRecord>, _ state: UnsafeMutablePointer<SessionState>
  ) {
    record.pointee.hasEnded = true
    state.pointee.post(
      HTTP2Event(.end, stream: record.pointee.stream, tag: record.pointee.tag))
  }

  /// A request that was submitted and cannot be sent any more: the peer's GOAWAY was first. nghttp2
  /// closes it with an internal error, but the server has not seen it, and it may be sent elsewhere.
  private static func notSent(_ session: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>) {
    guard frame.pointee.hd.type == UInt8(NGHTTP2_HEADERS.rawValue),
      frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
    else { return }
    record(session, frame.pointee.hd.stream_id)?.pointee.wasRefused = true
  }
}
