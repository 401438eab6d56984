// Plaintext out of what came, records out of what leaves, the same for both sides of a session. Each
// call is one step, whose outcome tells the caller what to do: nothing here uses plaintext or ends a
// connection.

public import MillraceEngine
public import TLS

/// What a step of decrypting asks for.
public enum TLSOutcome: Equatable, Sendable {
  /// All input is used up.
  case wantsInput
  /// There is more to give: call again with the rest of the input.
  case goesOn
  /// The session has much to say: send what waits, then call again with the rest of the input.
  case mustFlush
  /// Nothing more is decrypted before what the session said has left: hold the rest of the input.
  case stalled
  /// The peer said close_notify: there will be no more plaintext.
  case peerFinished
  /// The session is over; its alert waits to leave. `TLSChannel.session` says why.
  case failed
  /// What the session said found no room. It must not be left out: the peer counts records.
  case outputLost
}

/// What a step of decrypting did.
public struct TLSStep: Sendable {
  /// Bytes of the input that are done with.
  public var consumed = 0
  /// Bytes of plaintext that were written. They come before the outcome.
  public var plaintext = 0
  /// Whether this step, and no other, completed the handshake.
  public var handshakeCompleted = false
  /// Whether this step began a stall.
  public var stallBegan = false
  public var outcome = TLSOutcome.wantsInput

  @inlinable
  init() {}
}

/// How encrypting ended.
public enum TLSSealing: Equatable, Sendable {
  case done
  /// The engine has no frame left.
  case noFrame
  /// The frame has no room for what the session said.
  case noRoom
  /// The session is over.
  case failed
}

extension Transport {
  /// Room at the end of an output buffer that is not worth a record of its own.
  @usableFromInline static var worthwhileRoom: Int { 2048 }
  /// A large buffer where the engine has none to lease: two records.
  @usableFromInline static var coldArea: Int { 32_768 }

  /// True while a TLS session waits for what it said to leave.
  @inlinable @inline(__always)
  public var isStalled: Bool {
    guard let tls else { return false }
    return tls.pointee.isStalled
  }

  /// True where no TLS handshake is to come, or is under way.
  @inlinable
  public var isEstablished: Bool {
    guard let tls else { return true }
    return tls.pointee.isEstablished
  }

  // MARK: In

  /// Feeds the session once. Before it speaks there must be room, since what it has said cannot be
  /// taken back: where `unsent.isFull()`, send it first.
  /// - Parameters:
  ///   - ciphertext: input that has not been used; none makes a client's session say its first words.
  ///   - plaintext: receives application data, at best a whole record.
  ///   - scratch: `TLSChannels.scratch`.
  @inlinable
  public mutating func decrypt<E: Engine & ~Copyable>(
    _ channel: UnsafeMutablePointer<TLSChannel>, _ ciphertext: UnsafeRawBufferPointer,
    plaintext: UnsafeMutableRawBufferPointer, scratch: UnsafeMutableRawBufferPointer,
    _ engine: inout E
  ) -> TLSStep {
    var step = TLSStep()
    if unsent.isFull() {
      step.stallBegan = stall(channel, &engine)
      step.outcome = .stalled
      return step
    }
    let transfer = channel.pointee.session.receive(
      ciphertext, plaintext: plaintext, output: scratch)
    step.consumed = transfer.consumed
    step.plaintext = transfer.plaintext
    step.handshakeCompleted = transfer.handshakeCompleted
    if transfer.handshakeCompleted { channel.pointee.established = true }
    if transfer.output > 0 {
      let said = UnsafeRawBufferPointer(rebasing: scratch[..<transfer.output])
      guard unsent.prepare(&engine), unsent.append(said) else {
        step.outcome = .outputLost
        return step
      }
      // Behind a send in flight no more than one such output waits.
      if sending && closing == .open { step.stallBegan = stall(channel, &engine) }
    }
    step.outcome = outcome(transfer.progress, channel.pointee.isStalled)
    return step
  }

  @inlinable
  func outcome(_ progress: TLSSession.Progress, _ isStalled: Bool) -> TLSOutcome {
    switch progress {
    case .wantsInput: .wantsInput
    case .peerClosed: .peerFinished
    case .failed: .failed
    case .plaintextFull: isStalled ? .stalled : .goesOn
    case .outputFull: isStalled ? .stalled : .mustFlush
    }
  }

  /// Stops reading and decrypting until what the session said has left. - Returns: whether that is new.
  @inlinable
  mutating func stall<E: Engine & ~Copyable>(
    _ channel: UnsafeMutablePointer<TLSChannel>, _ engine: inout E
  ) -> Bool {
    guard !channel.pointee.isStalled else { return false }
    channel.pointee.stalled = true
    stopReceiving(&engine)
    // The end of the send in flight is waited for now, also of one whose success is silent.
    engine.expediteSends()
    return true
  }

  // MARK: Out

  /// Puts close_notify behind what is to be sent, once the handshake is complete. Where it finds no room
  /// the connection ends without: nothing follows it, and to the peer such an end is a truncation, never
  /// a good one. - Returns: whether the peer will see close_notify, if it was owed one.
  @discardableResult
  @inlinable
  public mutating func sendCloseNotify<E: Engine & ~Copyable>(
    _ channel: UnsafeMutablePointer<TLSChannel>, scratch: UnsafeMutableRawBufferPointer,
    _ engine: inout E
  ) -> Bool {
    guard channel.pointee.isEstablished else { return true }
    let transfer = channel.pointee.session.close(output: scratch)
    guard transfer.output > 0 else { return true }
    return unsent.prepare(&engine)
      && unsent.append(UnsafeRawBufferPointer(rebasing: scratch[..<transfer.output]))
  }

  /// Encrypts a frame of plaintext behind what waits to leave.
  @inlinable
  public mutating func encrypt<E: Engine & ~Copyable>(
    _ channel: UnsafeMutablePointer<TLSChannel>, _ frame: consuming SendFrame, _ engine: inout E
  ) -> TLSSealing {
    guard unsent.prepare(&engine) else { return .noFrame }
    // At most: one for each piece, of which there are as many as segments and whole records, and those that a
    // smaller limit of the peer adds.
    let records =
      frame.segmentCount + frame.count / TLSSession.recordPlaintextMaximum + 1
      + frame.count / channel.pointee.session.recordMaximum
    let wire =
      frame.count + records * TLSSession.recordOverheadMaximum + TLSSession.answerMaximum
      + channel.pointee.session.pendingOutput
    guard wire <= unsent.inlineRoom() else {
      return channel.pointee.session.sealsItself
        ? encryptScattered(channel, frame, wire, &engine)
        : encryptLarge(channel, frame, wire, &engine)
    }
    var pieces = RecordPieces(frame.segmentCount > 1 ? engine.lease() : nil)
    while let piece = pieces.next(frame) {
      var isWhole = true
      let written = unsent.write(capacity: 1) { room in
        let transfer = channel.pointee.session.send(piece, output: room)
        isWhole = transfer.progress == .wantsInput && transfer.consumed == piece.count
        return transfer.output
      }
      guard isWhole else { return .failed }
      guard written >= 0 else { return .noRoom }
    }
    return .done
  }

  /// A large buffer for records, or cold memory where the engine has none to lease or only small ones:
  /// a frame holds few slices.
  @inlinable
  func sealingArea<E: Engine & ~Copyable>(_ left: Int, _ engine: inout E) -> BufferSlice {
    let area = engine.lease() ?? engine.coldMemory(left)
    return area.count < min(left, Self.coldArea) ? engine.coldMemory(left) : area
  }

  /// The same for a session that seals its records itself: whole records from the frame's segments into large buffers.
  @inlinable
  mutating func encryptScattered<E: Engine & ~Copyable>(
    _ channel: UnsafeMutablePointer<TLSChannel>, _ frame: consuming SendFrame, _ wire: Int,
    _ engine: inout E
  ) -> TLSSealing {
    let besides = TLSSession.recordOverheadMaximum + TLSSession.answerMaximum
    let most = channel.pointee.session.recordMaximum
    var (sent, left) = (0, wire)
    var area = sealingArea(left, &engine)
    var used = 0
    while sent < frame.count {
      let free = area.count - used - besides - channel.pointee.session.pendingOutput
      let count = min(frame.count - sent, most, free)
      if count < min(frame.count - sent, most), free < Self.worthwhileRoom {
        // A fresh area is larger.
        guard used > 0 else { return .noRoom }
        area.truncate(to: used)
        guard unsent.append(area) else { return .noRoom }
        area = sealingArea(max(left, Self.coldArea), &engine)
        used = 0
        continue
      }
      let transfer = channel.pointee.session.sendRecord(
        frame.segments, skipping: sent, count: count,
        output: UnsafeMutableRawBufferPointer(rebasing: area.mutableBytes[used...]))
      guard transfer.progress == .wantsInput else { return .failed }
      sent += count
      used += transfer.output
      left -= transfer.output
    }
    area.truncate(to: used)
    return unsent.append(area) ? .done : .noRoom
  }

  /// The same through large buffers, each filled over several segments.
  @inlinable
  mutating func encryptLarge<E: Engine & ~Copyable>(
    _ channel: UnsafeMutablePointer<TLSChannel>, _ frame: consuming SendFrame, _ wire: Int,
    _ engine: inout E
  ) -> TLSSealing {
    var left = wire
    var area = sealingArea(left, &engine)
    var used = 0
    var pieces = RecordPieces(frame.segmentCount > 1 ? engine.lease() : nil)
    while let piece = pieces.next(frame) {
      var sent = 0
      while sent < piece.count {
        let record = min(piece.count - sent, channel.pointee.session.recordMaximum)
        // A record that does not fit what is left would be kept back in part by the session.
        let isFull =
          used > 0 && area.count - used < record + TLSSession.recordOverheadMaximum
          && area.count - used < Self.worthwhileRoom
        if !isFull {
          let room = UnsafeMutableRawBufferPointer(rebasing: area.mutableBytes[used...])
          let transfer = channel.pointee.session.send(
            UnsafeRawBufferPointer(rebasing: piece[sent...]), output: room)
          if case .failed = transfer.progress { return .failed }
          // The peer decides what OpenSSL does: a session that takes nothing must not be asked for ever.
          guard transfer.consumed > 0 || transfer.output > 0 else { return .failed }
          sent += transfer.consumed
          used += transfer.output
          left -= transfer.output
        }
        guard sent < piece.count else { break }
        area.truncate(to: used)
        guard unsent.append(area) else { return .noRoom }
        area = sealingArea(max(left, Self.coldArea), &engine)
        used = 0
      }
    }
    area.truncate(to: used)
    guard unsent.append(area) else { return .noRoom }
    let kept = channel.pointee.session.pendingOutput
    guard kept > 0 else { return .done }
    // The answer to a KeyUpdate took the room of the last record's end.
    area = engine.coldMemory(kept)
    let rest = channel.pointee.session.send(
      UnsafeRawBufferPointer(start: nil, count: 0), output: area.mutableBytes)
    guard rest.progress == .wantsInput else { return .failed }
    area.truncate(to: rest.output)
    return unsent.append(area) ? .done : .noRoom
  }
}
