// How a session sends records that it seals itself, and which sessions could.

import COpenSSL
public import Glibc

extension TLSSession {
  /// Whether this side's records are sealed without OpenSSL's record layer. Once they are, they always are.
  public var sealsItself: Bool { wires.pointee.records.areSealedHere }

  /// Seals application data that lies in several pieces into one record, where `sealsItself` is true.
  ///
  /// - Parameters:
  ///   - pieces: hold `skipping` and `count` bytes, or more.
  ///   - skipping: bytes at their start that have been consumed.
  ///   - count: 1 to `recordMaximum` bytes of application data behind those.
  ///   - output: with `count + recordOverheadMaximum + answerMaximum` bytes and those of `pendingOutput` there is
  ///     always room.
  /// - Returns: `wantsInput`, and all consumed; `outputFull`, and nothing; or why the session is over.
  public mutating func sendRecord(
    _ pieces: UnsafeBufferPointer<iovec>, skipping: Int, count: Int,
    output: UnsafeMutableRawBufferPointer
  ) -> Transfer {
    giveOut(count, into: output) { session, consumed in
      let progress = session.sealRecord(pieces, skipping, count)
      if progress == .wantsInput { consumed = count }
      return progress
    }
  }

  /// Whether the session could seal its records, if it was told its secret.
  var couldSeal: Bool {
    isHandshakeComplete && recordMaximum == Self.recordPlaintextMaximum
      && SSL_version(ssl) == TLS1_3_VERSION
  }

  /// Counts plaintext that a call has sent of what it was given.
  @inline(__always)
  func countLong(_ sent: Int, of waiting: Int) {
    if wires.pointee.records.counts(waiting), couldSeal, wires.pointee.records.count(sent) {
      context?.note(isLong: true)
    }
  }

  private mutating func sealRecord(
    _ pieces: UnsafeBufferPointer<iovec>, _ skipping: Int, _ count: Int
  ) -> Progress {
    // TRAP: the transport asks first, and cuts the records.
    precondition(sealsItself && count > 0 && count <= recordMaximum)
    if wires.pointee.hasSpill { return .outputFull }
    if let failureKind { return .failed(failureKind) }
    if hasSentClose { return .failed(.sendAfterClose) }
    OpenSSLLibrary.clearStaleErrors()
    if let ended = answerKeyUpdate() { return ended }
    guard let isSealed = wires.pointee.seal(pieces, skipping: skipping, count: count) else {
      return .outputFull
    }
    return isSealed ? .wantsInput : failedToSeal()
  }

  /// Sends the KeyUpdate that a peer has asked for, which OpenSSL leaves to the next record of its own.
  /// - Returns: why nothing can be sent behind it, or nil.
  mutating func answerKeyUpdate() -> Progress? {
    if SSL_get_key_update_type(ssl) != SSL_KEY_UPDATE_NONE {
      guard SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 else {
        return failedToSeal()
      }
      let result = SSL_do_handshake(ssl)
      if result != 1 {
        let progress = stopped(result, stage: .write)
        return progress == .wantsInput ? fail(.protocolError, stage: .write, code: 0) : progress
      }
    }
    if wires.pointee.records.hasLostOne { return failedToSeal() }
    return wires.pointee.hasSpill ? .outputFull : nil
  }

  mutating func failedToSeal() -> Progress {
    fail(.libraryFailure, stage: .write, code: OpenSSLLibrary.drainErrors())
  }
}
