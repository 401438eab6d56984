// The way to a server and back: a connection, another one when it fails, and its release.

extension ExchangeState {
  // MARK: Getting one

  /// No connection is free: the exchange waits in the queue for one.
  public mutating func upstreamQueued() -> Actions {
    // TRAP: an answer to `.attach`.
    precondition(upstream == .attaching, "queued without a request")
    upstream = .queued
    return Actions()
  }

  /// A connection is being made whose protocol is not known yet: what is to be sent waits for
  /// `upstreamReady`, and is then written.
  public mutating func upstreamDialing() -> Actions {
    // TRAP: an answer to `.attach`, perhaps from the queue.
    precondition(
      upstream == .attaching || upstream == .queued, "a connection that was not requested")
    upstream = .dialing
    return Actions()
  }

  /// A connection is being made; its buffer may be filled.
  public mutating func upstreamConnecting() -> Actions { attached(.connecting) }

  /// A pooled connection, or a stream of one that is shared: what it is given leaves at the end of
  /// the turn, if its server has not spoken or closed by then.
  @inline(__always)
  public mutating func upstreamAssigned() -> Actions { attached(.assigned) }

  @inline(__always)
  private mutating func attached(_ step: UpstreamStep) -> Actions {
    // TRAP: an answer to `.attach`, perhaps from the queue.
    precondition(
      upstream == .attaching || upstream == .queued, "a connection that was not requested")
    upstream = step
    return resumeUnserved()
  }

  /// The connection is made, or the request is on its way.
  @inline(__always)
  public mutating func upstreamReady() -> Actions {
    // TRAP: the driver reports for the connection that the exchange has.
    precondition(
      upstream == .connecting || upstream == .assigned || upstream == .dialing,
      "ready without a connection")
    upstream = .busy
    return resumeUnserved()
  }

  /// Request content that was paused while there was no buffer for it may come now.
  @inline(__always)
  private mutating func resumeUnserved() -> Actions {
    guard requestFlow.isPaused, requestFlow.isEmpty else { return Actions() }
    _ = requestFlow.resume()
    return Actions(.resumeRequest)
  }

  /// No connection can be had: no memory, no descriptor, no room in the queue, or its time is over.
  /// It is not counted as a failure of the server.
  public mutating func attachFailed(_ kind: Failure.Kind) -> Actions {
    // TRAP: an answer to `.attach`, perhaps from the queue.
    precondition(upstream == .attaching || upstream == .queued, "a failure that was not requested")
    return fail(kind, counts: false)
  }

  /// A server could not be reached at any of its addresses: another one may be, and nothing was sent.
  /// - Parameter keepsUnsent: what was to be sent is still there.
  public mutating func connectFailed(
    _ kind: Failure.Kind, keepsUnsent: Bool = true
  ) -> Actions {
    // TRAP: the driver reports for the connection that the exchange has.
    precondition(
      upstream == .connecting || upstream == .dialing, "a connect that was not under way")
    guard keepsUnsent, Failure(kind).retry == .unsent, retries.onConnectFailure,
      retries.attempts > 0
    else { return fail(kind) }
    retries.attempts -= 1
    var actions = Actions(
      kind, .count | .countRetry | .releaseUpstream | .attach | .avoidServer)
    if upstream == .connecting { actions.insert(.carryUnsent) }
    upstream = .attaching
    return actions
  }

  /// The same by the connect timeout. - Parameter kind: what it was that took too long.
  public mutating func connectTimedOut(
    _ kind: Failure.Kind = .connectTimeout, keepsUnsent: Bool = true
  ) -> Actions {
    var actions = connectFailed(kind, keepsUnsent: keepsUnsent)
    actions.insert(.countTimeout)
    return actions
  }

  // MARK: Another one

  /// The pooled connection has spoken or ended before the request left: whatever its method is,
  /// another connection is no second try.
  public mutating func upstreamStale() -> Actions {
    // TRAP: the driver reports for the connection that the exchange has.
    precondition(upstream == .assigned, "a stale connection after the request was sent")
    upstream = .attaching
    return Actions(.countStale | .releaseUpstream | .attach | .carryUnsent)
  }

  /// The connection takes no more streams, and nothing of this one's request has left: on another
  /// connection it is no second try either.
  public mutating func upstreamUnsent() -> Actions {
    // TRAP: the driver reports for the stream that the exchange has, before the server has heard of it.
    precondition(upstream == .busy && response == .none, "unsent after a response")
    upstream = .attaching
    return Actions(.countStale | .releaseUpstream | .attach | .carryUnsent)
  }

  /// The server's stream has ended, and the content does not end with it (`responseEnd`).
  /// - Parameters:
  ///   - reset: not in order.
  ///   - isSilent: it was given up, since the server gave no sign of life.
  ///   - canResend: there is memory for the copy of the request.
  public mutating func upstreamClosed(
    reset: Bool, isSilent: Bool = false, canResend: Bool = true
  ) -> Actions {
    // TRAP: the driver reports for the connection that the exchange has; one that is not made yet
    // ends by `connectFailed`.
    precondition(
      upstream.hasBuffer && upstream != .connecting, "the end of a stream without a connection")
    if upstream == .assigned { return upstreamStale() }
    if isTunnel && !reset { return responseTunnelEnded() }
    let broken: Failure.Kind = isSilent ? .upstreamSilent : .upstreamReset
    if response >= .relaying { return fail(reset ? broken : .upstreamTruncated) }
    let kind: Failure.Kind = reset ? broken : .upstreamClosedEarly
    let isSafe = options.has(.isIdempotent) && retries.onReset
    return isSafe && canResend && mayResend ? resend(kind, .newConnection) : fail(kind)
  }

  /// The server says that it has not processed the request (RFC 9113 8.7): any request that was kept
  /// may be sent again.
  /// - Parameter isOrderly: it ends a connection on which it has served others, as servers do after some
  ///   number of requests: the next one is no second try.
  public mutating func streamRefused(canResend: Bool = true, isOrderly: Bool = false) -> Actions {
    // TRAP: the driver reports for the connection that the exchange has.
    precondition(upstream == .busy || upstream == .deaf, "a refusal without a stream")
    if response >= .relaying || isTunnel { return fail(.upstreamReset) }
    guard canResend && mayResend else { return fail(.streamRefused) }
    if isOrderly { retries.attempts += 1 }
    return resend(.streamRefused, .none)
  }

  /// Whether the request is there to be sent again. The first byte of a response says that the server
  /// is at work on it: a second try would be a second execution, and its interim responses would be taken
  /// for the first one's.
  private var mayResend: Bool { response == .none && hasCopy && retries.attempts > 0 }

  private mutating func resend(_ kind: Failure.Kind, _ how: Actions.Effects) -> Actions {
    retries.attempts -= 1
    hasCopy = false
    upstream = .attaching
    requestFlow.clear()
    var actions = Actions(kind, how)
    actions.insert(.countRetry | .releaseUpstream | .attach | .avoidServer | .carryCopy)
    return actions
  }

  /// The connection turned out not to serve for what is asked, and another kind of it may: nothing was
  /// written for it.
  public mutating func upstreamUnfit() -> Actions {
    // TRAP: the driver reports for the connection that the exchange waits for.
    precondition(upstream == .dialing, "an unfit connection that was not dialed")
    upstream = .attaching
    return Actions(.releaseUpstream | .attach)
  }

  // MARK: Its timeout

  /// The server owes something and is late.
  public mutating func responseTimedOut() -> Actions {
    // TRAP: the timeout of a connection that the exchange has.
    precondition(upstream == .busy || upstream == .deaf, "a timeout without a connection")
    return fail(.responseTimeout)
  }

  // MARK: Letting go

  /// Releases what the exchange has of an upstream; with it go both pauses, since nobody is left who
  /// would end them.
  @inline(__always)
  mutating func release(keep: Bool, _ actions: inout Actions) {
    if upstream.isAttached || upstream == .queued {
      actions.insert(keep ? .releaseUpstream | .keepUpstream : .releaseUpstream)
    }
    upstream = .released
    requestFlow.close()
    responseFlow.unpause()
  }
}
