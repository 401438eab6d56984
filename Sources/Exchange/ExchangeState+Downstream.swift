// What the downstream does beside its request, and what the process does to it: its end, its
// timeouts, and the drain.

extension ExchangeState {
  /// The downstream sends no more, and all that came before has been used as far as it can be. It may
  /// still read: what is whole is answered.
  public mutating func downstreamHalfClosed() -> Actions {
    expectDownstream()
    // A request that waits for room came before the end, and is served first; it is told again then.
    if stage == .claiming || stage == .waiting { return Actions() }
    if isTunnel { return request == .open ? requestTunnelEnded() : Actions() }
    if request == .whole { return Actions(.last) }
    return cut(.downstreamClosed, .count | .last)
  }

  /// No byte reaches the downstream any more.
  /// - Parameter kind: `downstreamReset`, or `downstreamUnsendable` where its TLS session is lost.
  public mutating func downstreamGone(_ kind: Failure.Kind = .downstreamReset) -> Actions {
    expectDownstream()
    // Its request was never begun.
    if stage == .waiting {
      ending = kind
      return close()
    }
    return cut(kind, .count)
  }

  /// Request content is owed and late.
  public mutating func bodyTimedOut() -> Actions {
    expectDownstream()
    guard request != .whole, !isTunnel, stage == .running else { return Actions() }
    return response < .relaying
      ? fail(.requestBodyTimeout) : cut(.requestBodyTimeout, .count)
  }

  /// The downstream takes nothing of a send.
  public mutating func sendTimedOut() -> Actions {
    expectDownstream()
    return cut(.downstreamTimeout, .count)
  }

  /// There is no memory for the end of the response or for a local reply.
  public mutating func outputExhausted() -> Actions {
    expectDownstream()
    return cut(.resourcesExhausted, .none)
  }

  /// The process drains: a response that is still to begin says that it is the last one.
  public mutating func drainBegan() -> Actions {
    // TRAP: the driver tells the exchanges that it has.
    precondition(stage != .ended, "a drain without an exchange")
    return Actions(delivery != .none && response < .relaying ? .last : .none)
  }

  /// The drain's time is over.
  public mutating func drainDeadline() -> Actions {
    // TRAP: the driver tells the exchanges that it has.
    precondition(stage != .ended, "a drain without an exchange")
    return cut(.drainDeadline, .none)
  }

  @inline(__always)
  private func expectDownstream() {
    // TRAP: a connection reports to the exchange that it has, which then has a downstream.
    precondition(delivery != .none && stage != .ended, "a client connection without an exchange")
  }
}
