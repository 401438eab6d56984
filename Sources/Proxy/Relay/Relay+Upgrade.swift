// The offer to switch protocols that a request makes (RFC 9110 7.8): whether it goes on, how it is written for
// the server, and whether what the server answers accepts it.

import Configuration
import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  /// The router's answer to a request that offers to switch protocols.
  @inline(never)
  mutating func routeUpgrade(
    _ x: ExchangePointer, _ request: RequestView, _ budget: RetryBudget
  ) -> Actions {
    switch UpgradePolicy.choose(request, loop.plan.upstreams[Int(x.pointee.group)]) {
    case .ignored:
      return x.pointee.state.routed(
        budget,
        tellsUnprocessed: loop.plan.upstreams[Int(x.pointee.group)].speaks != .http11)
    case .refused: return x.pointee.state.replyLocally(.upgradeNotSupported)
    case .allowed(let place):
      x.pointee.upgrade.place = Int16(truncatingIfNeeded: place)
      return routeOffer(x, request, budget)
    }
  }

  private mutating func routeOffer(
    _ x: ExchangePointer, _ request: RequestView, _ budget: RetryBudget
  ) -> Actions {
    let speaks = loop.plan.upstreams[Int(x.pointee.group)].speaks
    var asks = true
    if speaks != .http11, !canConnect(x, request) {
      if speaks == .negotiated {
        x.pointee.upgrade.needsHTTP1 = true
        x.pointee.upgrade.hasContent =
          request.content != .none && request.content != .length(0)
      } else if isWebSocket(offered(x)) {
        return x.pointee.state.replyLocally(.badRequest)
      } else {
        x.pointee.upgrade.place = -1
        asks = false
      }
    }
    return x.pointee.state.routed(
      budget, asksUpgrade: asks, tellsUnprocessed: speaks != .http11)
  }

  /// Whether an extended CONNECT can stand for the request: that has neither method nor content.
  private func canConnect(_ x: ExchangePointer, _ request: RequestView) -> Bool {
    if request.isExtendedConnect { return true }
    guard request.method == .get, !x.pointee.state.options.has(.expectsContinue),
      request.content == .none || request.content == .length(0)
    else { return false }
    return !isWebSocket(offered(x)) || request.webSocketKey != nil
  }

  private func isWebSocket(_ name: UnsafeRawBufferPointer) -> Bool {
    name.elementsEqual(staticBytes("websocket"))
  }

  /// The protocol that was offered to the server of an exchange.
  func offered(_ x: ExchangePointer) -> UnsafeRawBufferPointer {
    let names = loop.plan.upstreams[Int(x.pointee.group)].upgrades
    let place = Int(x.pointee.upgrade.place)
    return place < names.count
      ? names[max(0, place)].raw : UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// Writes the head of a request with its offer. - Returns: false if it has no room.
  @inline(never)
  mutating func requestUpgrade(
    _ u: UpstreamPointer, _ x: ExchangePointer, _ forwarding: RequestForwarding
  ) -> Bool {
    let request = forwarding.request
    guard let offer = request.upgrade(named: offered(x)) else { return false }
    x.pointee.upgrade.hasKey = false
    if u.pointee.kind == .stream {
      if !request.isExtendedConnect, isWebSocket(offered(x)), let key = request.webSocketKey {
        x.pointee.upgrade.key = key
        x.pointee.upgrade.hasKey = true
      }
      return upstreams.connectRequest(u, forwarding, to: offered(x))
    }
    var key: WebSocketKey?
    if request.isExtendedConnect && request.offersWebSocket {
      var random: (UInt64, UInt64) = (0, 0)
      withUnsafeMutableBytes(of: &random) { loop.engine.randomBytes($0) }
      x.pointee.upgrade.key = WebSocketKey(random.0, random.1)
      x.pointee.upgrade.hasKey = true
      key = x.pointee.upgrade.key
    }
    return upstreams.upgradeRequest(u, forwarding, offering: offer, key)
  }

  /// Whether an exchange over HTTP/2 has asked for a tunnel and has no answer yet: what comes is kept for
  /// it.
  func mayBecomeTunnel(_ x: ExchangePointer) -> Bool {
    x.pointee.request.http2.isConnect && x.pointee.state.mode == .message
      && x.pointee.state.response < .relaying
  }

  /// What a connection for an exchange is to do.
  @inline(__always)
  func use(of x: ExchangePointer) -> ConnectionUse {
    if x.pointee.upgrade.place >= 0 {
      return x.pointee.upgrade.needsHTTP1 ? .tunnelOverHTTP1 : .tunnel
    }
    return x.pointee.upgrade.isConnection ? .raw : .message
  }

  /// Whether the head of a request is kept until its answer, since it is all of it: how it is written depends
  /// on each server that is tried.
  @inline(__always)
  func keepsHead(_ x: ExchangePointer) -> Bool {
    x.pointee.upgrade.place >= 0 && !x.pointee.upgrade.hasContent
      && loop.plan.upstreams[Int(x.pointee.group)].speaks != .http11
  }

  /// Whether what a server answers accepts what was offered, and proves that it does. On a stream the
  /// answer to an extended CONNECT does by its status (RFC 8441 5).
  func isAgreed(_ u: UpstreamPointer, _ x: ExchangePointer, _ response: ResponseView) -> Bool {
    if u.pointee.kind == .stream { return x.pointee.upgrade.place >= 0 }
    guard x.pointee.upgrade.place >= 0, response.switches(to: offered(x)) else { return false }
    guard x.pointee.upgrade.hasKey else { return true }
    guard let accept = response.only(named: "sec-websocket-accept") else { return false }
    return x.pointee.upgrade.key.isAccepted(by: accept)
  }
}
