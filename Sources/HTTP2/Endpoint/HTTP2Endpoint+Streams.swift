// HEADERS with the CONTINUATION frames behind it, and DATA: how streams begin, carry content and are
// ended by their client.
//
// TRAP: (file) a payload has bytes wherever its length was found to be above 0.

internal import Glibc

/// What came of looking at a field block.
enum BlockUse {
  /// It does not end in the input.
  case incomplete
  /// Its frames, with what the caller is to be told.
  case used(Int, HTTP2EndpointEvent?)
}

extension HTTP2Endpoint {
  /// Frames of one field block: 16 MiB would fit into fewer, and a head of 16 KiB fits into two.
  private static var blockFramesMaximum: Int { 32 }

  /// Bytes of a field block on the wire: more than any head that is accepted can take.
  private var blockBytesMaximum: Int { options.headBytes + 2 * FrameHeader.payloadMaximum }

  // MARK: Heads

  /// Looks at a HEADERS frame and what belongs to it; `bytes` begin with it, and have all of it.
  mutating func readBlock(
    _ header: FrameHeader, _ bytes: UnsafeRawBufferPointer, _ reader: inout HTTP2HeadReader
  ) -> BlockUse {
    if blockFrames == 0 {
      guard header.stream & 1 == 1 else { return .used(0, fail(.badStream, .protocolError)) }
      // What cannot become right is not waited for.
      if let failure = checkFragment(header, Self.payload(header, bytes)) {
        return .used(0, failure)
      }
      blockFrames = 1
      blockBytes = FrameHeader.size + header.length
    }
    if !header.flags.has(.endHeaders) {
      switch findBlockEnd(header, bytes) {
      case nil: return .incomplete
      case .some(let failure?): return .used(0, failure)
      case .some(nil): break
      }
    }
    let count = blockBytes
    blockBytes = 0
    blockFrames = 0
    return .used(
      count, useBlock(header, UnsafeRawBufferPointer(rebasing: bytes[..<count]), &reader))
  }

  /// Walks over CONTINUATION frames. Where a block comes in pieces, it goes on where it stopped.
  /// - Returns: nil: it goes on behind the input; a failure, or none.
  private mutating func findBlockEnd(
    _ header: FrameHeader, _ bytes: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent?? {
    while true {
      guard bytes.count - blockBytes >= FrameHeader.size else { return .none }
      let next = FrameHeader(reading: bytes.baseAddress! + blockBytes)
      // Nothing may stand between the frames of a block (RFC 9113 4.3).
      guard next.type == .continuation, next.stream == header.stream else {
        return .some(fail(.frameOrder, .protocolError))
      }
      guard next.length <= FrameHeader.payloadMaximum else {
        return .some(fail(.frameSize, .frameSizeError))
      }
      let end = blockBytes + FrameHeader.size + next.length
      guard blockFrames < Self.blockFramesMaximum, end <= blockBytesMaximum else {
        return .some(fail(.fieldBlockTooLong, .enhanceYourCalm))
      }
      guard bytes.count >= end else { return .none }
      if next.length == 0 { budget.spend(.settings) }
      blockFrames += 1
      blockBytes = end
      if next.flags.has(.endHeaders) { return .some(nil) }
    }
  }

  /// Decodes a whole block and begins its stream, or takes it for trailers.
  private mutating func useBlock(
    _ header: FrameHeader, _ block: UnsafeRawBufferPointer, _ reader: inout HTTP2HeadReader
  ) -> HTTP2EndpointEvent? {
    let payload = Self.payload(header, block)
    guard let fragment = Self.fragment(header, payload) else {
      return checkFragment(header, payload)
    }
    reader.arena.compact()
    reader.arena.open()
    let isRead =
      header.flags.has(.endHeaders)
      ? blocks.decode(fragment, into: &reader.arena, &reader.scratch)
      : decodeJoined(fragment, behind: FrameHeader.size + header.length, block, &reader)
    reader.arena.close()
    guard isRead else { return fail(.fieldBlock, .compressionError) }
    let endsStream = header.flags.has(.endStream)
    if let stream = streams.find(header.stream) {
      if options.side == .client && !streams[stream].pointee.hasHead {
        return responseHead(stream, endsStream: endsStream, &reader)
      }
      return trailers(stream, endsStream: endsStream, isTooLarge: reader.arena.isTooLarge)
    }
    if options.side == .client { return strayHead(header.stream) }
    return open(header, dependsOnItself: Self.dependsOnItself(header, payload), &reader)
  }

  /// Decodes a block that CONTINUATION frames go on with.
  private mutating func decodeJoined(
    _ fragment: UnsafeRawBufferPointer, behind: Int, _ frames: UnsafeRawBufferPointer,
    _ reader: inout HTTP2HeadReader
  ) -> Bool {
    reader.scratch.beginJoin(frames.count)
    reader.scratch.join(fragment)
    var at = behind
    while at < frames.count {
      let next = FrameHeader(reading: frames.baseAddress! + at)
      let start = at + FrameHeader.size
      at = start + next.length
      reader.scratch.join(UnsafeRawBufferPointer(rebasing: frames[start..<at]))
    }
    let block = reader.scratch.block
    return blocks.decode(block, into: &reader.arena, &reader.scratch)
  }

  /// The payload of the frame that a block begins with.
  private static func payload(
    _ header: FrameHeader, _ block: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      rebasing: block[FrameHeader.size..<(FrameHeader.size + header.length)])
  }

  /// The failure of a HEADERS frame that is too short for its padding or priority; nil: it is not.
  private mutating func checkFragment(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> HTTP2EndpointEvent? {
    guard Self.fragment(header, payload) == nil else { return nil }
    return fail(header.length == 0 ? .frameSize : .badPadding, .protocolError)
  }

  /// A HEADERS frame without padding and priority; nil if it is too short for them.
  private static func fragment(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    var start = 0
    var end = payload.count
    if header.flags.has(.padded) {
      guard let padding = payload.first else { return nil }
      start = 1
      end -= Int(padding)
    }
    if header.flags.has(.priority) { start += 5 }
    guard start <= end else { return nil }
    return UnsafeRawBufferPointer(rebasing: payload[start..<end])
  }

  private static func dependsOnItself(
    _ header: FrameHeader, _ payload: UnsafeRawBufferPointer
  ) -> Bool {
    guard header.flags.has(.priority) else { return false }
    let at = header.flags.has(.padded) ? 1 : 0
    return payload.baseAddress!.readUInt32(at: at) & 0x7FFF_FFFF == header.stream
  }

  private mutating func open(
    _ header: FrameHeader, dependsOnItself: Bool, _ reader: inout HTTP2HeadReader
  ) -> HTTP2EndpointEvent? {
    let id = header.stream
    let endsStream = header.flags.has(.endStream)
    guard id > lastStream else {
      // A stream that has ended, or one that was passed over (RFC 9113 5.1.1).
      return stray(id)
    }
    guard id <= acceptedThrough else {
      // It was sent before our GOAWAY was read: nobody answers it (6.8).
      passedOver = max(passedOver, id)
      return nil
    }
    lastStream = id
    if dependsOnItself {
      budget.spend(.wastedStream)
      control.push(.reset(id, .protocolError))
      streams.remember(id, .byReset)
      return nil
    }
    guard
      let stream = streams.open(
        id, sendWindow: peer.initialWindow, receiveWindow: options.streamWindow)
    else {
      budget.spend(.wastedStream)
      control.push(.reset(id, .refusedStream))
      // What belongs to it may be on its way, and must not be answered by another reset.
      streams.remember(id, .byReset)
      return nil
    }
    streams[stream].pointee.remoteEnded = endsStream
    if reader.arena.isTooLarge {
      // Small on the wire, it may have been large to decode.
      budget.spend(.wastedStream)
      return .headTooLarge(stream: stream, endsStream: endsStream)
    }
    if let value = reader.head.first("priority") {
      let priority = Priority(value)
      streams[stream].pointee.urgency = priority.urgency
      streams[stream].pointee.isIncremental = priority.isIncremental
    }
    return .head(stream: stream, endsStream: endsStream)
  }

  /// A head on one of our own streams: interim, or final.
  private mutating func responseHead(
    _ stream: Int, endsStream: Bool, _ reader: inout HTTP2HeadReader
  ) -> HTTP2EndpointEvent? {
    if reader.arena.isTooLarge { return .headTooLarge(stream: stream, endsStream: endsStream) }
    if reader.head.first(":status")?.first == UInt8(ascii: "1") {
      // An interim head ends nothing (RFC 9113 8.1).
      if endsStream { return resetStream(stream, .protocolError) }
      return .head(stream: stream, endsStream: false)
    }
    streams[stream].pointee.hasHead = true
    streams[stream].pointee.remoteEnded = endsStream
    return .head(stream: stream, endsStream: endsStream)
  }

  /// A head on a stream that is not ours, or not any more.
  private mutating func strayHead(_ id: UInt32) -> HTTP2EndpointEvent? {
    guard id <= lastStream else { return fail(.badStream, .protocolError) }
    return stray(id)
  }

  /// A head on a stream without a record, by how that ended.
  private mutating func stray(_ id: UInt32) -> HTTP2EndpointEvent? {
    switch streams.end(of: id) {
    case .byPeer: return fail(.closedStream, .streamClosed)
    case .byReset: break
    case .forgotten: budget.spend(.settings)
    case nil: return fail(.badStream, .protocolError)
    }
    return nil
  }

  private mutating func trailers(
    _ stream: Int, endsStream: Bool, isTooLarge: Bool
  ) -> HTTP2EndpointEvent? {
    if streams[stream].pointee.remoteEnded { return resetStream(stream, .streamClosed) }
    // A second section ends the stream (RFC 9113 8.1), and content ends with it.
    guard endsStream, streams[stream].pointee.announced <= 0, !isTooLarge else {
      return resetStream(stream, .protocolError)
    }
    streams[stream].pointee.remoteEnded = true
    position = .end(stream: stream)
    return .trailers(stream: stream)
  }

  // MARK: Content

  /// Takes the head of a DATA frame, which counts against the windows as a whole (RFC 9113 6.9.1).
  mutating func beginData(_ header: FrameHeader) -> HTTP2EndpointEvent? {
    guard header.stream != 0 else { return fail(.badStream, .protocolError) }
    guard windows.received(header.length) else { return fail(.windowExceeded, .flowControlError) }
    let ends = header.flags.has(.endStream)
    // The length of the padding is still to be read.
    let padding = header.flags.has(.padded) ? -1 : 0
    if padding < 0 && header.length == 0 { return fail(.frameSize, .frameSizeError) }
    if header.length == 0 && !ends { budget.spend(.settings) }
    var owner = -1
    var event: HTTP2EndpointEvent?
    if let stream = streams.find(header.stream) {
      streams[stream].pointee.receiveWindow -= header.length
      if streams[stream].pointee.remoteEnded {
        event = resetStream(stream, .streamClosed)
      } else if options.side == .client && !streams[stream].pointee.hasHead {
        event = resetStream(stream, .protocolError)
      } else if streams[stream].pointee.receiveWindow < 0 {
        event = resetStream(stream, .flowControlError)
      } else {
        owner = stream
      }
    } else {
      // A stream of an even number was never opened.
      guard header.stream <= lastStream, header.stream & 1 == 1 else {
        if header.stream & 1 == 0 { return fail(.badStream, .protocolError) }
        // Of a stream beyond our GOAWAY it is no error.
        if header.stream <= acceptedThrough { return fail(.badStream, .protocolError) }
        position = .data(stream: -1, left: header.length, padding: padding, ends: false)
        return nil
      }
      switch streams.end(of: header.stream) {
      case .byReset: break
      case .byPeer: return fail(.closedStream, .streamClosed)
      case .forgotten, nil:
        budget.spend(.wastedStream)
        control.push(.reset(header.stream, .streamClosed))
      }
    }
    position = .data(stream: owner, left: header.length, padding: padding, ends: ends)
    return event
  }

  /// Hands on what there is of a DATA frame's payload.
  mutating func readData(
    _ bytes: UnsafeRawBufferPointer, _ offset: inout Int
  ) -> HTTP2EndpointEvent? {
    guard case .data(let stream, var left, var padding, let ends) = position else { return nil }
    if padding < 0 {
      guard offset < bytes.count else { return .needsInput }
      padding = Int(bytes[offset])
      offset += 1
      left -= 1
      discard(stream, 1)
      guard padding <= left else { return fail(.badPadding, .protocolError) }
      left -= padding
      if left == 0 && !ends { budget.spend(.settings) }
    }
    let count = min(left, bytes.count - offset)
    if count > 0 {
      let start = offset
      offset += count
      left -= count
      position = .data(stream: stream, left: left, padding: padding, ends: ends)
      guard stream >= 0 else {
        windows.giveBack(count)
        return nil
      }
      return content(stream, start, count)
    }
    if left == 0 && padding > 0 {
      let skipped = min(padding, bytes.count - offset)
      offset += skipped
      padding -= skipped
      discard(stream, skipped)
    }
    position = .data(stream: stream, left: left, padding: padding, ends: ends)
    guard left == 0, padding == 0 else { return .needsInput }
    position = .frame
    guard ends, stream >= 0 else { return nil }
    guard streams[stream].pointee.announced <= 0 else { return resetStream(stream, .protocolError) }
    streams[stream].pointee.remoteEnded = true
    return .end(stream: stream)
  }

  private mutating func content(_ stream: Int, _ start: Int, _ count: Int) -> HTTP2EndpointEvent {
    streams[stream].pointee.unconsumed += count
    if streams[stream].pointee.announced >= 0 {
      streams[stream].pointee.announced -= Int64(count)
      // More content than Content-Length says (RFC 9113 8.1.1).
      if streams[stream].pointee.announced < 0 { return resetStream(stream, .protocolError) }
    }
    return .content(stream: stream, start: start, count: count)
  }

  /// Padding is nobody's content: its windows open at once.
  private mutating func discard(_ stream: Int, _ count: Int) {
    if stream >= 0 {
      streams[stream].pointee.unconsumed += count
      consume(stream, count)
    } else {
      windows.giveBack(count)
    }
  }
}
