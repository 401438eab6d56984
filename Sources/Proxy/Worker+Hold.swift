// Holding a response while it is small and young. Many servers write a head and its content apart
// (Python's http.server, node, Java's servers), so that the head arrives first by some hundred
// microseconds; without a hold such a response costs two records and two commits, `begin` and `end`,
// where one `exchange` would say it all. What is meant to stream is never held.

import AuditLog
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Worker where E: ~Copyable {
  /// Whether the response whose head is in `responseHead` may be held for its content.
  func mayHold(_ bytes: UnsafeRawBufferPointer, _ framing: BodyFraming) -> Bool {
    guard audit.holdsResponses else { return false }
    if case .length(let size) = framing, size > UInt64(ResponseHold.contentBytes) { return false }
    return !responseHead.view(in: bytes).isStream
  }

  /// Whether an incomplete response is still small: its content, and with it head and chunk framing.
  @inline(__always)
  func mayHoldOn(_ x: ExchangePointer) -> Bool {
    // A blocked one waits for room that only a response that leaves can make.
    x.pointee.mayBeHeld && !x.pointee.hasBegun && !x.pointee.responseBlocked
      && x.pointee.responseBytes <= UInt64(ResponseHold.contentBytes)
      && x.pointee.heldBytes <= 2 * ResponseHold.contentBytes
  }

  /// Holds an incomplete response, or holds it on.
  /// - Returns: false if it has to begin now.
  mutating func hold(_ x: ExchangePointer) -> Bool {
    guard mayHoldOn(x) else { return false }
    guard audit.hold(x.pointee.slot, bytes: x.pointee.heldBytes, now: engine.now) else {
      counters.holdsRefused += 1
      x.pointee.mayBeHeld = false
      return false
    }
    return true
  }

  /// Lets the responses begin that have been held for as long as they may be.
  mutating func expireHolds() {
    let now = engine.now
    while let slot = audit.takeExpiredHold(now: now) {
      counters.holdsExpired += 1
      let x = exchanges[slot]
      x.pointee.mayBeHeld = false
      finishTurn(x, downstreams[x.pointee.downstream])
    }
  }
}
