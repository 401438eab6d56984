// What becomes of a request's offer to switch to another protocol (RFC 9110 7.8): the upstream that it is
// for says which ones may pass.

import HTTP

enum UpgradeChoice: Equatable {
  /// The offer goes no further, and the request without it.
  case ignored
  /// The request makes no sense without it.
  case refused
  /// The protocol at this place of the upstream's list.
  case allowed(Int)
}

enum UpgradePolicy {
  /// The first of the upstream's protocols that the request offers. An offer of none of them may be
  /// ignored (RFC 9110 7.8); WebSocket is refused all the same, since a server takes the rest of its
  /// handshake for nothing that it knows, and an extended CONNECT is nothing else (RFC 8441 4).
  @inline(never)
  static func choose(_ request: RequestView, _ upstream: UpstreamPlan) -> UpgradeChoice {
    for (place, name) in upstream.upgrades.enumerated()
    where request.upgrade(named: name.raw) != nil {
      return .allowed(place)
    }
    return request.isExtendedConnect || request.offersWebSocket ? .refused : .ignored
  }
}
