// The response: interim heads, the head, its content and its end, and its way out.

extension ExchangeState {
  // MARK: Heads

  /// A part of a head has come: from now on the request is not sent again.
  public mutating func responseBegan() {
    // TRAP: bytes come from a connection that the exchange has.
    precondition(upstream == .busy || upstream == .deaf, "a response without a connection")
    if response == .none { response = .begun }
  }

  /// An interim head other than 101.
  public mutating func interimHead(_ status: UInt16) -> Actions {
    // TRAP: a head is parsed only before the final one (`response`).
    precondition(response < .relaying, "an interim response after the final one")
    responseBegan()
    guard interims < limits.interims else { return fail(.upstreamMalformed) }
    interims += 1
    // Written by the proxy itself, or the content has come without it: a second one is harmless, and
    // passed on as it came.
    if status == 100, expectation == .awaited { expectation = .settled }
    guard options.has(.hasDownstream), options.has(.takesInterims) else { return Actions() }
    var actions = Actions(.writeInterim)
    actions.status = status
    return actions
  }

  /// The final head; it may come before the request's end.
  /// - Parameter mayBeHeld: the response may be small and is no stream (`Content-Length`, media type).
  @inline(__always)
  public mutating func responseHead(_ status: UInt16, mayBeHeld: Bool) -> Actions {
    // TRAP: a head is parsed only before the final one, from a connection that the exchange has.
    precondition(response < .relaying, "a second final head")
    precondition(upstream == .busy || upstream == .deaf, "a response without a connection")
    self.status = status
    response = .relaying
    if expectation == .awaited { expectation = .settled }
    audit.hold = mayBeHeld ? .eligible : .ineligible
    // Before its end: what is left of the request may never be read.
    return Actions(request == .open && delivery != .none ? .last : .none)
  }

  // MARK: Content

  /// Bytes that are no content were put into the downstream's buffer: a head.
  @inline(__always)
  public mutating func responseWritten(_ buffered: Int) {
    // TRAP: the driver writes where `.hasDownstream` says that somebody reads.
    precondition(delivery != .none && stage != .ended, "a response without a client connection")
    produceResponse(buffered)
  }

  /// Content was put into the downstream's buffer.
  /// - Parameters:
  ///   - content: its bytes without framing.
  ///   - buffered: what the buffer grew by; 0 without a downstream.
  @inline(__always)
  public mutating func responseContent(_ content: Int, buffered: Int) {
    // TRAP: the driver asks `takesResponseContent` before it gives anything.
    precondition(takesResponseContent, "response content is not accepted in this state")
    responseBytes &+= UInt64(truncatingIfNeeded: content)
    produceResponse(buffered)
  }

  @inline(__always)
  mutating func produceResponse(_ buffered: Int) {
    responseFlow.produce(buffered)
    audit.heldBytes += buffered
  }

  /// There is content, and no room for it.
  public mutating func responseBlocked() -> Actions {
    // TRAP: content comes behind a final head, and blocks where somebody reads it.
    precondition(response == .relaying && delivery != .none, "blocked without content")
    if responseFlow.isEmpty {
      // Nothing waits to leave, so nothing would ever make room: there is no frame to be had.
      return fail(.resourcesExhausted)
    }
    return Actions(responseFlow.block() == .pause ? .pauseResponse : .none)
  }

  /// There is content, and the client's protocol has no window for it (RFC 9113 5.2). The buffer may be
  /// empty: room comes from the client, not from what leaves.
  public mutating func responseWindowClosed() -> Actions {
    // TRAP: content comes behind a final head, and waits where somebody reads it.
    precondition(response == .relaying && delivery != .none, "a window without content")
    return Actions(responseFlow.block() == .pause ? .pauseResponse : .none)
  }

  /// The window has opened.
  public mutating func responseWindowOpened() -> Actions {
    guard response == .relaying, stage == .running else { return Actions() }
    return Actions(responseFlow.resume() == .resume ? .resumeResponse : .none)
  }

  /// The turn's input is used up: what there is of the response is held, begun, or sent.
  /// - Parameter bulk: the upstream is read in large buffers.
  public mutating func responseTurnEnded(bulk: Bool) -> Actions {
    var actions = Actions()
    guard stage == .running, delivery != .none else { return actions }
    if awaitsRecords && response == .relaying && audit.hold != .begun && !hold(&actions) {
      begin(&actions)
    }
    send(&actions)
    if response == .relaying && upstream.isAttached, responseFlow.settle(bulk: bulk) == .pause {
      actions.insert(.pauseResponse)
    }
    return actions
  }

  /// The response's end, with its trailers if it has any. - Parameters:
  ///   - buffered: what the downstream's buffer grew by.
  ///   - reusable: nothing came behind it, and the server keeps its connection.
  public mutating func responseEnd(buffered: Int, reusable: Bool) -> Actions {
    // TRAP: an end is found behind a final head.
    precondition(response == .relaying, "an end without a head")
    if isTunnel { return responseTunnelEnded(buffered: buffered) }
    var actions = Actions()
    produceResponse(buffered)
    response = .whole
    unhold(&actions)
    release(keep: reusable && request == .whole && upstream == .busy, &actions)
    if request == .open { request = .abandoned }
    recordEnd(&actions)
    send(&actions)
    finishIfDelivered(&actions)
    return actions
  }

  // MARK: Local replies

  /// The local reply is in the downstream's buffer.
  public mutating func replyWritten(content: Int, buffered: Int) -> Actions {
    // TRAP: the answer to `.reply`.
    precondition(response == .replying, "a reply without a request for one")
    responseBytes = UInt64(truncatingIfNeeded: content)
    produceResponse(buffered)
    response = .whole
    var actions = Actions(ending)
    recordEnd(&actions)
    send(&actions)
    return actions
  }

  // MARK: The way out

  /// Whether the audit lets bytes leave: no record is awaited, and none is still to be written before
  /// the first byte of content. Interim responses pass.
  @inlinable @inline(__always)
  public var mayLeave: Bool {
    guard awaitsRecords else { return true }
    return audit.gate == .none && (response != .relaying || audit.hold == .begun)
  }

  @inline(__always)
  mutating func send(_ actions: inout Actions) {
    if audit.heldBytes > 0 && mayLeave { actions.insert(.send) }
  }

  /// Bytes went from the downstream's buffer into its transport.
  /// - Parameters:
  ///   - count: bytes of the buffer.
  ///   - wire: what they became there; TLS adds to them.
  @inline(__always)
  public mutating func responseLeft(_ count: Int, as wire: Int) {
    // TRAP: the driver sends what `.send` or `mayLeave` has let go, and no more than there is.
    precondition(mayLeave && stage == .running, "bytes sent before their record was durable")
    precondition(count >= 0 && count <= audit.heldBytes, "more bytes sent than queued")
    audit.heldBytes -= count
    if wire != count { responseFlow.adjust(by: wire - count) }
    if response == .relaying || response == .whole { delivery = .committed }
  }

  /// Bytes that have left are in a buffer that the downstream's connection has for all its streams. Behind
  /// `responseLeft`.
  public mutating func responseHandedOver(_ wire: Int) -> Actions {
    guard stage == .running else { return Actions() }
    return Actions(responseFlow.handOver(wire) == .resume ? .resumeResponse : .none)
  }

  /// The downstream's transport took bytes.
  @inline(__always)
  public mutating func responseTaken(_ wire: Int) -> Actions {
    // TRAP: a transport reports to the exchange whose bytes it has.
    precondition(delivery != .none && stage != .ended, "bytes taken without an exchange")
    return progress(wire)
  }

  @inline(__always)
  mutating func progress(_ wire: Int) -> Actions {
    var actions = Actions()
    send(&actions)
    if responseFlow.take(wire) == .resume { actions.insert(.resumeResponse) }
    finishIfDelivered(&actions)
    return actions
  }

  /// Ends an exchange whose last byte was taken, or of which nobody wants one.
  @inline(__always)
  mutating func finishIfDelivered(_ actions: inout Actions) {
    guard response == .whole, audit.gate == .none, audit.heldBytes == 0, responseFlow.isEmpty,
      upstream == .released
    else { return }
    actions.failure = ending
    actions.insert(.finish)
    if request != .whole || ending == .badRequest || ending == .headTimeout {
      actions.insert(.linger)
    }
    end(&actions)
  }
}
