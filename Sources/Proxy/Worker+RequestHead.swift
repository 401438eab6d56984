// The request's head as the server gets it: end-to-end fields as received, framing and forwarding
// fields written anew, RFC 9110 7.6.

import AuditLog
import Configuration
import Glibc
import HTTP
import HTTP1
import MillraceEngine

extension Worker where E: ~Copyable {
  /// Fields that are written anew or never passed on as they came.
  ///
  /// What a client says of itself in Forwarded, X-Real-IP or X-Forwarded-* is not what the proxy
  /// saw, and a server cannot tell the two apart; nor can it where the name is spelt in another
  /// way that it reads the same.
  static var rewritten: FieldSet {
    [
      .host, .contentLength, .xForwardedFor, .xForwardedProto, .xForwardedHost, .xForwardedPort,
      .forwarded, .xRealIP, .untrusted, .ambiguous,
    ]
  }
  /// What the rewritten head can need beyond the one received: the lines that are added, with the
  /// longest default_host (255) and pseudonym (128) in them.
  static var headMargin: Int { 768 }

  mutating func writeRequestHead(
    _ frame: inout SendFrame, _ x: ExchangePointer, _ d: DownstreamPointer,
    _ bytes: UnsafeRawBufferPointer, _ length: Int
  ) -> Bool {
    let request = requestHead.view(in: bytes)
    let authority = request.authority
    let client = UnsafeRawBufferPointer(
      start: clientText + Int(d.pointee.slot) * 64, count: d.pointee.clientLength)
    let isTLS = d.pointee.isTLS
    settleFields(x, d, bytes)
    var rewritten = Self.rewritten
    var maxForwards: UInt32?
    if request.presentFields.has(.maxForwards) {
      maxForwards = nextMaxForwards(request)
      if maxForwards != nil { rewritten.insert(.maxForwards) }
    }
    // A field line grows by the space behind its colon where it had none.
    let capacity =
      length + request.fieldCount + 2 * authority.count + Self.headMargin
    let written = frame.write(capacity: capacity) { room in
      var w = HeadWriter(room)
      w.append(request.methodName)
      w.append(" ")
      writeTarget(&w, request)
      w.append(" HTTP/1.1\r\nHost: ")
      // HTTP/1.1 requires a Host (RFC 9112 3.2), and servers refuse an empty one; a client of
      // HTTP/1.0 need not have sent any.
      w.append(
        authority.count > 0
          ? authority : plan.upstreams[Int(x.pointee.group)].defaultHost.raw)
      w.append("\r\n")
      w.endToEndFields(of: request, except: rewritten)
      if let maxForwards { w.field("Max-Forwards", decimal: UInt64(maxForwards)) }
      switch request.content {
      case .length(let n): w.field("Content-Length", decimal: n)
      case .unknown: w.append("Transfer-Encoding: chunked\r\n")
      case .none: break
      }
      if request.acceptsTrailers { w.append("TE: trailers\r\nConnection: TE\r\n") }
      w.field("X-Forwarded-For", client)
      w.append(
        isTLS ? "X-Forwarded-Proto: https\r\n" : "X-Forwarded-Proto: http\r\n")
      if authority.count > 0 { w.field("X-Forwarded-Host", authority) }
      w.append((request.version == .http11 ? plan.via.http11 : plan.via.http10).raw)
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

  /// The target in origin form (or asterisk form), RFC 9112 3.2.
  func writeTarget(_ w: inout HeadWriter, _ request: RequestView) {
    guard request.targetForm == .absolute else {
      w.append(request.target)
      return
    }
    if request.path.isEmpty {
      w.append(request.method == .options && !request.hasQuery ? "*" : "/")
    } else {
      w.append(request.path)
    }
    if request.hasQuery {
      w.append("?")
      w.append(request.query)
    }
  }
}
