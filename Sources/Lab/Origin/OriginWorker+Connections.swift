// A connection's life: bytes in, bytes out, and its end, for both versions of HTTP, with TLS or
// without. What the bytes mean is in the files of the two versions.

import Glibc
import HTTP1
import HTTP2
import MillraceEngine
import TLS

extension OriginWorker where E: ~Copyable {
  // MARK: Receiving

  @inline(__always)
  mutating func armReceive(_ c: OriginConnectionPointer) {
    guard !c.pointee.receiving, !c.pointee.paused, !c.pointee.readClosed,
      c.pointee.closing == .open || c.pointee.closing == .lingering
    else { return }
    c.pointee.receiving = true
    engine.receive(c.pointee.socket, .stream, token(.receive, c.pointee.slot))
  }

  @inline(__always)
  mutating func received(_ c: OriginConnectionPointer, _ completion: Completion) {
    if completion.isTerminal {
      c.pointee.receiving = false
      c.pointee.stopping = false
    }
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      if c.pointee.closing == .open { arrived(c, slice.bytes) }
      _ = consume slice
    } else if completion.isTerminal && completion.result != -ECANCELED {
      ended(c, completion.result)
    }
    guard completion.isTerminal else { return }
    if c.pointee.closing == .joining {
      reapable.append(c.pointee.slot)
    } else {
      armReceive(c)
    }
  }

  @inline(__always)
  private mutating func arrived(_ c: OriginConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    if c.pointee.usesTLS { decrypt(c, bytes) } else { input(c, bytes) }
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
    c.pointee.held.append(bytes, &engine)
    let found = c.pointee.held.peek()
    let compared = min(found.count, preface.utf8CodeUnitCount)
    guard compared > 0 else { return }
    if memcmp(found.baseAddress!, preface.utf8Start, compared) != 0 {
      c.pointee.speaks = .http1
      useHeld(c)
    } else if compared == preface.utf8CodeUnitCount {
      guard beginHTTP2(c) else { return abort(c) }
      http2Input(c, found)
      c.pointee.held.clear()
    }
  }

  /// End of stream or an error of the receive. - Parameter result: 0 or a negated errno.
  mutating func ended(_ c: OriginConnectionPointer, _ result: Int32) {
    c.pointee.readClosed = true
    switch c.pointee.closing {
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
      if c.pointee.phase != .head { c.pointee.closeAfter = c.pointee.held.isEmpty }
    }
    settle(c)
  }

  // MARK: Sending

  /// Makes sure that there is a frame for what is to be said; false when the engine has none left.
  @inline(__always)
  mutating func ensurePlain(_ c: OriginConnectionPointer) -> Bool {
    if c.pointee.plain != nil { return true }
    guard let frame = engine.frame() else { return false }
    c.pointee.plain = consume frame
    return true
  }

  /// Sends what waits, if nothing is in flight. Success is reported quietly when nothing waits for
  /// it: the client will be heard of again.
  @inline(__always)
  mutating func flush(_ c: OriginConnectionPointer) {
    guard !c.pointee.sending, c.pointee.closing != .joining,
      c.pointee.plainBytes + c.pointee.wireBytes > 0
    else { return }
    var frame: SendFrame?
    if c.pointee.usesTLS {
      guard encrypt(c) else { return abort(c) }
      c.pointee.wireBytes = 0
      frame = c.pointee.wire.take()
    } else {
      c.pointee.plainBytes = 0
      frame = c.pointee.plain.take()
    }
    guard let frame = frame.take() else { return }
    let isQuiet =
      c.pointee.closing == .open && c.pointee.phase == .head && c.pointee.held.isEmpty
      && !c.pointee.readClosed && !c.pointee.hasMore
    c.pointee.sending = true
    engine.send(
      c.pointee.socket, frame, isQuiet ? .quiet : .awaited, token(.send, c.pointee.slot))
  }

  @inline(__always)
  mutating func sent(_ c: OriginConnectionPointer, _ result: Int32) {
    c.pointee.sending = false
    if c.pointee.closing == .joining { return reapable.append(c.pointee.slot) }
    guard result >= 0 else { return join(c) }
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
    switch c.pointee.closing {
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
    if c.pointee.closing == .open {
      if c.pointee.readClosed, c.pointee.speaks == .http1, c.pointee.phase == .head,
        canCompose(c)
      {
        // What is held, if anything, is no whole request and will never be one.
        beginClose(c)
        return advanceClosing(c)
      }
      if c.pointee.paused, c.pointee.phase != .mute, c.pointee.held.count < OriginLimits.heldBytes {
        c.pointee.paused = false
        armReceive(c)
      }
    } else {
      advanceClosing(c)
    }
  }

  /// Begins an end in order: what is to be said leaves, TLS says goodbye, then it closes.
  mutating func beginClose(_ c: OriginConnectionPointer) {
    guard c.pointee.closing == .open else { return }
    c.pointee.closing = .flushing
    if c.pointee.usesTLS, !sayGoodbye(c) { abort(c) }
  }

  /// Ends with a reset, after what is to be said.
  mutating func beginReset(_ c: OriginConnectionPointer) {
    guard c.pointee.closing == .open else { return }
    if !c.pointee.sending && c.pointee.plainBytes + c.pointee.wireBytes == 0 { return abort(c) }
    c.pointee.closing = .resetting
  }

  private mutating func advanceClosing(_ c: OriginConnectionPointer) {
    guard c.pointee.closing == .flushing || c.pointee.closing == .resetting else { return }
    flush(c)
    if c.pointee.sending { return engine.expediteSends() }
    if c.pointee.closing == .resetting {
      return arm(c, engine.now + OriginLimits.resetPause)
    }
    if c.pointee.readClosed { return join(c) }
    guard c.pointee.closing == .flushing else { return }
    engine.shutdown(c.pointee.socket, .send)
    c.pointee.closing = .lingering
    c.pointee.held.clear()
    c.pointee.paused = false
    arm(c, engine.now + OriginLimits.lingerNanoseconds)
    armReceive(c)
  }

  /// Ends a connection at once, so that the client sees a reset.
  mutating func abort(_ c: OriginConnectionPointer) {
    guard c.pointee.closing != .joining else { return }
    c.pointee.reset = true
    join(c)
  }

  /// Ends a connection at once: what is in flight is made to complete, and then reaped.
  mutating func join(_ c: OriginConnectionPointer) {
    guard c.pointee.closing != .joining else { return }
    c.pointee.closing = .joining
    // Entries of its timer are stale from here on.
    c.pointee.timer = 0
    if c.pointee.reset && c.pointee.sending {
      // Not by shutdown(2): its FIN would reach the client before the reset.
      c.pointee.stopping = true
      engine.cancelAll(c.pointee.socket)
    } else {
      stopReceiving(c)
      if c.pointee.sending {
        engine.shutdown(c.pointee.socket, .both)
        engine.expediteSends()
      }
    }
    reapable.append(c.pointee.slot)
  }

  mutating func stopReceiving(_ c: OriginConnectionPointer) {
    guard c.pointee.receiving, !c.pointee.stopping else { return }
    c.pointee.stopping = true
    engine.stopReceiving(c.pointee.socket)
  }

  /// Reads no more from a connection that asks for it, for a while.
  mutating func turnDeaf(_ c: OriginConnectionPointer) {
    c.pointee.phase = .mute
    c.pointee.paused = true
    stopReceiving(c)
    arm(c, engine.now + OriginLimits.deafNanoseconds)
  }

  /// The process is about to end: the connection closes after what is under way.
  mutating func finishSoon(_ c: OriginConnectionPointer) {
    guard c.pointee.closing == .open else { return }
    switch c.pointee.speaks {
    case .undecided: return join(c)
    case .http2:
      if c.pointee.phase == .mute { return join(c) }
      c.pointee.http2!.goAway()
      http2Output(c)
    case .http1:
      switch c.pointee.phase {
      case .mute: return join(c)
      case .head where c.pointee.held.isEmpty: beginClose(c)
      case .head, .content, .waiting, .answering: c.pointee.closeAfter = true
      }
    }
    flush(c)
    settle(c)
  }
}

extension SendFrame {
  /// `inlineRemaining` for a frame in an optional, which can only be mutated in place.
  @inline(__always)
  mutating func freeInline() -> Int { inlineRemaining }
}
