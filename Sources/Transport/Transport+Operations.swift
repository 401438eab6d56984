// The operations of a transport, each one step: a receive or a send begun or ended, and the steps of the
// end. Generic over the engine, and inlinable so that each user's copy is made for its engine.

public import MillraceEngine

extension Transport {
  // MARK: Receiving

  /// Starts a receive, unless one is in flight or nothing is to be read.
  @inlinable @inline(__always)
  public mutating func arm<E: Engine & ~Copyable>(_ token: Token, _ engine: inout E) {
    guard receiveState.isIdle, !paused, !peerHasFinished, !isStalled,
      closing == .open || closing == .lingering
    else { return }
    receiveState = .armed(mode)
    engine.receive(socket, mode, token)
  }

  /// Takes note of a completion of the receive in flight, before its bytes are used.
  @inlinable @inline(__always)
  public mutating func received(_ completion: Completion) { receiveState.note(completion) }

  /// Takes note that the connect has ended.
  @inlinable
  public mutating func connected() { receiveState = .idle }

  /// Stops the receive in flight, if there is one; a relay is finished.
  @inlinable
  public mutating func stopReceiving<E: Engine & ~Copyable>(_ engine: inout E) {
    switch receiveState {
    case .armed:
      receiveState = .stopping
      engine.stopReceiving(socket)
    case .relaying: engine.finishRelay(from: socket)
    case .idle, .connecting, .stopping, .ended: break
    }
  }

  /// Stops the connect in flight, if there is one: its completion is still to come.
  @inlinable
  public mutating func cancelConnect<E: Engine & ~Copyable>(_ engine: inout E) {
    guard case .connecting = receiveState else { return }
    receiveState = .stopping
    engine.cancelConnect(socket)
  }

  /// Changes how the next receive reads; a receive in flight in another mode is stopped first.
  @inlinable
  public mutating func setMode<E: Engine & ~Copyable>(_ wanted: ReceiveMode, _ engine: inout E) {
    guard mode != wanted else { return }
    mode = wanted
    stopReceiving(&engine)
  }

  // MARK: Sending

  /// Sends what waits, if nothing is in flight. - Returns: whether a send was begun.
  @inlinable @inline(__always)
  public mutating func flush<E: Engine & ~Copyable>(
    _ urgency: SendUrgency, _ token: Token, _ engine: inout E
  ) -> Bool {
    let bytes = unsent.count
    guard !sending, bytes > 0, let frame = unsent.take() else { return false }
    sendState = .inFlight(bytes: bytes, progress: .min)
    engine.send(socket, frame, urgency, token)
    return true
  }

  /// Takes note that the send in flight has ended, however it did.
  @inlinable @inline(__always)
  public mutating func sent() { sendState = .idle }

  /// Whether the peer has taken anything of the send in flight since the last look: a slow reader is
  /// not a dead one. Before the first look nothing is known, which counts as progress; looks come
  /// often, so that a peer which never took a byte has hardly more than its time.
  @inlinable
  public mutating func hasProgressed<E: Engine & ~Copyable>(_ engine: borrowing E) -> Bool {
    guard sending else { return false }
    return sendState.note(progress: engine.sendProgress(socket))
  }

  /// Whether the peer has reset a connection of which nothing is read: its receive would have told.
  @inlinable
  public func isDeserted<E: Engine & ~Copyable>(_ engine: borrowing E) -> Bool {
    paused && !receiving && closing == .open && engine.isBroken(socket)
  }

  // MARK: The end

  /// Ends our side once nothing waits to leave, while the peer may go on: by close_notify where there is
  /// TLS, and then by the end of the stream. To be called again whenever a send has ended.
  /// - Parameter scratch: `TLSChannels.scratch`.
  /// - Returns: whether something waits to be sent for it.
  @inlinable
  public mutating func endOwnSide<E: Engine & ~Copyable>(
    scratch: UnsafeMutableRawBufferPointer, _ engine: inout E
  ) -> Bool {
    guard closing == .open, isIdle, ownEnd != .done else { return false }
    if ownEnd == .none, let tls {
      ownEnd = .saying
      // Without room for it the peer sees a truncation, which is no good end.
      if sendCloseNotify(tls, scratch: scratch, &engine), !unsent.isEmpty { return true }
    }
    ownEnd = .done
    engine.shutdown(socket, .send)
    return false
  }

  /// Begins an orderly end: what waits still leaves.
  @inlinable
  public mutating func beginFlushing() { ladder.go(to: .flushing) }

  /// Begins an end by a reset after what waits has left.
  @inlinable
  public mutating func beginResetting() { ladder.go(to: .resetting) }

  /// Ends our side. What the peer still sends is read and dropped from now on, and what was held is
  /// dropped.
  @inlinable
  public mutating func linger<E: Engine & ~Copyable>(_ engine: inout E) {
    engine.shutdown(socket, .send)
    ladder.go(to: .lingering)
    unread.clear()
    if let tls { tls.pointee.dropHeld() }
    paused = false
  }

  /// Begins the last step: what is in flight is made to complete.
  /// - Parameter resets: the peer shall see a reset.
  @inlinable
  public mutating func join<E: Engine & ~Copyable>(_ engine: inout E, resets: Bool = false) {
    ladder.go(to: .joining)
    if resets { ladder.resets = true }
    deadline = .max
    let isRelay = send.isRelayed || relayTarget != nil
    if isRelay || (ladder.resets && sending) {
      // Not by shutdown(2): its FIN would reach the peer before the reset, and the end of content
      // that the connection's end delimits would look like a good one.
      if receiving && relayTarget == nil { receiveState = .stopping }
      return engine.cancelAll(socket)
    }
    cancelConnect(&engine)
    stopReceiving(&engine)
    if sending {
      engine.shutdown(socket, .both)
      engine.expediteSends()
    }
  }

  /// Closes the socket of a connection that `isJoined`.
  @inlinable
  public mutating func close<E: Engine & ~Copyable>(_ engine: inout E) {
    assert(isJoined, "a socket is closed under its operations")
    if ladder.resets { engine.resetOnClose(socket) }
    engine.close(socket)
    socket = .none
  }
}
