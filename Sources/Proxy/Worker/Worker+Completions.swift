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

  /// First what servers have sent, and everything else that is not from clients; then, client by client, what those have
  /// sent. In between, all that is to leave leaves: responses do not wait for requests, nor one client's requests for
  /// the next one's, and the peers work on them while the worker does. Requests come last so that all that had arrived
  /// from servers has been looked at when one is given to a kept connection, as at a turn's end (`Relay.submitAssigned`).
  private mutating func takeOneByOne() {
    var taken = 0
    while true {
      while let completion = relay.loop.engine.next() {
        if completion.token.kind == TokenKind.downstreamReceive.rawValue {
          fromClients.append(completion)
        } else {
          dispatch(completion)
        }
      }
      guard taken < fromClients.count else { break }
      sendToAll()
      dispatch(fromClients[taken])
      taken += 1
    }
    fromClients.removeAll(keepingCapacity: true)
  }

  private mutating func sendToAll() {
    // As at a turn's end.
    if relay.upstreams.hasLost { relay.endLost() }
    relay.submitAssigned()
    relay.flushShared()
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
