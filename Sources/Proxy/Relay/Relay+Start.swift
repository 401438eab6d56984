// The first steps of an exchange, in their order: room in the audit log, policies and router, a
// connection, and the request's head on its way. Each asks the state what comes next; a request that is
// refused at any of them is answered here, before a server has heard of it.

import AuditLog
import Configuration
import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: A request

  /// Begins the exchange whose head was just parsed. - Parameter bytes: that it was parsed from.
  mutating func start(_ d: DownstreamPointer, _ bytes: UnsafeRawBufferPointer) {
    let listener = loop.plan.listeners + Int(d.pointee.listener)
    guard listener.pointee.servesHTTP1 else {
      return reject(d, .badRequest, status: 505, label: "http2_required")
    }
    let request = downstreams.http1.head.view(in: bytes)
    guard
      let x = makeExchange(
        StreamReference(connection: d.pointee.slot, stream: 0), request.method,
        downstreams.http1.head.framing, request.version,
        expects: request.expectsContinue)
    else {
      return refuseStream(d, isHead: request.method == .head)
    }
    beginHTTP1(x, d)
    if !downstreams.http1.head.isPersistent || listener.pointee.isEnding {
      downstreams.announceLast(x.pointee.downstream)
    }
    downstreams.http1.settleFields(
      bytes, &x.pointee.request, dropsUnderscores: listener.pointee.dropsUnderscores)
    noteRequest(x, request)
    var actions = x.pointee.state.requestHead()
    if actions.has(.claimRoom) {
      writeRequestPart(x, d, request)
      actions = claimRoom(x)
      if actions.has(.waitForRoom) { return waitForRoom(x, d, request) }
    }
    serve(x, d, request, actions)
  }

  /// Makes an exchange for a connection that has none. - Returns: nil if there is no room for one.
  mutating func makeExchange(
    _ reference: StreamReference, _ method: HTTPMethod, _ framing: BodyFraming,
    _ version: HTTPVersion, expects: Bool
  ) -> ExchangePointer? {
    var options = ExchangeState.Options.hasDownstream
    if audit.isOn { options = options | .audits }
    if audit.waitsForRecords { options = options | .awaitsRecords }
    if method.isIdempotent { options = options | .isIdempotent }
    if version != .http10 { options = options | .takesInterims }
    if expects { options = options | .expectsContinue }
    let hasContent = framing != .none && framing != .length(0)
    let state = ExchangeState(options, hasContent: hasContent)
    return exchanges.make(
      state, reference, method: method, framing: framing, version: version,
      started: loop.engine.now, waited: loop.coalescing.waited)
  }

  /// A connection of HTTP/1.1 has one exchange at a time.
  func beginHTTP1(_ x: ExchangePointer, _ d: DownstreamPointer) {
    d.pointee.http1.exchange = Int32(bitPattern: x.pointee.slot)
    d.pointee.http1.isFresh = false
    d.pointee.phase = .response
    d.transport.pointee.deadline = .max
  }

  /// Goes on with a request whose record has its room, or needs none.
  mutating func serve(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ request: RequestView, _ granted: Actions
  ) {
    var actions = granted
    if actions.has(.route) {
      count(x, actions)
      actions = route(x, d, request)
      if actions.has(.attach) { actions = attachFirst(x, d, request) }
    }
    _ = perform(x, actions)
  }

  // MARK: Room in the audit log

  /// No room now: the head is kept, and the room claimed again later. That may take as long as a
  /// connection may be idle.
  mutating func waitForRoom(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ request: RequestView
  ) {
    loop.counters.auditWaits += 1
    let memory = loop.engine.coldMemory(OwnedHead.byteCount(for: request))
    x.pointee.record.head = OwnedHead(copying: request, into: memory.mutableBytes)
    x.pointee.record.headMemory = consume memory
    x.pointee.record.waitingSince = loop.engine.now
    let deadline =
      loop.engine.now + loop.plan.listeners[Int(d.pointee.listener)].idleTimeout
    if d.pointee.isHTTP2 {
      x.pointee.request.http2.deadline = deadline
    } else {
      d.transport.pointee.deadline = deadline
    }
    enqueueWaiting(x)
  }

  /// Has a request looked at again when there may be room.
  mutating func enqueueWaiting(_ x: ExchangePointer) {
    guard !x.pointee.record.isQueued else { return }
    x.pointee.record.isQueued = true
    audit.wait(x.pointee.slot)
  }

  /// Claims room again for a request that waits, and goes on with it where there is some.
  mutating func resumeWaiting(_ x: ExchangePointer, _ d: DownstreamPointer) {
    let actions = claimRoom(x)
    if actions.has(.waitForRoom) { return enqueueWaiting(x) }
    x.pointee.record.waitingSince = 0
    if d.pointee.isHTTP2 {
      x.pointee.request.http2.deadline = .max
    } else {
      d.transport.pointee.deadline = .max
    }
    let key = ExchangeKey(slot: x.pointee.slot, generation: exchanges.generation(x.pointee.slot))
    // The copy of the head must outlive the exchange, which may end here.
    let memory = x.pointee.record.headMemory.take()
    if let request = x.pointee.record.head?.view {
      x.pointee.record.head = nil
      // The plan may have been replaced meanwhile: from here on it is the new one.
      if !d.pointee.isHTTP2 { loop.adoptPlan(&d.pointee.use) }
      serve(x, d, request, actions)
    } else {
      _ = perform(x, x.pointee.state.fail(.resourcesExhausted))
    }
    _ = consume memory
    guard d.transport.pointee.closing == .open else { return }
    if d.pointee.isHTTP2 {
      if let x = exchange(key) { _ = resumeRequest(x) }
      return flush(d)
    }
    d.transport.pointee.paused = false
    if let x = exchange(of: d) { requestTurnEnded(x, d) }
    useUnread(d)
    flush(d)
    downstreams.arm(d, &loop)
  }

  // MARK: A route

  /// Asks policies and router.
  private mutating func route(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ request: RequestView
  ) -> Actions {
    if let reason = LocalReplies.reason(request, via: loop.plan.via) {
      // What a client sends behind CONNECT is for a tunnel that there will not be.
      if request.method == .connect { downstreams.announceLast(x.pointee.downstream) }
      return x.pointee.state.replyLocally(reason)
    }
    guard
      let route = Router.match(
        loop.plan.routes(ofPlanOf: d.pointee.listener),
        listener: loop.plan.place(ofListener: d.pointee.listener),
        authority: request.authority, path: Self.path(request))
    else { return x.pointee.state.replyLocally(.noRoute) }
    x.pointee.route = route.pointee.row
    x.pointee.record.access.route = route
    x.pointee.group = loop.plan.upstream(route.pointee.upstream, ofPlanOf: d.pointee.listener)
    let upstream = loop.plan.upstreams + Int(x.pointee.group)
    let budget = RetryBudget(
      attempts: UInt8(clamping: upstream.pointee.attempts),
      onConnectFailure: upstream.pointee.retryOnConnectFailure,
      onReset: upstream.pointee.retryOnReset)
    guard request.offersUpgrade else {
      return x.pointee.state.routed(
        budget, tellsUnprocessed: upstream.pointee.speaks != .http11)
    }
    return routeUpgrade(x, request, budget)
  }

  /// The path to route by: an absolute form without a path means "/", RFC 9110 4.2.3.
  private static func path(_ request: RequestView) -> UnsafeRawBufferPointer {
    request.path.isEmpty ? staticBytes("/") : request.path
  }

  // MARK: A connection

  /// Gets the first connection of an exchange and gives it the request's head.
  private mutating func attachFirst(
    _ x: ExchangePointer, _ d: DownstreamPointer, _ request: RequestView
  ) -> Actions {
    let actions = attach(x, avoid: -1, anew: false)
    guard let u = upstream(of: x) else { return actions }
    if x.pointee.state.upstream == .dialing { return keepHead(x, request, actions) }
    if keepsHead(x) { _ = keepHead(x, request, actions) }
    guard writeHead(x, u, request) else { return x.pointee.state.fail(.resourcesExhausted) }
    if let remaining = x.pointee.request.body.remainingContentLength,
      remaining > Watermark.largeBody, !d.pointee.isHTTP2
    {
      d.transport.pointee.setMode(.once, &loop.engine)
    }
    return actions
  }

  /// Writes the request's head for its server. - Returns: false if it has no room.
  private mutating func writeHead(
    _ x: ExchangePointer, _ u: UpstreamPointer, _ request: RequestView
  ) -> Bool {
    let d = downstream(of: x)
    let forwarding = RequestForwarding(
      request, client: downstreams.client(d), isSecure: d.pointee.isTLS,
      defaultAuthority: loop.plan.upstreams[Int(x.pointee.group)].defaultHost.raw,
      pseudonym: loop.plan.via.raw,
      traceparent: traces.field(of: x.pointee.record.access.trace))
    let isWritten =
      x.pointee.upgrade.place < 0
      ? upstreams.request(u, forwarding) : requestUpgrade(u, x, forwarding)
    guard isWritten else { return false }
    x.pointee.state.requestWritten(u.pointee.outgoing.count)
    loop.counters.fieldsDropped += x.pointee.request.droppedFields
    return true
  }

  /// Keeps the request's head until its server has chosen a protocol.
  private mutating func keepHead(
    _ x: ExchangePointer, _ request: RequestView, _ actions: Actions
  ) -> Actions {
    let memory = loop.engine.coldMemory(OwnedHead.byteCount(for: request))
    x.pointee.record.head = OwnedHead(copying: request, into: memory.mutableBytes)
    x.pointee.record.headMemory = consume memory
    return actions
  }

  /// Writes the head that was kept. - Returns: false if it has no room.
  mutating func writeKeptHead(_ x: ExchangePointer, _ u: UpstreamPointer) -> Bool {
    guard let request = x.pointee.record.head?.view, loop.prepare(&u.pointee.outgoing),
      writeHead(x, u, request)
    else { return false }
    if keepsHead(x) { return true }
    x.pointee.record.head = nil
    x.pointee.record.headMemory = nil
    return true
  }

  /// Gets a connection, and gives it what is carried.
  /// - Parameters:
  ///   - avoid: the server that just failed, or -1.
  ///   - anew: not one that was idle.
  mutating func attach(_ x: ExchangePointer, avoid: Int32, anew: Bool) -> Actions {
    if keepsHead(x) {
      // It is written anew, as its server takes it.
      carried.clear()
      x.pointee.state.requestDropped()
    }
    guard loop.prepare(&carried), let frame = carried.take() else {
      return x.pointee.state.attachFailed(.resourcesExhausted)
    }
    // What was written in one protocol is not understood in the other.
    let isWritten = frame.count > 0
    // Of a server that speaks both it gets a connection of the protocol that it was written in.
    let use =
      isWritten && !x.pointee.isFramed && !x.pointee.upgrade.isConnection
        && loop.plan.upstreams[Int(x.pointee.group)].speaks == .negotiated
      ? .tunnelOverHTTP1 : use(of: x)
    switch upstreams.attach(
      x.pointee.slot, x.pointee.group, server: &x.pointee.server, avoid: avoid,
      // A kept connection has spoken HTTP.
      anew: anew || x.pointee.upgrade.isConnection, use: use,
      isWritten: isWritten, &loop)
    {
    case .assigned(let u):
      guard !isWritten || (u.pointee.kind == .stream) == x.pointee.isFramed,
        upstreams.give(u, frame)
      else {
        upstreams.release(u, keep: false, isLarge: false, &loop)
        return x.pointee.state.attachFailed(.resourcesExhausted)
      }
      x.pointee.upstream = Int32(bitPattern: u.pointee.slot)
      x.pointee.isFramed = u.pointee.kind == .stream
      x.pointee.times.connected = loop.engine.now
      let actions = x.pointee.state.upstreamAssigned()
      // A retry of what was to be dialed.
      if !isWritten && x.pointee.record.head != nil && x.pointee.record.waitingSince == 0
        && !writeKeptHead(x, u)
      {
        return x.pointee.state.fail(.resourcesExhausted)
      }
      return actions
    case .connecting(let u):
      guard !isWritten || (u.pointee.kind == .stream) == x.pointee.isFramed,
        upstreams.give(u, frame)
      else {
        upstreams.release(u, keep: false, isLarge: false, &loop)
        return x.pointee.state.attachFailed(.resourcesExhausted)
      }
      x.pointee.upstream = Int32(bitPattern: u.pointee.slot)
      x.pointee.isFramed = u.pointee.kind == .stream
      return x.pointee.state.upstreamConnecting()
    case .dialing(let u):
      guard !isWritten else {
        upstreams.release(u, keep: false, isLarge: false, &loop)
        return x.pointee.state.attachFailed(.resourcesExhausted)
      }
      x.pointee.upstream = Int32(bitPattern: u.pointee.slot)
      return x.pointee.state.upstreamDialing()
    case .noTunnel:
      guard loop.plan.upstreams[Int(x.pointee.group)].speaks == .negotiated else {
        return x.pointee.state.attachFailed(.noExtendedConnect)
      }
      x.pointee.upgrade.needsHTTP1 = true
      return attach(x, avoid: avoid, anew: anew)
    case .failed(let kind): return x.pointee.state.attachFailed(kind)
    }
  }

  // MARK: Refusals

  /// Answers a request that could not be understood, and ends the connection.
  /// - Parameters:
  ///   - method: what is known of it; nil: what is unread tells.
  ///   - inHTTP2: the client may speak HTTP/2, though not rightly.
  mutating func reject(
    _ d: DownstreamPointer, _ rejection: HeadRejection, _ method: HTTPMethod? = nil,
    inHTTP2: Bool = false
  ) {
    reject(
      d, .badRequest, status: rejection.status, label: rejection.label, method,
      inHTTP2: inHTTP2 || rejection == .http2Preface)
  }

  /// What a head that is not whole, or not right, may be of: a client that asked by HEAD takes no content
  /// for its answer, whatever the answer is.
  static func method(begunBy bytes: UnsafeRawBufferPointer) -> HTTPMethod {
    bytes.starts(with: staticBytes("HEAD ")) ? .head : .other
  }

  /// The same for any rule. - Parameters:
  ///   - status: of the reply.
  ///   - label: of the rule that was broken; the reply says it.
  ///   - method: what is known of it; nil: what is unread tells.
  ///   - inHTTP2: the client speaks HTTP/2, and is answered in it.
  mutating func reject(
    _ d: DownstreamPointer, _ kind: Failure.Kind, status: UInt16, label: StaticString,
    _ method: HTTPMethod? = nil, inHTTP2: Bool = false
  ) {
    let method = method ?? Self.method(begunBy: d.transport.pointee.unread.peek())
    d.transport.pointee.unread.clear()
    d.pointee.http1.isScanning = false
    guard
      let x = makeExchange(
        StreamReference(connection: d.pointee.slot, stream: 0), method, .none, .http11,
        expects: false)
    else {
      if Failure(kind).metrics.has(.badRequests) { loop.counters.badRequests += 1 }
      return refuseStream(d, isHead: method == .head)
    }
    beginHTTP1(x, d)
    x.pointee.replyLabel = label
    x.pointee.repliesInHTTP2 = inHTTP2
    _ = perform(x, x.pointee.state.requestRejected(kind, status: status))
    flush(d)
  }
}
