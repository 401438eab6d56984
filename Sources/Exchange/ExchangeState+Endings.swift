// Exchanges that end early: a local reply while nothing of a response has left, else a cut that
// cannot be mistaken for the end of the content.

extension ExchangeState {
  /// The exchange cannot go on.
  public mutating func fail(_ kind: Failure.Kind) -> Actions { fail(kind, counts: true) }

  mutating func fail(_ kind: Failure.Kind, counts: Bool) -> Actions {
    // TRAP: the driver reports for an exchange that it has.
    precondition(stage != .ended, "a failure without an exchange")
    let failure = Failure(kind)
    var actions = Actions(kind)
    if counts { actions.insert(.count) }
    if failure.log != .never { actions.insert(.log) }
    guard failure.isAnswerable, delivery == .open, audit.hold != .begun, response < .replying
    else { return cut(kind, actions.effects) }
    reply(kind, status: failure.status, &actions)
    return actions
  }

  /// Prepares a local reply in place of what was prepared of a response.
  mutating func reply(_ kind: Failure.Kind, status: UInt16, _ actions: inout Actions) {
    stage = .running
    release(keep: false, &actions)
    if delivery == .none || audit.hold == .begun {
      // There is no client to answer, or none that understands: the exchange ends with the failure.
      actions.insert(cut(kind, .none).effects)
      actions.failure = kind
      return
    }
    unhold(&actions)
    ending = kind
    self.status = status
    if response == .relaying {
      actions.insert(.discardResponse)
      responseFlow.adjust(by: -audit.heldBytes)
      audit.heldBytes = 0
    }
    mode = .message
    response = .replying
    // Content that nobody reads must never be taken for the next request.
    if request == .open {
      request = .abandoned
      actions.insert(.last)
    }
    actions.status = status
    actions.insert(.reply)
  }

  /// Ends the exchange at once.
  mutating func cut(_ kind: Failure.Kind, _ effects: Actions.Effects) -> Actions {
    var actions = Actions(kind, effects)
    ending = kind
    recordAbort(&actions)
    release(keep: false, &actions)
    unhold(&actions)
    actions.insert(delivery == .none ? .finish : .cut)
    end(&actions)
    return actions
  }

  /// Ends an exchange whose request was never begun.
  mutating func close() -> Actions {
    var actions = Actions(.close)
    end(&actions)
    return actions
  }

  @inline(__always)
  mutating func end(_ actions: inout Actions) {
    if audit.record != .none { actions.insert(.releaseRoom) }
    stage = .ended
  }
}
