// The request's head on its way to the server, by the rules of `RequestForwarding`.

import AuditLog
import Configuration
import Glibc
import HTTP
import HTTP1
import MillraceEngine

extension Worker where E: ~Copyable {
  mutating func writeRequestHead(
    _ frame: inout SendFrame, _ x: ExchangePointer, _ d: DownstreamPointer,
    _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    settleFields(x, d, bytes)
    let forwarding = RequestForwarding(
      requestHead.view(in: bytes),
      client: UnsafeRawBufferPointer(
        start: clientText + Int(d.pointee.slot) * 64, count: d.pointee.clientLength),
      isSecure: d.pointee.isTLS,
      defaultAuthority: plan.upstreams[Int(x.pointee.group)].defaultHost.raw,
      pseudonym: plan.via.raw)
    let written = frame.write(capacity: HeadWriter.capacity(for: forwarding)) { room in
      var w = HeadWriter(room)
      w.request(forwarding)
      return w.overflowed ? -1 : w.count
    }
    return written > 0
  }

  /// Marks and counts the lines that go no further for their name, and tells the content's decoder
  /// which trailer lines do not either.
  @inline(__always)
  private mutating func settleFields(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer
  ) {
    let drops = plan.listeners[Int(d.pointee.listener)].dropsUnderscores
    if drops || requestHead.presentFields.has(.ambiguous) {
      counters.fieldsDropped += requestHead.markAmbiguousFields(in: bytes, underscores: drops)
    }
    guard requestHead.framing == .chunked else { return }
    if drops { x.pointee.requestBody.leaveOutTrailersWithUnderscores() }
    if requestHead.nominatesFields, let names = requestHead.nominatedNames(in: bytes) {
      x.pointee.requestBody.leaveOutTrailers(named: names)
    }
  }
}
