// What each frame but DATA and HEADERS does, and which rule it can break.
//
// TRAP: (file) a payload has the length that its frame's rule asks for before it is read.

internal import Glibc

extension HTTP2Endpoint {
  /// A larger one is not a flood: the windows' bound of 2³¹ − 1 ends it.
  static var usefulIncrement: Int { 1024 }
  /// Bytes of content in a frame that uses a window up: a peer that gives back what it has read, frame by
  /// frame, cuts pieces of any size out of a large content, but few that are as small.
  static var usefulPiece: Int { 64 }

  /// Uses a whole frame. - Returns: what the caller is to be told.
  mutating func readFrame(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    switch header.type {
    case .settings: return readSettings(header, payload)
    case .windowUpdate: return readWindowUpdate(header, payload)
    case .rstStream: return readReset(header, payload)
    case .ping: return readPing(header, payload)
    case .priority: return readPriority(header, payload)
    case .priorityUpdate: return readPriorityUpdate(header, payload)
    case .goAway:
      guard header.stream == 0 else { return fail(.badStream, .protocolError) }
      guard payload.count >= 8 else { return fail(.frameSize, .frameSizeError) }
      budget.spend(.frame)
      let last = payload.baseAddress!.readUInt32(at: 0) & 0x7FFF_FFFF
      let code = HTTP2ErrorCode(rawValue: payload.baseAddress!.readUInt32(at: 4))
      hasPeerLeft = true
      return .goAway(last: last, code: code)
    case .pushPromise: return fail(.push, .protocolError)
    case .continuation: return fail(.frameOrder, .protocolError)
    default:
      // Of a type that is not known (RFC 9113 5.5).
      budget.spend(.frame)
      return nil
    }
  }

  // MARK: The connection

  private mutating func readSettings(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    guard header.stream == 0 else { return fail(.badStream, .protocolError) }
    if header.flags.has(.ack) {
      guard payload.isEmpty else { return fail(.frameSize, .frameSizeError) }
      budget.spend(.frame)
      return nil
    }
    guard payload.count % 6 == 0 else { return fail(.frameSize, .frameSizeError) }
    budget.spend(.settings)
    var at = 0
    while at < payload.count {
      let id = payload.baseAddress!.readUInt16(at: at)
      let value = payload.baseAddress!.readUInt32(at: at + 2)
      if let code = peer.apply(id, value, on: options.side) { return fail(.badSetting, code) }
      at += 6
    }
    control.push(.settingsAck())
    peer.unacknowledged += 1
    changeWindows(by: min(0, peer.announcedWindow - peer.initialWindow))
    let increase = peer.pendingIncrease
    var isTooLarge = false
    if increase > 0 {
      streams.forEach { _, stream in
        if stream.pointee.sendWindow + increase > PeerSettings.windowMaximum { isTooLarge = true }
      }
    }
    return isTooLarge ? fail(.badWindow, .flowControlError) : nil
  }

  /// An acknowledgement of SETTINGS is written: with the last one the windows are what was announced.
  mutating func wroteAcknowledgement() {
    peer.unacknowledged -= 1
    let increase = peer.pendingIncrease
    guard peer.unacknowledged == 0, increase > 0, failure == nil else { return }
    changeWindows(by: increase)
    peer.hasOpened = true
  }

  private mutating func changeWindows(by change: Int) {
    guard change != 0 else { return }
    peer.initialWindow += change
    streams.forEach { _, stream in stream.pointee.sendWindow += change }
  }

  private mutating func readPing(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    guard header.stream == 0 else { return fail(.badStream, .protocolError) }
    guard payload.count == 8 else { return fail(.frameSize, .frameSizeError) }
    let data = payload.baseAddress!.loadUnaligned(as: UInt64.self)
    if header.flags.has(.ack) { return .pong(data: data) }
    budget.spend(.frame)
    control.push(.pingAck(data))
    return nil
  }

  private mutating func readWindowUpdate(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    guard payload.count == 4 else { return fail(.frameSize, .frameSizeError) }
    let increment = Int(payload.baseAddress!.readUInt32(at: 0) & 0x7FFF_FFFF)
    // A window that opens by a few bytes makes frames that carry no more.
    if increment < Self.usefulIncrement { budget.spend(.frame) }
    if header.stream == 0 {
      guard increment > 0 else { return fail(.badWindow, .protocolError) }
      let before = windows.send
      windows.send += increment
      guard windows.send <= PeerSettings.windowMaximum else {
        return fail(.badWindow, .flowControlError)
      }
      return before <= 0 ? .windowOpened(stream: -1) : nil
    }
    guard let stream = streams.find(header.stream) else { return checkNotIdle(header.stream) }
    guard increment > 0 else { return resetStream(stream, .protocolError) }
    let before = streams[stream].pointee.sendWindow
    streams[stream].pointee.sendWindow = before + increment
    guard before + increment + peer.pendingIncrease <= PeerSettings.windowMaximum else {
      return resetStream(stream, .flowControlError)
    }
    return before <= 0 && before + increment > 0 ? .windowOpened(stream: stream) : nil
  }

  // MARK: Streams

  /// What must not come for a stream that was never opened (RFC 9113 5.1); for one that has ended it is
  /// no error.
  private mutating func checkNotIdle(_ id: UInt32) -> HTTP2EndpointEvent? {
    id > max(lastStream, passedOver) || id & 1 == 0 ? fail(.badStream, .protocolError) : nil
  }

  private mutating func readReset(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    guard header.stream != 0 else { return fail(.badStream, .protocolError) }
    guard payload.count == 4 else { return fail(.frameSize, .frameSizeError) }
    guard let stream = streams.find(header.stream) else {
      budget.spend(.frame)
      return checkNotIdle(header.stream)
    }
    // A server's resets cost it more than they cost us.
    if options.side == .server { budget.spend(.wastedStream) }
    let tag = streams[stream].pointee.tag
    release(stream, .byPeer)
    let code = HTTP2ErrorCode(rawValue: payload.baseAddress!.readUInt32(at: 0))
    return .reset(tag: tag, code: code, byClient: true)
  }

  /// PRIORITY says nothing any more (RFC 9113 5.3.2), but it can still be wrong (6.3).
  private mutating func readPriority(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    guard header.stream != 0 else { return fail(.badStream, .protocolError) }
    budget.spend(.frame)
    guard payload.count == 5 else {
      guard let stream = streams.find(header.stream) else {
        return fail(.frameSize, .frameSizeError)
      }
      return resetStream(stream, .frameSizeError)
    }
    guard payload.baseAddress!.readUInt32(at: 0) & 0x7FFF_FFFF == header.stream else { return nil }
    guard let stream = streams.find(header.stream) else {
      return fail(.badPriority, .protocolError)
    }
    return resetStream(stream, .protocolError)
  }

  private mutating func readPriorityUpdate(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    // A server may not send it (RFC 9218 7.1).
    guard header.stream == 0, options.side == .server else {
      return fail(.badStream, .protocolError)
    }
    guard payload.count >= 4 else { return fail(.frameSize, .frameSizeError) }
    let id = payload.baseAddress!.readUInt32(at: 0) & 0x7FFF_FFFF
    guard id != 0 else { return fail(.badStream, .protocolError) }
    budget.spend(.frame)
    // For a stream that is still to be opened it would have to be kept; the field in its head says the
    // same (RFC 9218 7).
    guard let stream = streams.find(id) else { return nil }
    let priority = Priority(UnsafeRawBufferPointer(rebasing: payload[4...]))
    streams[stream].pointee.urgency = priority.urgency
    streams[stream].pointee.isIncremental = priority.isIncremental
    return nil
  }
}
