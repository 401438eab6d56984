// One TLS connection as a machine over memory: ciphertext in, plaintext out, and the other way
// round. It owns its OpenSSL session and touches no socket, clock or thread, so that every engine
// and the simulator can drive it. The three areas of a call belong to the caller and are used only
// during the call.

import COpenSSL

/// A TLS session.
///
/// Use from one thread at a time. In steady state no call allocates memory of this room's or counts
/// a reference; OpenSSL takes and frees one record buffer per batch (SSL_MODE_RELEASE_BUFFERS).
public struct TLSSession: ~Copyable {
  /// How a call ended.
  public enum Progress: Sendable, Equatable, BitwiseCopyable {
    /// All input is consumed and nothing more can be given; call again when there is more input.
    case wantsInput
    /// The plaintext area is full; make room and call again with the rest of the input.
    case plaintextFull
    /// The output area is full; send it and call again with the rest of the input.
    case outputFull
    /// The peer sent close_notify: there will be no more plaintext. What followed it is dropped.
    case peerClosed
    /// The session is over. `output` may hold an alert to send; `failure` says it in words.
    case failed(TLSFailure.Kind)
  }

  /// What a call did.
  public struct Transfer: Sendable, Equatable, BitwiseCopyable {
    /// Bytes of the first area that are done with; the rest must be given again.
    public var consumed: Int
    /// Bytes of application data that were written into the plaintext area.
    public var plaintext: Int
    /// Bytes for the wire that were written into the output area.
    public var output: Int
    /// Whether this call, and no other, completed the handshake.
    public var handshakeCompleted: Bool
    /// How the call ended.
    public var progress: Progress

    public init(
      consumed: Int, plaintext: Int, output: Int, handshakeCompleted: Bool, progress: Progress
    ) {
      self.consumed = consumed
      self.plaintext = plaintext
      self.output = output
      self.handshakeCompleted = handshakeCompleted
      self.progress = progress
    }
  }

  /// The most plaintext that a record carries (RFC 8446, section 5.1).
  public static var recordPlaintextMaximum: Int { 16_384 }

  /// The most bytes that a record adds to its plaintext: 29 in TLS 1.2 with AES-GCM (header 5,
  /// explicit nonce 8, tag 16); 22 in TLS 1.3 (header 5, content type 1, tag 16). The profile has
  /// AEAD suites only.
  public static var recordOverheadMaximum: Int { 29 }

  /// The most bytes that a call of `send` may put before its first record: the answer to a KeyUpdate
  /// that was received since the last one, which OpenSSL owes until then.
  public static var answerMaximum: Int { 5 + recordOverheadMaximum }

  /// Below this much plaintext, a record that only fills the end of the output area is not begun:
  /// sealing costs as much as 1 KiB of data does, and the peer pays too.
  private static var worthwhileRecord: Int { 1024 }

  let ssl: OpaquePointer
  let wires: UnsafeMutablePointer<SessionWires>
  /// Keeps the callbacks' context alive; nil on the client side, which has none.
  let context: TLSContext?

  /// Whether application data may flow.
  public private(set) var isHandshakeComplete = false
  private var hasPeerClosed = false
  var hasSentClose = false
  var failureKind: TLSFailure.Kind?
  private var failureStage = TLSFailure.Stage.handshake
  private var failureCode: UInt = 0

  /// A server's session, waiting for a ClientHello; nil if memory ran out.
  public init?(context: TLSContext) {
    let isTold = context.expectsLong()
    guard let parts = Self.makeParts(context.defaultGroup(telling: isTold)) else { return nil }
    parts.wires.pointee.records.isTold = isTold
    SSL_set_accept_state(parts.ssl)
    ssl = parts.ssl
    wires = parts.wires
    wires.pointee.records.sealing = context.sealing
    self.context = context
  }

  /// Takes over an SSL that is ready for its first handshake call as a client.
  init(client parts: (ssl: OpaquePointer, wires: UnsafeMutablePointer<SessionWires>)) {
    ssl = parts.ssl
    wires = parts.wires
    context = nil
    wires.pointee.hasSeenHello = true
  }

  deinit {
    if couldSeal, !wires.pointee.records.isLong { context?.note(isLong: false) }
    if context == nil, failureKind == nil || failureKind == .truncated {
      // SSL_free(3) takes a session that did not say goodbye for one that must not be resumed. That is
      // so for one that failed (RFC 5246, section 7.2.2), not for every connection that ended.
      SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
    }
    SSL_free(ssl)
    wires.pointee.release()
    wires.deinitialize(count: 1)
    OPENSSL_cleanse(wires, MemoryLayout<SessionWires>.size)
    wires.deallocate()
  }

  /// An SSL over wires of its own; nil if memory ran out.
  static func makeParts(
    _ group: OpaquePointer
  ) -> (ssl: OpaquePointer, wires: UnsafeMutablePointer<SessionWires>)? {
    OpenSSLLibrary.clearStaleErrors()
    guard let ssl = SSL_new(group) else { return nil }
    let wires = UnsafeMutablePointer<SessionWires>.allocate(capacity: 1)
    wires.initialize(to: SessionWires())
    guard let bio = MemoryBIO.make(over: wires), SSL_set_ex_data(ssl, 0, wires) == 1 else {
      SSL_free(ssl)
      wires.deallocate()
      return nil
    }
    SSL_set_bio(ssl, bio, bio)
    return (ssl, wires)
  }

  // MARK: The three calls

  /// Feeds ciphertext from the wire; gives plaintext, and what the protocol has to say in return.
  ///
  /// One call does as much as it can, also across the end of the handshake. With no input it
  /// flushes what is pending and gives plaintext that did not fit before. A part of a record is
  /// kept inside and counts as consumed.
  ///
  /// - Parameters:
  ///   - ciphertext: bytes from the wire that have not been consumed yet.
  ///   - plaintext: receives application data; may be empty while the handshake lasts.
  ///   - output: receives bytes for the wire; any size from 1 byte works.
  public mutating func receive(
    _ ciphertext: UnsafeRawBufferPointer, plaintext: UnsafeMutableRawBufferPointer,
    output: UnsafeMutableRawBufferPointer
  ) -> Transfer {
    wires.pointee.begin(input: ciphertext, output: output)
    var produced = 0
    var completed = false
    let progress = advance(into: plaintext, &produced, &completed)
    let transfer = Transfer(
      consumed: ciphertext.count - wires.pointee.inputRemaining, plaintext: produced,
      output: output.count - wires.pointee.outputRoom, handshakeCompleted: completed,
      progress: progress)
    wires.pointee.carried(produced)
    wires.pointee.end()
    return transfer
  }

  /// Seals application data into records, as many as there is room for.
  ///
  /// Before the handshake is complete nothing is consumed. `wantsInput` means that everything was
  /// sealed and given out. Consumed plaintext never has to be given again, even if a part of its
  /// record is pending, which happens only where `output` is smaller than a record.
  ///
  /// - Parameters:
  ///   - plaintext: application data that has not been consumed yet.
  ///   - output: receives records. With `recordPlaintextMaximum + recordOverheadMaximum` bytes or
  ///     more no record is ever split between calls; less works.
  public mutating func send(
    _ plaintext: UnsafeRawBufferPointer, output: UnsafeMutableRawBufferPointer
  ) -> Transfer {
    giveOut(plaintext.count, into: output) { session, consumed in
      session.seal(plaintext, &consumed, output.count)
    }
  }

  /// Says close_notify, once, and flushes what is pending; after a failure it only flushes.
  ///
  /// - Returns: `outputFull` if another call is needed, `peerClosed` if the peer has said it too,
  ///   `failed` after a failure, otherwise `wantsInput`. Receiving may go on (RFC 8446, section
  ///   6.1).
  public mutating func close(output: UnsafeMutableRawBufferPointer) -> Transfer {
    giveOut(0, into: output) { session, _ in session.shutDown() }
  }

  /// The frame of a call that brings nothing from the wire.
  /// - Parameters:
  ///   - waiting: bytes of application data that it is to send.
  ///   - body: does it, and says how many of those it has sent.
  @inline(__always)
  mutating func giveOut(
    _ waiting: Int, into output: UnsafeMutableRawBufferPointer,
    _ body: (inout TLSSession, inout Int) -> Progress
  ) -> Transfer {
    wires.pointee.begin(input: UnsafeRawBufferPointer(start: nil, count: 0), output: output)
    var consumed = 0
    let progress = body(&self, &consumed)
    countLong(consumed, of: waiting)
    let transfer = Transfer(
      consumed: consumed, plaintext: 0, output: output.count - wires.pointee.outputRoom,
      handshakeCompleted: false, progress: progress)
    wires.pointee.carried(consumed)
    wires.pointee.end()
    return transfer
  }

  /// Tells the session that the transport reached its end, after all its bytes have been received.
  ///
  /// - Returns: `peerClosed` if close_notify came before it; otherwise `failed(.truncated)`: a body
  ///   that is framed by the end of the connection cannot be trusted to be whole. Earlier failures
  ///   stay.
  public mutating func receiveEnd() -> Progress {
    if let failureKind { return .failed(failureKind) }
    if hasPeerClosed { return .peerClosed }
    return fail(.truncated, stage: isHandshakeComplete ? .read : .handshake, code: 0)
  }

  // MARK: State

  /// Whether bytes for the wire are held because an output area was too small; the next call gives
  /// them first.
  public var hasPendingOutput: Bool { wires.pointee.hasSpill }

  /// How many bytes those are.
  public var pendingOutput: Int { wires.pointee.spillCount }

  /// Messages without application data that the peer has sent, as `MessageLimits` counts them.
  public var messageCount: Int { wires.pointee.messageCount }

  /// The most plaintext that this side's records carry: less than `recordPlaintextMaximum` where the peer has asked for
  /// it (max_fragment_length, RFC 6066, section 4).
  public private(set) var recordMaximum = recordPlaintextMaximum

  /// Whether plaintext of a record that has been opened waits for room.
  public var pendingPlaintext: Bool { SSL_pending(ssl) > 0 }

  /// What ended the session, nil while it lives.
  public var failure: TLSFailure? {
    guard let failureKind else { return nil }
    // Every HTTP method that is in use begins with an uppercase letter; a TLS record never does.
    let letters = UInt8(ascii: "A")...UInt8(ascii: "Z")
    return TLSFailure(
      stage: failureStage, kind: failureKind, code: failureCode,
      verification: failureKind.isOfServerCertificate ? SSL_get_verify_result(ssl) : 0,
      isPlainHTTP: failureKind == .notTLS && letters.contains(wires.pointee.firstByte))
  }

  // MARK: The work

  private mutating func advance(
    into plaintext: UnsafeMutableRawBufferPointer, _ produced: inout Int, _ completed: inout Bool
  ) -> Progress {
    if wires.pointee.hasSpill { return .outputFull }
    if let failureKind { return .failed(failureKind) }
    if hasPeerClosed {
      wires.pointee.discardInput()
      return .peerClosed
    }
    OpenSSLLibrary.clearStaleErrors()
    if !isHandshakeComplete {
      let result = SSL_do_handshake(ssl)
      if result != 1 { return stopped(result, stage: .handshake) }
      isHandshakeComplete = true
      let code = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl))
      if code >= UInt8(TLSEXT_max_fragment_length_512)
        && code <= UInt8(TLSEXT_max_fragment_length_4096)
      {
        recordMaximum = 256 << Int(code)
      }
      completed = true
      if wires.pointee.keepsTickets { noteRenewedTicket() }
      if wires.pointee.hasSpill { return .outputFull }
      // A ticket that could not be opened leaves its reason behind.
      OpenSSLLibrary.clearStaleErrors()
    }
    return open(into: plaintext, &produced)
  }

  /// Opens records until input or room ends. Asking OpenSSL only while one of the two can give
  /// something saves the call that would find nothing.
  @inline(__always)
  private mutating func open(
    into plaintext: UnsafeMutableRawBufferPointer, _ produced: inout Int
  ) -> Progress {
    while wires.pointee.inputRemaining > 0 || SSL_pending(ssl) > 0 {
      guard produced < plaintext.count, let base = plaintext.baseAddress else {
        return .plaintextFull
      }
      let room = min(plaintext.count - produced, Int(Int32.max))
      let count = SSL_read(ssl, base + produced, Int32(truncatingIfNeeded: room))
      if count <= 0 { return stopped(count, stage: .read) }
      produced += Int(count)
      if wires.pointee.hasRefusedRenegotiation {
        return fail(.renegotiationRefused, stage: .read, code: 0)
      }
      if wires.pointee.hasSpill { return .outputFull }
    }
    return .wantsInput
  }

  @inline(__always)
  private mutating func seal(
    _ plaintext: UnsafeRawBufferPointer, _ consumed: inout Int, _ outputCount: Int
  ) -> Progress {
    if wires.pointee.hasSpill { return .outputFull }
    if let failureKind { return .failed(failureKind) }
    if !isHandshakeComplete { return .wantsInput }
    if hasSentClose { return plaintext.isEmpty ? .wantsInput : .failed(.sendAfterClose) }
    OpenSSLLibrary.clearStaleErrors()
    while consumed < plaintext.count, let base = plaintext.baseAddress {
      let isSealedHere = wires.pointee.records.takeOver(
        ssl, waiting: plaintext.count - consumed, carried: wires.pointee.applicationBytes,
        isWhole: recordMaximum == Self.recordPlaintextMaximum)
      if isSealedHere, let ended = answerKeyUpdate() { return ended }
      let room = wires.pointee.outputRoom
      var count = min(plaintext.count - consumed, recordMaximum)
      if room < count + Self.recordOverheadMaximum {
        if room >= Self.worthwhileRecord + Self.recordOverheadMaximum {
          count = room - Self.recordOverheadMaximum
        } else if room < outputCount || room == 0 {
          return .outputFull
        } else {
          // The whole area is small: what has no room waits in the spill.
          count = min(count, Self.worthwhileRecord)
        }
      }
      if isSealedHere {
        guard wires.pointee.seal(UnsafeRawBufferPointer(start: base + consumed, count: count))
        else {
          return failedToSeal()
        }
        consumed += count
        if wires.pointee.hasSpill { return .outputFull }
        continue
      }
      let written = SSL_write(ssl, base + consumed, Int32(truncatingIfNeeded: count))
      if written <= 0 {
        let progress = stopped(written, stage: .write)
        // A part of a message, as of a KeyUpdate, has come: OpenSSL writes nothing until the peer sends the rest,
        // which a peer of good faith has sent with it.
        return progress == .wantsInput ? fail(.protocolError, stage: .write, code: 0) : progress
      }
      consumed += Int(written)
      wires.pointee.records.noteContent(Int(written))
      if wires.pointee.hasSpill { return .outputFull }
    }
    return .wantsInput
  }

  private mutating func shutDown() -> Progress {
    if wires.pointee.hasSpill { return .outputFull }
    if let failureKind { return .failed(failureKind) }
    if isHandshakeComplete, !hasSentClose {
      OpenSSLLibrary.clearStaleErrors()
      hasSentClose = true
      let result = SSL_shutdown(ssl)
      if result < 0 { return stopped(result, stage: .write) }
      if wires.pointee.records.hasLostOne { return failedToSeal() }
      if wires.pointee.hasSpill { return .outputFull }
    }
    return hasPeerClosed ? .peerClosed : .wantsInput
  }

  /// What a call of OpenSSL that did not succeed means.
  mutating func stopped(_ result: Int32, stage: TLSFailure.Stage) -> Progress {
    switch SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_READ:
      if wires.pointee.hasRefusedRenegotiation {
        return fail(.renegotiationRefused, stage: stage, code: 0)
      }
      if wires.pointee.isFlooded { return fail(.tooManyMessages, stage: stage, code: 0) }
      return wires.pointee.hasSpill ? .outputFull : .wantsInput
    case SSL_ERROR_ZERO_RETURN:
      hasPeerClosed = true
      wires.pointee.discardInput()
      return wires.pointee.hasSpill ? .outputFull : .peerClosed
    default:
      let code = OpenSSLLibrary.drainErrors()
      let kind = TLSFailure.Kind(
        code: code, alertSent: wires.pointee.alertSent, isFirstRecord: !wires.pointee.hasSeenHello,
        verifyResult: SSL_get_verify_result(ssl))
      return fail(kind, stage: stage, code: code)
    }
  }

  mutating func fail(
    _ kind: TLSFailure.Kind, stage: TLSFailure.Stage, code: UInt
  ) -> Progress {
    failureKind = kind
    failureStage = stage
    failureCode = code
    return .failed(kind)
  }
}
