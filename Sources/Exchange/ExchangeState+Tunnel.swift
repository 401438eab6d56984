// An exchange that became a tunnel (RFC 9110 7.8 and 9.3.6): two flows without framing, each of which
// ends by itself. Its record begins before the head that accepts it leaves, and ends with both.

extension ExchangeState {
  /// A connection that is a tunnel from its beginning: `upgradeAccepted` follows as soon as there is a
  /// server's. A reply on it would not be understood: it is cut where a request would be answered.
  public mutating func connectionTaken() -> Actions {
    audit.hold = .begun
    return requestHead()
  }

  /// The server has accepted the upgrade (101), or a CONNECT (2xx).
  public mutating func upgradeAccepted(_ status: UInt16) -> Actions {
    // TRAP: a head is parsed only before the final one, from a connection that the exchange has.
    precondition(response < .relaying, "an upgrade after the response")
    precondition(upstream == .busy || upstream == .deaf, "an upgrade without a connection")
    // Nobody asked for it, or the request goes on, and the server would take it for the tunnel's.
    guard options.has(.asksUpgrade), request == .whole, delivery != .none else {
      return fail(.upstreamUpgrade)
    }
    mode = .tunnel
    request = upstream == .deaf ? .abandoned : .open
    if upstream == .deaf { requestFlow.clear() }
    response = .relaying
    self.status = status
    hasCopy = false
    var actions = Actions(.last)
    // At once, whether it is waited for or not: a tunnel may end in the turn in which it begins, or last
    // for days.
    begin(&actions)
    return actions
  }

  /// Whether what the downstream sends may pass by the exchange, which then only counts it: nothing that it
  /// has still to give is before it.
  public var requestMayPass: Bool {
    requestCanPass && requestFlow.isEmpty
  }

  /// Whether it will, once nothing waits.
  public var requestCanPass: Bool {
    isTunnel && stage == .running && request == .open && upstream == .busy
  }

  /// Whether what the upstream sends may pass by the exchange: nothing is before it, and no record is
  /// awaited.
  public var responseMayPass: Bool {
    responseCanPass && responseFlow.isEmpty && audit.heldBytes == 0 && mayLeave
      && delivery == .committed
  }

  /// Whether it will, once nothing waits.
  public var responseCanPass: Bool {
    isTunnel && stage == .running && response == .relaying && upstream.isAttached
  }

  /// Bytes of the downstream have passed by.
  public mutating func requestPassed(_ count: Int) {
    // TRAP: passed on only in a tunnel, by an engine that counts what it has moved.
    precondition(isTunnel && count >= 0, "bytes passed without a tunnel")
    requestBytes &+= UInt64(truncatingIfNeeded: count)
  }

  /// Bytes of the upstream have passed by.
  public mutating func responsePassed(_ count: Int) {
    // TRAP: as for `requestPassed`.
    precondition(isTunnel && count >= 0, "bytes passed without a tunnel")
    responseBytes &+= UInt64(truncatingIfNeeded: count)
  }

  /// Nothing was moved for too long in either direction.
  public mutating func tunnelTimedOut() -> Actions {
    // TRAP: a timer that is set when a tunnel begins.
    precondition(isTunnel && stage != .ended, "a tunnel timeout without a tunnel")
    return fail(.tunnelTimeout)
  }

  /// The downstream sends no more.
  @inline(never)
  mutating func requestTunnelEnded(buffered: Int = 0) -> Actions {
    request = .whole
    requestFlow.produce(buffered)
    var actions = Actions(.halfCloseUpstream)
    requestFlow.unpause()
    settleTunnel(&actions)
    return actions
  }

  /// The upstream sends no more.
  @inline(never)
  mutating func responseTunnelEnded(buffered: Int = 0) -> Actions {
    guard response == .relaying else { return Actions() }
    produceResponse(buffered)
    response = .whole
    var actions = Actions(.halfCloseDownstream)
    responseFlow.unpause()
    settleTunnel(&actions)
    if !actions.isLast { send(&actions) }
    return actions
  }

  /// Ends a tunnel of which both directions have ended.
  @inline(never)
  mutating func settleTunnel(_ actions: inout Actions) {
    guard response == .whole, request != .open, requestFlow.isEmpty, upstream.isAttached else {
      return
    }
    release(keep: false, &actions)
    recordEnd(&actions)
    finishIfDelivered(&actions)
  }
}
