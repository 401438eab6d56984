// What one end of an HTTP/2 connection makes of the frames that come: which rule each must keep, and what is
// told of it.

import MillraceEngine

extension StreamLine {
  // MARK: In

  func received(_ bytes: [UInt8]) {
    reader.feed(bytes)
    if !isClient && !hasPreface {
      switch reader.takePreface() {
      case nil: return
      case false?: return broken("what is no preface")
      case true?: hasPreface = true
      }
    }
    while !line.isOver, let frame = reader.next() { take(frame) }
    pump()
  }

  private func broken(_ why: String) {
    onBroken?(why)
    line.reset()
  }

  private func take(_ frame: Frame) {
    if frame.payload.count > Frame.payloadMaximum { return broken("a frame too large") }
    if !hasSettings {
      guard frame.kind == Frame.Kind.settings, !frame.has(Frame.Flag.ack) else {
        return broken("no SETTINGS at first")
      }
      hasSettings = true
    }
    if let block {
      guard frame.kind == Frame.Kind.continuation, frame.stream == block.stream else {
        return broken("frame \(frame.kind) inside a field block")
      }
    }
    switch frame.kind {
    case Frame.Kind.data: takeData(frame)
    case Frame.Kind.headers, Frame.Kind.continuation: takeBlock(frame)
    case Frame.Kind.settings: takeSettings(frame)
    case Frame.Kind.ping:
      guard frame.stream == 0, frame.payload.count == 8 else { return broken("a wrong PING") }
      if !frame.has(Frame.Flag.ack) {
        line.write(Frame.write(Frame.Kind.ping, Frame.Flag.ack, 0, Array(frame.payload)))
      }
    case Frame.Kind.windowUpdate: takeWindow(frame)
    case Frame.Kind.reset:
      guard frame.payload.count == 4, isKnown(frame.stream) else {
        return broken("RST_STREAM of \(frame.stream)")
      }
      guard let stream = byID[frame.stream], !stream.isReset else { return }
      let wasOver = stream.isOver
      stream.isReset = true
      if !wasOver { onReset?(stream, Frame.number(frame.payload)) }
    case Frame.Kind.goAway:
      guard frame.stream == 0, frame.payload.count >= 8 else { return broken("a wrong GOAWAY") }
      isGone = true
      let payload = frame.payload
      onGoAway?(
        Frame.number(payload.prefix(4)), Frame.number(payload.dropFirst(4).prefix(4)))
    default: broken("a frame of type \(frame.kind)")
    }
  }

  /// A stream that is not idle.
  private func isKnown(_ id: Int) -> Bool {
    id & 1 == 1 && (isClient ? byID[id] != nil : id <= lastOfPeer)
  }

  private func takeData(_ frame: Frame) {
    let count = frame.payload.count
    receiveWindow -= count
    if receiveWindow < 0 { return broken("more than the connection's window") }
    replenish()
    guard isKnown(frame.stream), let content = frame.content else {
      return broken("DATA on \(frame.stream)")
    }
    guard let stream = byID[frame.stream] else { return }
    if stream.remoteEnded { return broken("DATA behind the end of \(frame.stream)") }
    if isClient && !stream.hasHead && !stream.isReset { return broken("DATA before a head") }
    stream.receiveWindow -= count
    if stream.receiveWindow < -stream.grace && count > 0 {
      return broken("more than the window of \(frame.stream)")
    }
    stream.received += content.count
    let ends = frame.has(Frame.Flag.endStream)
    if ends { stream.remoteEnded = true }
    if stream.isReset { return }
    if !content.isEmpty { onContent?(stream, content) }
    if line.isOver { return }
    if ends { onEnd?(stream, []) } else { replenish(stream) }
  }

  private func takeBlock(_ frame: Frame) {
    if frame.kind == Frame.Kind.headers {
      guard let content = frame.content else { return broken("a HEADERS frame too short") }
      block = (frame.stream, frame.flags, Array(content))
    } else {
      guard block != nil else { return broken("a stray CONTINUATION") }
      block!.bytes += frame.payload
    }
    guard frame.has(Frame.Flag.endHeaders), let whole = block else { return }
    block = nil
    guard let fields = FieldBlock.read(whole.bytes[...]) else { return broken("a field block") }
    takeHead(whole.stream, fields, ends: whole.flags & Frame.Flag.endStream != 0)
  }

  private func takeHead(_ id: Int, _ fields: FieldBlock.Fields, ends: Bool) {
    for (name, _) in fields {
      let isBad =
        name != name.lowercased()
        || ["connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"]
          .contains(name)
      if isBad { return broken("the field \(name)") }
    }
    if !isClient && id > lastOfPeer {
      guard id & 1 == 1 else { return broken("a stream of number \(id)") }
      if openStreams >= confirmedStreams { return broken("more streams than were announced") }
      lastOfPeer = id
      _ = stream(id)
    }
    guard isKnown(id) else { return broken("HEADERS on \(id)") }
    guard let stream = byID[id] else { return }
    if stream.remoteEnded { return broken("HEADERS behind the end of \(id)") }
    if ends { stream.remoteEnded = true }
    if stream.isReset { return }
    if stream.hasHead {
      guard ends, !fields.contains(where: { $0.name.hasPrefix(":") }) else {
        return broken("wrong trailers")
      }
      onEnd?(stream, fields)
      return
    }
    let isInterim = fields.first?.value.hasPrefix("1") == true && fields.first?.name == ":status"
    stream.hasHead = !isInterim
    onHead?(stream, fields, ends)
    if !ends && !line.isOver { replenish(stream) }
  }

  private func takeSettings(_ frame: Frame) {
    guard frame.stream == 0, frame.payload.count % 6 == 0 else { return broken("wrong SETTINGS") }
    if frame.has(Frame.Flag.ack) {
      guard !unconfirmed.isEmpty else { return broken("SETTINGS acknowledged that were not sent") }
      for (id, value) in unconfirmed.removeFirst() {
        if id == Frame.Setting.maxStreams { confirmedStreams = value }
        guard id == Frame.Setting.initialWindow else { continue }
        for stream in streams { stream.receiveWindow += value - confirmedWindow }
        if value < confirmedWindow {
          for stream in streams { stream.grace += confirmedWindow - value }
          grace += confirmedWindow - value
        }
        confirmedWindow = value
        for stream in streams where stream.hasHead || isClient { replenish(stream) }
      }
      return
    }
    var rest = frame.payload
    while !rest.isEmpty {
      let id = Frame.number(rest.prefix(2))
      let value = Frame.number(rest.dropFirst(2).prefix(4))
      rest = rest.dropFirst(6)
      if id == Frame.Setting.maxStreams { peerStreams = value }
      if id == Frame.Setting.initialWindow {
        for stream in streams { stream.sendWindow += value - peerWindow }
        peerWindow = value
      }
    }
    line.write(Frame.write(Frame.Kind.settings, Frame.Flag.ack))
  }

  private func takeWindow(_ frame: Frame) {
    let count = Frame.number(frame.payload)
    guard frame.payload.count == 4, count > 0 else { return broken("a wrong WINDOW_UPDATE") }
    if frame.stream == 0 {
      sendWindow += count
      if sendWindow > 0x7FFF_FFFF { broken("a window too large") }
      return
    }
    guard isKnown(frame.stream) else { return broken("WINDOW_UPDATE of \(frame.stream)") }
    byID[frame.stream]?.sendWindow += count
  }
}
