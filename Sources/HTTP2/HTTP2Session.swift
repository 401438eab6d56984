// One HTTP/2 connection as a machine over memory: bytes in, events out, requests or responses in,
// bytes out. It owns its nghttp2 session and touches no socket, clock or thread, so that every
// engine and the simulator can drive it. Frames, HPACK and the rules of RFC 9113 are nghttp2's.

internal import CNghttp2
internal import Glibc

/// An HTTP/2 session, of a client or a server.
///
/// Use from one thread at a time, the thread of its `HTTP2Memory`. The order of a turn: `receive` until
/// the input is consumed, taking all events (`nextEvent`) after each call; submit; `output` until it
/// gives nothing; take the events of that. In steady state no call allocates memory or counts a
/// reference.
public struct HTTP2Session: ~Copyable {
  /// How a call of `receive` ended.
  public enum Progress: Equatable, Sendable {
    /// All input is consumed.
    case wantsInput
    /// Take all events, then call again with the rest of the input, even if that is empty.
    case eventsWaiting
    /// The session is over. Output may hold a GOAWAY to be sent.
    case failed(HTTP2Failure)
  }

  /// What a call of `receive` did.
  public struct Transfer: Equatable, Sendable {
    /// Bytes of the input that are done with.
    public var consumed: Int
    public var progress: Progress
  }

  let session: OpaquePointer
  let state: UnsafeMutablePointer<SessionState>
  private let memory: HTTP2Memory
  private let streamLimit: Int
  /// What nghttp2 gave and the caller had no room for; valid until its next call.
  private var heldStart: UnsafePointer<UInt8>?
  private var heldCount = 0
  /// What ended the session, nil while it lives.
  public private(set) var failure: HTTP2Failure?

  /// A session whose preface and settings wait to be given out; nil if memory ran out.
  public init?(_ configuration: HTTP2Configuration, memory: HTTP2Memory) {
    let state = UnsafeMutablePointer<SessionState>.allocate(capacity: 1)
    state.initialize(to: SessionState(configuration))
    guard let made = Self.make(configuration, memory, state) else {
      state.pointee.release()
      state.deallocate()
      return nil
    }
    session = made
    self.state = state
    self.memory = memory
    streamLimit = configuration.concurrentStreams
  }

  deinit {
    nghttp2_session_del(session)
    state.pointee.release()
    state.deallocate()
  }

  private static func make(
    _ configuration: HTTP2Configuration, _ memory: HTTP2Memory,
    _ state: UnsafeMutablePointer<SessionState>
  ) -> OpaquePointer? {
    var option: OpaquePointer?
    guard nghttp2_option_new(&option) == 0 else { return nil }
    defer { nghttp2_option_del(option) }
    nghttp2_option_set_no_auto_window_update(option, configuration.consumesByHand ? 1 : 0)
    // Closed streams would be kept to hang priorities on, which RFC 9113 has done away with.
    nghttp2_option_set_no_closed_streams(option, 1)
    var session: OpaquePointer?
    let code =
      configuration.side == .client
      ? nghttp2_session_client_new3(
        &session, memory.callbacks, state, option, memory.allocator)
      : nghttp2_session_server_new3(
        &session, memory.callbacks, state, option, memory.allocator)
    guard code == 0, let session else { return nil }
    guard announce(configuration, session) else {
      nghttp2_session_del(session)
      return nil
    }
    return session
  }

  private static func announce(
    _ configuration: HTTP2Configuration, _ session: OpaquePointer
  ) -> Bool {
    func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
      nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: UInt32(value))
    }
    var entries = [
      entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, configuration.streamWindow),
      entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, configuration.headBytes),
    ]
    switch configuration.side {
    case .client: entries.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
    case .server:
      entries.append(
        entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, configuration.concurrentStreams))
      entries.append(entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1))
    }
    let none = UInt8(NGHTTP2_FLAG_NONE.rawValue)
    return nghttp2_submit_settings(session, none, entries, entries.count) == 0
      && nghttp2_session_set_local_window_size(
        session, none, 0, Int32(configuration.connectionWindow)) == 0
  }

  // MARK: Bytes

  /// Feeds bytes from the wire. All events must have been taken before.
  public mutating func receive(_ bytes: UnsafeRawBufferPointer) -> Transfer {
    if let failure { return Transfer(consumed: 0, progress: .failed(failure)) }
    guard state.pointee.events.isEmpty else {
      return Transfer(consumed: 0, progress: .eventsWaiting)
    }
    state.pointee.arena.compact()
    var consumed = 0
    while consumed < bytes.count || state.pointee.isPaused {
      let portion = min(bytes.count - consumed, portionLimit)
      guard portion > 0 || state.pointee.isPaused else {
        return Transfer(consumed: consumed, progress: .eventsWaiting)
      }
      state.pointee.isPaused = false
      let start = bytes.baseAddress.map { $0 + consumed }?.assumingMemoryBound(to: UInt8.self)
      let count = nghttp2_session_mem_recv(session, start, portion)
      if count < 0 { return fail(consumed, Int32(truncatingIfNeeded: count)) }
      consumed += count
      if state.pointee.hasOverflowed {
        return fail(consumed, Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue))
      }
      if state.pointee.isPaused {
        return Transfer(consumed: consumed, progress: .eventsWaiting)
      }
    }
    return Transfer(consumed: consumed, progress: .wantsInput)
  }

  /// So many bytes that their events have room: a frame is 9 bytes at least and brings 3 events at
  /// most, one may have begun earlier, and any may be a GOAWAY that ends all streams.
  @inline(__always)
  private var portionLimit: Int {
    max(0, (state.pointee.events.room - streamLimit - 3) / 3 * 9)
  }

  private mutating func fail(_ consumed: Int, _ code: Int32) -> Transfer {
    let failure = Self.failure(code)
    self.failure = failure
    return Transfer(consumed: consumed, progress: .failed(failure))
  }

  /// NGHTTP2_ERR_TOO_MANY_CONTINUATIONS, which headers before 1.61 name only where it was backported.
  private static let tooManyContinuations: Int32 = -905

  private static func failure(_ code: Int32) -> HTTP2Failure {
    switch code {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue: .notHTTP2
    case NGHTTP2_ERR_FLOODED.rawValue, tooManyContinuations: .flooded
    case NGHTTP2_ERR_NOMEM.rawValue: .outOfMemory
    default: .library(code)
    }
  }

  /// The next event, or nil.
  @inline(__always)
  public mutating func nextEvent() -> HTTP2Event? {
    guard var event = state.pointee.events.popFirst() else { return nil }
    // It may have waited behind the head that its stream is named at.
    if event.tag == 0, event.stream != 0, let record = record(event.stream) {
      event.tag = record.pointee.tag
    }
    return event
  }

  /// The fields of an event that is a head or a trailer section. Valid until the next `receive`.
  public func head(_ event: HTTP2Event) -> HTTP2Head { state.pointee.arena.head(event) }

  /// Writes bytes for the wire into `room`, as many as there are and fit; content is copied once,
  /// from where it lies. Call until it returns 0 or less than it had room for.
  ///
  /// - Parameter room: 2 KiB or more, so that each call can make progress.
  public mutating func output(into room: UnsafeMutableRawBufferPointer) -> Int {
    state.pointee.room = room
    state.pointee.roomUsed = 0
    giveHeld()
    while heldCount == 0, state.pointee.roomUsed < room.count, failure == nil {
      // Streams that end with what is sent post an event each.
      guard state.pointee.events.room > streamLimit else { break }
      let count = nghttp2_session_mem_send(session, &heldStart)
      if count < 0 { failure = Self.failure(Int32(truncatingIfNeeded: count)) }
      guard count > 0 else { break }
      heldCount = count
      giveHeld()
    }
    state.pointee.room = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    return state.pointee.roomUsed
  }

  private mutating func giveHeld() {
    guard heldCount > 0, let start = heldStart else { return }
    let used = state.pointee.roomUsed
    let count = min(heldCount, state.pointee.room.count - used)
    // TRAP: what fits the room and is not empty has memory behind it.
    memcpy(state.pointee.room.baseAddress! + used, start, count)
    state.pointee.roomUsed += count
    heldStart = start + count
    heldCount -= count
  }

  // MARK: State

  /// Whether `output` has something to give.
  public var hasOutput: Bool {
    heldCount > 0 || (failure == nil && nghttp2_session_want_write(session) != 0)
  }

  /// Whether both sides are done: nothing to send, and nothing that the peer could say matters.
  public var isOver: Bool {
    heldCount == 0
      && (failure != nil
        || (nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0))
  }

  /// Streams that are open, or whose request has been submitted.
  public var openStreams: Int { state.pointee.records.inUse }

  /// The code of the GOAWAY with which this side gave the session up, once it has been given out.
  public var terminationCode: HTTP2ErrorCode? { state.pointee.terminationCode }
}
