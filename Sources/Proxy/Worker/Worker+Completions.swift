// The completions of a turn, and when what they lead to leaves: at the turn's end, or where requests are few as
// soon as it is there.

import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  /// Takes the turn's completions.
  mutating func takeCompletions() {
    if relay.loop.coalescing.isSparse { return takeOneByOne() }
    while let completion = relay.loop.engine.next() { dispatch(completion) }
  }

  /// First everything that is not from clients; then, client by client, what those have sent. In between, what there is
  /// for clients and for servers of HTTP/1.1 leaves: responses do not wait for requests, nor one client's requests for
  /// the next one's, and the peers work on them while the worker does. Requests come last so that all that had arrived
  /// from servers has been looked at when one is given to a kept connection, as at a turn's end (`Relay.submitAssigned`).
  private mutating func takeOneByOne() {
    var taken = 0
    var sends = 0
    while true {
      while let completion = relay.loop.engine.next() {
        if completion.token.kind == TokenKind.downstreamReceive.rawValue {
          fromClients.append(completion)
        } else {
          dispatch(completion)
        }
      }
      guard taken < fromClients.count else { break }
      // Clients that open no stream may be many: they are not to cost a system call each.
      if sends < Coalescing.few { sendWhatThereIs() }
      sends += 1
      let client = fromClients[taken].token.slot
      repeat {
        dispatch(fromClients[taken])
        taken += 1
      } while taken < fromClients.count && fromClients[taken].token.slot == client
    }
    fromClients.removeAll(keepingCapacity: true)
  }

  /// Not what connections of HTTP/2 to servers have: what several clients gave to one of those leaves together.
  private mutating func sendWhatThereIs() {
    if relay.upstreams.hasLost { relay.endLost() }
    relay.submitAssigned()
    relay.flushClients()
    relay.loop.engine.submit()
  }

  @inline(__always)
  mutating func dispatch(_ completion: Completion) {
    let slot = completion.token.slot
    let kind = TokenKind(rawValue: completion.token.kind)
    if kind?.movesBytes == true { relay.loop.coalescing.noteMoved(completion.result) }
    switch kind {
    case .downstreamReceive: relay.downstreamReceived(slot, completion)
    case .upstreamReceive: relay.upstreamReceived(slot, completion)
    case .downstreamSend: relay.downstreamSent(slot, completion.result)
    case .upstreamSend: relay.upstreamSent(slot, completion.result)
    case .requestRelay: relay.requestPassed(slot, completion)
    case .responseRelay: relay.responsePassed(slot, completion)
    case .accept: accepted(slot, completion)
    case .upstreamConnect: relay.upstreamConnected(slot, completion.result)
    case .journal: relay.auditCompleted(slot, completion)
    case .handOver: handOverEnded(completion)
    case .handedOver:
      takeOver(completion.result, ListenerIdentity(number: Int32(bitPattern: slot)))
    case nil: assertionFailure("a completion of an unknown kind")
    }
  }
}
