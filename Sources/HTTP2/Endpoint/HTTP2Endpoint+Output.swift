// What the caller tells a session, and what it takes from it: windows in both directions, the ends of
// streams and of the connection, frames of the session's own.

internal import Glibc

extension HTTP2Endpoint {
  // MARK: Frames of the session's own

  // What only reads is `mutating` here and below: a caller in another module would copy the whole session
  // for the call (484 bytes, eight times a request).

  /// Room that `writeControl` needs to make progress.
  public static var controlRoom: Int { 96 }

  /// Whether there is something to write.
  public var hasControl: Bool {
    mutating get {
      !hasWrittenPreface || !control.isEmpty || goAway != nil || updates >= 0
        || windows.isUpdateDue
    }
  }

  /// Whether windows of streams open with an acknowledgement of SETTINGS that is to be written.
  public var hasPendingWindowIncrease: Bool {
    mutating get { peer.unacknowledged > 0 && peer.pendingIncrease > 0 }
  }

  /// Whether windows of streams have opened with an acknowledgement since the last call.
  public mutating func takeOpenedWindows() -> Bool {
    defer { peer.hasOpened = false }
    return peer.hasOpened
  }

  /// Whether no input is used before some of it has been written.
  public var isControlFull: Bool { mutating get { control.isFull } }

  /// Writes as many of the session's frames as fit. - Returns: bytes.
  public mutating func writeControl(into room: UnsafeMutableRawBufferPointer) -> Int {
    guard let base = room.baseAddress else { return 0 }
    var at = 0
    func fits(_ bytes: Int) -> Bool { room.count - at >= bytes }
    if !hasWrittenPreface {
      guard fits(HTTP2EndpointOptions.prefaceBytes) else { return 0 }
      at += options.writePreface(to: base)
      hasWrittenPreface = true
    }
    while fits(ControlFrame.frameMaximum), let frame = control.pop() {
      at += frame.write(to: base + at)
      if frame.isSettingsAck { wroteAcknowledgement() }
    }
    while fits(ControlFrame.frameMaximum), updates >= 0 {
      let stream = streams[Int(updates)]
      updates = stream.pointee.next
      stream.pointee.next = -1
      stream.pointee.isInUpdates = false
      at += ControlFrame.writeWindowUpdate(
        stream.pointee.id, stream.pointee.credit, to: base + at)
      stream.pointee.receiveWindow += stream.pointee.credit
      stream.pointee.credit = 0
    }
    if fits(ControlFrame.frameMaximum), windows.isUpdateDue {
      at += ControlFrame.writeWindowUpdate(0, windows.takeCredit(), to: base + at)
    }
    if fits(ControlFrame.frameMaximum), let last = goAway {
      at += ControlFrame.writeGoAway(last: last.last, last.code, to: base + at)
      goAway = nil
    }
    return at
  }

  // MARK: Streams

  /// Streams that are open.
  public var openStreams: Int { streams.inUse }

  /// Names a stream: comes with the event of its reset.
  public mutating func setTag(_ stream: Int, _ tag: UInt64) { streams[stream].pointee.tag = tag }
  public mutating func tag(_ stream: Int) -> UInt64 { streams[stream].pointee.tag }
  /// The stream's number on the wire.
  public mutating func id(_ stream: Int) -> UInt32 { streams[stream].pointee.id }
  /// Whether the request has been read to its end.
  public mutating func hasRequestEnded(_ stream: Int) -> Bool {
    streams[stream].pointee.remoteEnded
  }
  /// Urgency and kind of the response, as the client has them (RFC 9218).
  public mutating func priority(_ stream: Int) -> Priority {
    var priority = Priority()
    priority.urgency = streams[stream].pointee.urgency
    priority.isIncremental = streams[stream].pointee.isIncremental
    return priority
  }

  /// Says how much content the head has announced: another length is the client's error.
  public mutating func expectContent(_ stream: Int, _ length: Int64) {
    streams[stream].pointee.announced = length
  }

  /// Whether all content that the head has announced is there, while END_STREAM is still to come.
  public mutating func awaitsEnd(_ stream: Int) -> Bool {
    streams[stream].pointee.announced == 0 && !streams[stream].pointee.remoteEnded
  }

  /// Whether the content that was just handed on ends a frame with END_STREAM: what follows is `.end`.
  public mutating func isLastContent(_ stream: Int) -> Bool {
    position == .data(stream: stream, left: 0, padding: 0, ends: true)
  }

  /// The response has been given out to its END_STREAM. A request that is still coming is cut, without
  /// an error (RFC 9113 8.1).
  /// - Parameter isWork: it is the response of a server, which a client has to wait for.
  public mutating func end(_ stream: Int, isWork: Bool = true) {
    if isWork { budget.earn(.response) }
    if streams[stream].pointee.remoteEnded {
      release(stream, .byPeer)
    } else {
      close(stream, .noError)
    }
  }

  /// Ends a stream with RST_STREAM.
  public mutating func reset(_ stream: Int, _ code: HTTP2ErrorCode) { close(stream, code) }

  /// Ends a stream whose head is malformed (RFC 9113 8.1.1).
  public mutating func refuseMalformed(_ stream: Int) {
    budget.spend(.wastedStream)
    close(stream, .protocolError)
  }

  // MARK: Windows

  /// Content of a stream has been passed on: its windows may open again.
  public mutating func consume(_ stream: Int, _ count: Int) {
    let record = streams[stream]
    // TRAP: the caller gives back what `content` events gave it.
    precondition(count <= record.pointee.unconsumed, "more content consumed than received")
    record.pointee.unconsumed -= count
    record.pointee.credit += count
    windows.giveBack(count)
    guard !record.pointee.isInUpdates, !record.pointee.remoteEnded,
      record.pointee.credit >= ConnectionWindows.worthwhile(record.pointee.window)
    else { return }
    grow(record)
    record.pointee.isInUpdates = true
    record.pointee.next = updates
    updates = Int16(truncatingIfNeeded: stream)
  }

  /// More may be under way on a stream whose content does not wait here.
  private mutating func grow(_ record: UnsafeMutablePointer<StreamEntry>) {
    let more = record.pointee.window
    guard record.pointee.unconsumed == 0, more > 0, 2 * more <= options.streamWindowMaximum,
      windows.growth + more <= options.growthMaximum
    else { return }
    record.pointee.window += more
    record.pointee.credit += more
    windows.growth += more
  }

  /// Bytes of DATA that a stream may send now; 0 or less: it waits for a `windowOpened`.
  @inline(__always)
  public mutating func window(_ stream: Int) -> Int {
    min(streams[stream].pointee.sendWindow, windows.send)
  }

  /// Takes bytes out of both windows: DATA that is about to be written.
  @inline(__always)
  public mutating func takeWindow(_ stream: Int, _ count: Int) {
    streams[stream].pointee.sendWindow -= count
    windows.send -= count
    // A piece that uses a window up is as large as its peer wants it to be.
    if count >= Self.usefulPiece || window(stream) > 0 { budget.earn(.content) }
    budget.earn(bytes: count)
  }

  /// DATA that was taken out of the window will not be sent: the connection's bytes are free again.
  public mutating func restoreWindow(_ count: Int) { windows.send += count }

  /// Bytes of payload that a frame may have.
  public var frameSize: Int { mutating get { peer.frameSize } }
  /// Whether field blocks have to say that they use no dynamic table.
  public var announcesNoTable: Bool { mutating get { peer.shrankTable } }

  // MARK: The connection

  /// Announces the end: streams may still be opened until `refuseStreams` (RFC 9113 6.8).
  public mutating func announceShutdown() {
    if failure == nil { goAway = (0x7FFF_FFFF, .noError) }
  }

  /// No stream above the last one is accepted.
  public mutating func refuseStreams() {
    guard failure == nil, acceptedThrough == 0x7FFF_FFFF else { return }
    acceptedThrough = lastStream
    goAway = (lastOfPeer, .noError)
  }

  /// Asks for a sign of life: a `pong` with the same data follows.
  public mutating func ping(_ data: UInt64) { control.push(.ping(data)) }
}
