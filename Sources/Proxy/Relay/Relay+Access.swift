// The access log's lines and spans: what is kept of a request's head, and the facts of an exchange at its end.

import Exchange
import Glibc
import HTTP
import MillraceEngine
import TLS
import Transport
import Variables

/// The part of the access log and of tracing in an exchange.
struct ExchangeAccess: ~Copyable {
  /// Bytes of the request's texts; 0: none were kept.
  var textLength = 0
  /// The texts where they do not fit the exchange's own memory.
  var textCold: BufferSlice?
  var trace = TraceContext()
  /// The route that matched; lives as long as the plan that the exchange is on.
  var route: UnsafePointer<RoutePlan>?
}

extension Relay where E: ~Copyable {
  /// Keeps what lines and spans say of a request, and decides whether it is traced. - Parameter name: that a connection asks for which is passed on as
  /// it is.
  @inline(__always)
  mutating func noteRequest(
    _ x: ExchangePointer, _ request: RequestView?, name: UnsafeRawBufferPointer? = nil
  ) {
    if access.isOn || traces.isOn { keepTexts(x, request, name) }
  }

  @inline(never)
  private mutating func keepTexts(
    _ x: ExchangePointer, _ request: RequestView?, _ name: UnsafeRawBufferPointer?
  ) {
    var texts = RequestTexts()
    if let request {
      texts.method = request.methodName
      texts.host = request.authority
      texts.path = Self.recordedPath(request)
      if request.hasQuery { texts.query = request.query }
      texts.userAgent = Self.field(.userAgent, request)
      texts.referer = Self.field(.referer, request)
      texts.forwardedFor = Self.field(.xForwardedFor, request)
      texts.requestID = Self.field(.xRequestID, request)
      // Two of them are none (W3C Trace Context 3.3).
      if let line = request.first(.traceparent), !request.repeatedFields.has(.traceparent),
        x.pointee.record.access.trace.isEmpty
      {
        x.pointee.record.access.trace = TraceContext(parsing: request.slice(line.value))
      }
    }
    if request != nil { traces.begin(&x.pointee.record.access.trace) }
    guard access.isOn || x.pointee.record.access.trace.span != 0 else { return }
    if let name { texts.serverName = name }
    let length = texts.byteCount
    let memory = access.memory(x.pointee.slot)
    if length <= memory.count {
      texts.write(into: memory)
    } else {
      let cold = loop.engine.coldMemory(length)
      texts.write(into: cold.mutableBytes)
      x.pointee.record.access.textCold = consume cold
    }
    x.pointee.record.access.textLength = length
  }

  /// The path, never with the query: an absolute form may have a query and no path (RFC 9112 3.2.2). Of the other
  /// forms without a path, the target.
  static func recordedPath(_ request: RequestView) -> UnsafeRawBufferPointer {
    if !request.path.isEmpty { return request.path }
    if request.targetForm != .absolute { return request.target }
    return request.method == .options && !request.hasQuery ? staticBytes("*") : staticBytes("/")
  }

  private static func field(_ name: FieldName, _ request: RequestView) -> UnsafeRawBufferPointer {
    guard let line = request.first(name) else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return request.slice(line.value)
  }

  // MARK: The end

  /// Writes the line and the spans of an exchange that ends, if it has any.
  @inline(__always)
  mutating func tellEnd(_ x: ExchangePointer, _ actions: Actions) {
    guard access.isOn || x.pointee.record.access.trace.span != 0 else { return }
    writeEnd(x, isCut: actions.has(.cut))
  }

  /// How lines look on the plan of an exchange; nil: it has none.
  private mutating func line(of x: ExchangePointer, isCut: Bool) -> UnsafePointer<AccessPlan>? {
    let listener = loop.plan.listeners + Int(downstream(of: x).pointee.listener)
    guard access.isOn, let plan = listener.pointee.access else { return nil }
    if let route = x.pointee.record.access.route, !route.pointee.logsAccess { return nil }
    let status = x.pointee.state.status
    let isError = isCut || status >= 500 || status == 0 && !x.pointee.upgrade.isConnection
    return plan.pointee.samples(x.pointee.id, isError: isError) ? plan : nil
  }

  @inline(never)
  private mutating func writeEnd(_ x: ExchangePointer, isCut: Bool) {
    let plan = line(of: x, isCut: isCut)
    let isTraced = x.pointee.record.access.trace.span != 0
    guard plan != nil || isTraced else { return }
    var values = ExchangeValues()
    fillConnection(downstream(of: x), &values)
    fillExchange(x, &values)
    let kept = x.pointee.record.access.textLength
    let cold = x.pointee.record.access.textCold.take()
    if kept > 0 {
      let elsewhere = Self.bytes(of: cold)
      values.request = RequestTexts(
        reading: elsewhere.isEmpty
          ? UnsafeRawBufferPointer(access.memory(x.pointee.slot)) : elsewhere)
    }
    let now = loop.engine.wallMicroseconds
    if let plan {
      values.redactsQuery = plan.pointee.redactsQuery
      access.write(plan.pointee, &values, now: now)
    }
    if isTraced {
      let group = x.pointee.group
      let isSecure = group >= 0 && loop.plan.upstreams[Int(group)].tls != nil
      traces.write(&values, isSecureUpstream: isSecure, now: now)
    }
    _ = consume cold
  }

  /// Writes the line of a request beyond `limits.streams`, which has no exchange.
  @inline(never)
  mutating func logRefused(_ d: DownstreamPointer, status: UInt16) {
    guard access.isOn, let plan = loop.plan.listeners[Int(d.pointee.listener)].access,
      plan.pointee.samples(0, isError: true)
    else { return }
    var values = ExchangeValues()
    fillConnection(d, &values)
    values.status = status
    values.termination = "streams_exhausted"
    values.startMicroseconds = loop.engine.wallMicroseconds
    values.worker = loop.worker
    access.write(plan.pointee, &values, now: loop.engine.wallMicroseconds)
  }

  private mutating func fillConnection(_ d: DownstreamPointer, _ values: inout ExchangeValues) {
    values.client = downstreams.client(d)
    values.listener = loop.plan.listeners[Int(d.pointee.listener)].name.raw
    guard let channel = d.transport.pointee.tls, channel.pointee.isEstablished else { return }
    // SAFETY: the names belong to the session or are static; both outlive the writing of the line, which
    // follows at once.
    values.isTLS = true
    values.tlsVersion = staticBytes(channel.pointee.session.version.label)
    values.tlsCipher = channel.pointee.session.withCipherName { $0 }
    values.tlsServerName = channel.pointee.session.withServerName { $0 }
    values.tlsALPN = channel.pointee.session.withALPN { $0 }
  }

  private mutating func fillExchange(_ x: ExchangePointer, _ values: inout ExchangeValues) {
    let state = x.pointee.state
    if !x.pointee.upgrade.isConnection {
      values.httpVersion = staticBytes(x.pointee.request.version.name)
      values.stream = x.pointee.request.isHTTP2 ? x.pointee.request.http2.id : 0
      values.status = state.status
    }
    values.trace = x.pointee.record.access.trace
    if let route = x.pointee.record.access.route { values.route = route.pointee.label.raw }
    if x.pointee.group >= 0 {
      let upstream = loop.plan.upstreams + Int(x.pointee.group)
      values.upstream = upstream.pointee.name.raw
      if x.pointee.server >= 0 {
        values.server = upstream.pointee.servers[Int(x.pointee.server)].text.raw
      }
    }
    values.requestBytes = state.requestBytes
    values.responseBytes = state.responseBytes
    values.termination = Failure(state.ending).label
    values.rejection = x.pointee.replyLabel
    values.isComplete = state.ending == .complete
    let times = x.pointee.times
    let total = (loop.engine.now - times.started) / 1000
    values.startMicroseconds = loop.engine.wallMicroseconds - total
    values.durationMicroseconds = total
    if times.connected > 0 { values.queueMicroseconds = (times.connected - times.started) / 1000 }
    values.connectMicroseconds = times.connectMicroseconds
    if times.firstByte > 0 {
      values.firstByteMicroseconds = (times.firstByte - times.started) / 1000
    }
    values.exchangeID = x.pointee.id
    values.worker = loop.worker
  }

  private static func bytes(of slice: borrowing BufferSlice?) -> UnsafeRawBufferPointer {
    switch slice {
    case .some(let slice): slice.bytes
    case .none: UnsafeRawBufferPointer(start: nil, count: 0)
    }
  }
}
