// The request: its head, policies and router, its content and its end.

extension ExchangeState {
  // MARK: The head

  /// The request's head is known. What it needs comes in this order: room in the audit log, then the
  /// policies and the router, then a connection.
  public mutating func requestHead() -> Actions {
    // TRAP: the driver makes an exchange for a head that it has parsed, once.
    precondition(stage == .start, "a second request head")
    if options.has(.audits) {
      stage = .claiming
      return Actions(.claimRoom)
    }
    stage = .routing
    return Actions(.countRequest | .route)
  }

  /// A request that could not be understood: it is answered, recorded, and the connection's last.
  /// - Parameter status: of the rule that it breaks.
  public mutating func requestRejected(_ kind: Failure.Kind, status: UInt16) -> Actions {
    // TRAP: as for `requestHead`.
    precondition(stage == .start, "a request is rejected by its head")
    request = .whole
    expectation = .none
    ending = kind
    self.status = status
    var actions = Actions(kind, .countRequest | .count | .last)
    if options.has(.audits) {
      stage = .claimingRefusal
      actions.insert(.claimRefusalRoom)
      return actions
    }
    reply(kind, status: status, &actions)
    return actions
  }

  /// Policies and router have decided: the request goes to a server.
  /// - Parameters:
  ///   - asksUpgrade: its offer to switch to another protocol goes on with it.
  ///   - tellsUnprocessed: the upstream's protocol tells which requests were not processed.
  @inline(__always)
  public mutating func routed(
    _ budget: RetryBudget, asksUpgrade: Bool = false, tellsUnprocessed: Bool = false
  ) -> Actions {
    // TRAP: the answer to `.route`, which is asked once.
    precondition(stage == .routing, "a route without a request")
    stage = .running
    if asksUpgrade { options = options | .asksUpgrade }
    retries = budget
    if tellsUnprocessed { options = options | .tellsUnprocessed }
    upstream = .attaching
    return Actions(.attach)
  }

  /// Policies and router have decided: the proxy answers itself.
  public mutating func replyLocally(_ kind: Failure.Kind) -> Actions {
    // TRAP: as for `routed`.
    precondition(stage == .routing, "a reply without a request for one")
    let failure = Failure(kind)
    var actions = Actions(kind, .count)
    if failure.log == .always { actions.insert(.log) }
    reply(kind, status: failure.status, &actions)
    return actions
  }

  // MARK: The expectation

  /// The proxy itself needs the content before it asks a server (RFC 9110 10.1.1): `writeInterim`, with
  /// status 100, if the client waits for it.
  public mutating func contentWanted() -> Actions {
    guard expectation == .awaited, response < .relaying, stage != .ended else { return Actions() }
    expectation = .settled
    var actions = Actions(.writeInterim)
    actions.status = 100
    return actions
  }

  // MARK: Content

  /// Content was put into the upstream's buffer.
  /// - Parameters:
  ///   - content: its bytes without framing.
  ///   - buffered: what the buffer grew by.
  @inline(__always)
  public mutating func requestContent(_ content: Int, buffered: Int) {
    // TRAP: the driver asks `takesRequestContent` before it gives anything.
    precondition(takesRequestContent, "request content is not accepted in this state")
    if expectation == .awaited { expectation = .settled }
    requestBytes &+= UInt64(truncatingIfNeeded: content)
    requestFlow.produce(buffered)
  }

  /// Bytes that are no content were put into the upstream's buffer: the head, or a copy.
  @inline(__always)
  public mutating func requestWritten(_ buffered: Int) {
    // TRAP: the driver writes to a connection that it has.
    precondition(upstream.hasBuffer, "a request without a connection")
    requestFlow.produce(buffered)
  }

  /// What was written for a connection that is not there any more is dropped, and will be written anew.
  public mutating func requestDropped() {
    // TRAP: the driver drops it before it gets another one.
    precondition(upstream == .attaching, "a request dropped under its connection")
    requestFlow.clear()
  }

  /// Content has arrived for which there is no upstream connection or no room.
  public mutating func requestBlocked() -> Actions {
    guard request == .open, stage != .ended, response < .replying || isTunnel else {
      return Actions()
    }
    if requestFlow.isEmpty && (upstream == .busy || upstream == .deaf) {
      // Nothing waits to leave, so nothing would ever make room: there is no frame to be had.
      return fail(.resourcesExhausted)
    }
    return Actions(requestFlow.block() == .pause ? .pauseRequest : .none)
  }

  /// Content has arrived, and the server's protocol has no window for it (RFC 9113 5.2). The buffer may
  /// be empty: room comes from the server, not from what leaves.
  public mutating func requestWindowClosed() -> Actions {
    guard request == .open, stage != .ended, response < .replying || isTunnel else {
      return Actions()
    }
    return Actions(requestFlow.block() == .pause ? .pauseRequest : .none)
  }

  /// The window has opened.
  public mutating func requestWindowOpened() -> Actions {
    guard request == .open, stage == .running, upstream.hasBuffer else { return Actions() }
    return Actions(requestFlow.resume() == .resume ? .resumeRequest : .none)
  }

  /// The turn's input is used up. - Parameter bulk: the downstream is read in large buffers.
  @inline(__always)
  public mutating func requestTurnEnded(bulk: Bool) -> Actions {
    guard request == .open, upstream.hasBuffer, upstream != .deaf else { return Actions() }
    return Actions(requestFlow.settle(bulk: bulk) == .pause ? .pauseRequest : .none)
  }

  /// The request's end, with its trailers if it has any.
  /// - Parameter buffered: what the upstream's buffer grew by.
  public mutating func requestEnd(buffered: Int) -> Actions {
    // TRAP: the driver gives the end behind all content, to a connection that takes it.
    precondition(
      request == .open && upstream.hasBuffer, "the request's end is not accepted in this state")
    precondition(response < .replying || isTunnel, "an end after the response")
    if isTunnel { return requestTunnelEnded(buffered: buffered) }
    request = .whole
    expectation = expectation == .awaited ? .settled : expectation
    requestFlow.produce(buffered)
    return Actions(requestFlow.resume() == .resume ? .resumeRequest : .none)
  }

  /// A copy of the request is kept: `wantsCopy` asked for one, and it fits.
  public mutating func requestCopied() {
    // TRAP: the driver asks `wantsCopy` first.
    precondition(wantsCopy, "a copy that was not requested")
    hasCopy = true
  }

  /// Bytes went from the upstream's buffer into its transport.
  /// - Parameters:
  ///   - count: bytes of the buffer.
  ///   - wire: what they became there; TLS adds to them.
  @inline(__always)
  public mutating func requestLeft(_ count: Int, as wire: Int) {
    // TRAP: the driver sends on a connection that it has, and no more than there is.
    precondition(upstream.isAttached, "bytes sent without a connection")
    if wire != count { requestFlow.adjust(by: wire - count) }
  }

  /// The upstream connection took bytes.
  @inline(__always)
  public mutating func requestTaken(_ count: Int) -> Actions {
    // TRAP: a connection reports to the exchange that it serves.
    precondition(upstream.isAttached, "bytes taken without a connection")
    let effects: Actions.Effects =
      requestFlow.take(count) == .resume ? .resumeRequest : .none
    guard isTunnel else { return Actions(effects) }
    var actions = Actions(effects)
    settleTunnel(&actions)
    return actions
  }

  /// The server takes no more of the request. It may have answered already: its end decides.
  public mutating func requestSendFailed() -> Actions {
    // TRAP: a send fails on a connection that has one.
    precondition(upstream == .busy || upstream == .deaf, "a send without a connection")
    upstream = .deaf
    requestFlow.clear()
    var actions = Actions()
    if isTunnel {
      if request == .open { request = .abandoned }
      requestFlow.unpause()
      settleTunnel(&actions)
    }
    return actions
  }
}
