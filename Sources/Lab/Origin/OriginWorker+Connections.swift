// A connection's life: bytes in, bytes out, and its end, for both versions of HTTP, with TLS or
// without. What the bytes mean is in the files of the two versions.

import Glibc
import HTTP1
import HTTP2
import MillraceEngine
import TLS
import Transport

extension OriginWorker where E: ~Copyable {
  // MARK: Receiving

  @inline(__always)
  mutating func armReceive(_ c: OriginConnectionPointer) {
    c.pointee.transport.arm(token(.receive, c.pointee.slot), &engine)
  }

  @inline(__always)
  mutating func received(_ c: OriginConnectionPointer, _ completion: Completion) {
    c.pointee.transport.received(completion)
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      if c.pointee.transport.closing == .open { arrived(c, slice) }
    } else if completion.isTerminal && completion.result != -ECANCELED {
      ended(c, completion.result)
    }
    guard completion.isTerminal else { return }
    if c.pointee.transport.closing == .joining {
      reapable.append(c.pointee.slot)
    } else {
      armReceive(c)
    }
  }

  @inline(__always)
  private mutating func arrived(_ c: OriginConnectionPointer, _ slice: consuming BufferSlice) {
    if let channel = c.pointee.transport.tls {
      decrypt(c, channel, slice)
    } else {
      input(c, slice.bytes)
    }
    flush(c)
    settle(c)
  }

  /// Plaintext that has arrived.
  @inline(__always)
  mutating func input(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    switch c.pointee.speaks {
    case .http1: http1Input(c, bytes)
    case .http2: http2Input(c, bytes)
    case .undecided: decide(c, bytes)
    }
  }

  /// The client's preface tells HTTP/2 from HTTP/1.1, whose methods never begin like it (RFC 9113,
  /// section 3.4).
  private mutating func decide(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    let preface: StaticString = "PRI * HTTP/2.0"
    c.pointee.transport.unread.append(bytes, &engine)
    let found = c.pointee.transport.unread.peek()
    let compared = min(found.count, preface.utf8CodeUnitCount)
    guard compared > 0 else { return }
    if memcmp(found.baseAddress!, preface.utf8Start, compared) != 0 {
      c.pointee.speaks = .http1
      useHeld(c)
    } else if compared == preface.utf8CodeUnitCount {
      guard beginHTTP2(c) else { return abort(c) }
      http2Input(c, found)
      c.pointee.transport.unread.clear()
    }
  }

  /// End of stream or an error of the receive. - Parameter result: 0 or a negated errno.
  mutating func ended(_ c: OriginConnectionPointer, _ result: Int32) {
    switch c.pointee.transport.closing {
    case .lingering: return join(c)
    case .flushing, .resetting, .joining: return
    case .open: break
    }
    if result < 0 { return join(c) }
    switch c.pointee.speaks {
    case .undecided: return join(c)
    case .http2: beginClose(c)
    case .http1:
      // A client may shut its side down and still read the answers to what it has asked.
      if c.pointee.phase == .content || c.pointee.phase == .mute { return join(c) }
      if c.pointee.phase != .head { c.pointee.closeAfter = c.pointee.transport.unread.isEmpty }
    }
    settle(c)
  }

  // MARK: Sending

  /// Makes sure that there is a frame for what is to be said; false when the engine has none left.
  @inline(__always)
  mutating func ensurePlain(_ c: OriginConnectionPointer) -> Bool {
    c.pointee.plain.prepare(&engine)
  }

  /// Adds to what is to be said; a connection that has no room for it ends.
  @inline(__always)
  mutating func say(_ c: OriginConnectionPointer, _ text: StaticString) {
    if !c.pointee.plain.append(text) { abort(c) }
  }

  @inline(__always)
  mutating func say(_ c: OriginConnectionPointer, _ slice: consuming BufferSlice) {
    if !c.pointee.plain.append(slice) { abort(c) }
  }

  /// Sends what waits, if nothing is in flight. Success is reported quietly when nothing waits for
  /// it: the client will be heard of again.
  @inline(__always)
  mutating func flush(_ c: OriginConnectionPointer) {
    guard !c.pointee.transport.sending, c.pointee.transport.closing != .joining,
      !c.pointee.plain.isEmpty || !c.pointee.transport.unsent.isEmpty
    else { return }
    if let channel = c.pointee.transport.tls {
      guard encrypt(c, channel) else { return abort(c) }
    } else {
      c.pointee.transport.unsent.replace(with: &c.pointee.plain)
    }
    let isQuiet =
      c.pointee.transport.closing == .open && c.pointee.phase == .head
      && c.pointee.transport.unread.isEmpty
      && !c.pointee.transport.readClosed && !c.pointee.hasMore && !c.pointee.transport.isStalled
    _ = c.pointee.transport.flush(
      isQuiet ? .quiet : .awaited, token(.send, c.pointee.slot), &engine)
  }

  @inline(__always)
  mutating func sent(_ c: OriginConnectionPointer, _ result: Int32) {
    c.pointee.transport.sent()
    if c.pointee.transport.closing == .joining { return reapable.append(c.pointee.slot) }
    guard result >= 0 else { return join(c) }
    if let channel = c.pointee.transport.tls, channel.pointee.isStalled {
      resumeDecrypting(c, channel)
      guard c.pointee.transport.closing != .joining else { return }
    }
    if c.pointee.speaks == .http2 {
      http2Output(c)
    } else {
      if c.pointee.phase == .answering && c.pointee.answer.bytesPerSecond == 0 { pump(c) }
      useHeld(c)
    }
    flush(c)
    settle(c)
  }

  // MARK: Time

  /// The moment that the connection waited for has come.
  mutating func connectionDue(_ c: OriginConnectionPointer) {
    switch c.pointee.transport.closing {
    case .resetting: return abort(c)
    case .lingering: return join(c)
    case .flushing, .joining: return
    case .open: break
    }
    switch c.pointee.phase {
    case .mute: return abort(c)
    case .waiting: startAnswer(c)
    case .answering: pump(c)
    case .head, .content: return
    }
    useHeld(c)
    flush(c)
    settle(c)
  }

  // MARK: The end

  /// What follows from the state that a connection is in after a turn's work.
  @inline(__always)
  mutating func settle(_ c: OriginConnectionPointer) {
    if c.pointee.transport.closing == .open {
      if c.pointee.transport.readClosed, c.pointee.speaks == .http1, c.pointee.phase == .head,
        canCompose(c)
      {
        // What is held, if anything, is no whole request and will never be one.
        beginClose(c)
        return advanceClosing(c)
      }
      if c.pointee.transport.paused, c.pointee.phase != .mute,
        c.pointee.transport.unread.count < OriginLimits.heldBytes
      {
        c.pointee.transport.paused = false
        armReceive(c)
      }
    } else {
      advanceClosing(c)
    }
  }

  /// Begins an end in order: what is to be said leaves, TLS says goodbye, then it closes.
  mutating func beginClose(_ c: OriginConnectionPointer) {
    guard c.pointee.transport.closing == .open else { return }
    c.pointee.transport.beginFlushing()
    if let channel = c.pointee.transport.tls, !sendCloseNotify(c, channel) { abort(c) }
  }

  /// Ends with a reset, after what is to be said.
  mutating func beginReset(_ c: OriginConnectionPointer) {
    guard c.pointee.transport.closing == .open else { return }
    if c.pointee.transport.isIdle && c.pointee.plain.isEmpty { return abort(c) }
    c.pointee.transport.beginResetting()
  }

  private mutating func advanceClosing(_ c: OriginConnectionPointer) {
    guard c.pointee.transport.closing == .flushing || c.pointee.transport.closing == .resetting
    else { return }
    flush(c)
    if c.pointee.transport.sending { return engine.expediteSends() }
    if c.pointee.transport.closing == .resetting {
      return arm(c, engine.now + OriginLimits.resetPause)
    }
    if c.pointee.transport.readClosed { return join(c) }
    guard c.pointee.transport.closing == .flushing else { return }
    c.pointee.transport.linger(&engine)
    arm(c, engine.now + OriginLimits.lingerNanoseconds)
    armReceive(c)
  }

  /// Ends a connection at once, so that the client sees a reset.
  mutating func abort(_ c: OriginConnectionPointer) {
    guard c.pointee.transport.closing != .joining else { return }
    join(c, resets: true)
  }

  /// Ends a connection at once: what is in flight is made to complete, and then reaped.
  mutating func join(_ c: OriginConnectionPointer, resets: Bool = false) {
    guard c.pointee.transport.closing != .joining else { return }
    // Entries of its timer are stale from here on.
    c.pointee.timer = 0
    c.pointee.transport.join(&engine, resets: resets)
    reapable.append(c.pointee.slot)
  }

  mutating func stopReceiving(_ c: OriginConnectionPointer) {
    c.pointee.transport.stopReceiving(&engine)
  }

  /// Reads no more from a connection that asks for it, for a while.
  mutating func stopReading(_ c: OriginConnectionPointer) {
    c.pointee.phase = .mute
    c.pointee.transport.paused = true
    stopReceiving(c)
    arm(c, engine.now + OriginLimits.deafNanoseconds)
  }

  /// The process is about to end: the connection closes after what is under way.
  mutating func finishSoon(_ c: OriginConnectionPointer) {
    guard c.pointee.transport.closing == .open else { return }
    switch c.pointee.speaks {
    case .undecided: return join(c)
    case .http2:
      if c.pointee.phase == .mute { return join(c) }
      c.pointee.http2!.goAway()
      http2Output(c)
    case .http1:
      switch c.pointee.phase {
      case .mute: return join(c)
      case .head where c.pointee.transport.unread.isEmpty: beginClose(c)
      case .head, .content, .waiting, .answering: c.pointee.closeAfter = true
      }
    }
    flush(c)
    settle(c)
  }
}
