// Connections that are passed on as they are (`protocol: relay`): the choice of an upstream, by the name in
// the client's first message where the listener has names, and an exchange that is a tunnel from its
// beginning.

import Exchange
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import TLS
import Transport

extension Relay where E: ~Copyable {
  /// Begins with a connection that was taken in. Without names nothing is waited for: the server may be
  /// the one that speaks first.
  mutating func passOn(_ d: DownstreamPointer) {
    // Nothing on it is ever read as a request.
    d.pointee.http1.closeAfterResponse = true
    let listener = loop.plan.listeners[Int(d.pointee.listener)]
    guard listener.relayNames.isEmpty else {
      d.pointee.awaitsHello = true
      return
    }
    passOn(d, name: nil)
  }

  /// Bytes have come in which the name is still to be found. The time is that of a head.
  mutating func hello(_ d: DownstreamPointer) {
    let t = d.transport
    guard t.pointee.unread.count > 0 else { return }
    d.pointee.helloWork += t.pointee.unread.count
    guard d.pointee.helloWork <= ClientHello.workMaximum else {
      return refuse(d, "no_client_hello")
    }
    switch ClientHello(t.pointee.unread.peek()) {
    case .incomplete: return
    case .name(let name):
      d.pointee.awaitsHello = false
      passOn(d, name: name)
    case .noName:
      d.pointee.awaitsHello = false
      passOn(d, name: nil)
    case .malformed: return refuse(d, "no_client_hello")
    }
    guard t.pointee.closing == .open else { return }
    // What has come is for the server, and waits for it.
    downstreams.pauseInput(d, &loop)
  }

  private mutating func refuse(_ d: DownstreamPointer, _ reason: StaticString) {
    d.pointee.awaitsHello = false
    loop.counters.badRequests += 1
    loop.logger.debug(
      "connection refused reason=\(reason) client=\(downstreams.clientName(d))")
    downstreams.join(d, resets: true, &loop)
  }

  private mutating func passOn(_ d: DownstreamPointer, name: String?) {
    let listener = loop.plan.listeners[Int(d.pointee.listener)]
    guard let place = RelayRouter.route(listener, name: name) else {
      return refuse(d, "no_upstream")
    }
    guard
      let x = makeExchange(
        StreamReference(connection: d.pointee.slot, stream: 0), .other, .none, .http11,
        expects: false)
    else {
      noteRefusedStream(d)
      return downstreams.join(d, resets: true, &loop)
    }
    beginHTTP1(x, d)
    x.pointee.upgrade.isConnection = true
    x.pointee.group = loop.plan.upstream(place, ofPlanOf: d.pointee.listener)
    var actions = x.pointee.state.connectionTaken()
    var text = name ?? ""
    text.withUTF8 {
      let name = name == nil ? nil : UnsafeRawBufferPointer($0)
      noteRequest(x, nil, name: name)
      if actions.has(.claimRoom) { writeRequestPart(x, d, nil, name: name) }
    }
    if actions.has(.claimRoom) {
      actions = claimRoom(x)
      // There is no request that could wait.
      if actions.has(.waitForRoom) { actions = x.pointee.state.roomRefused() }
    }
    if actions.has(.route) {
      count(x, actions)
      actions = connect(x)
    }
    _ = perform(x, actions)
  }

  /// Gets a connection to a server, and no kept one.
  private mutating func connect(_ x: ExchangePointer) -> Actions {
    let upstream = loop.plan.upstreams + Int(x.pointee.group)
    let budget = RetryBudget(
      attempts: UInt8(clamping: upstream.pointee.attempts),
      onConnectFailure: upstream.pointee.retryOnConnectFailure,
      onReset: upstream.pointee.retryOnReset)
    _ = x.pointee.state.routed(budget, asksUpgrade: true)
    return attach(x, avoid: -1, anew: true)
  }
}
