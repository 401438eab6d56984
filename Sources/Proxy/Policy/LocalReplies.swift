// Requests that go to no server by what their head says: methods that are not forwarded, loops, and
// OPTIONS that asks this hop.

import Exchange
import HTTP

enum LocalReplies {
  /// Own pseudonyms in Via from which a request is taken to go in circles. Every instance has the
  /// same pseudonym unless it is configured, so one or two of them are an edge in front of a
  /// sidecar; ten hops through one proxy are no architecture.
  private static let viaLoopLimit = 10

  /// Why the proxy answers a request itself; nil: a server is asked.
  @inline(__always)
  static func reason(_ request: RequestView, via: PlanBytes) -> Failure.Kind? {
    if request.method == .connect && !request.isExtendedConnect || request.method == .trace {
      return .methodRefused
    }
    if request.presentFields.isDisjoint(with: [.via, .maxForwards]) { return nil }
    return reasonInFields(request, via)
  }

  @inline(never)
  private static func reasonInFields(
    _ request: RequestView, _ via: PlanBytes
  ) -> Failure.Kind? {
    if via.count > 0, request.presentFields.has(.via),
      request.viaCount(of: via.raw) >= viaLoopLimit
    {
      return .loopDetected
    }
    // RFC 9110 7.6.2: for TRACE and OPTIONS; TRACE is refused.
    if request.method == .options, request.maxForwards == 0 { return .maxForwards }
    return nil
  }
}
