// The relay of a worker: it owns the exchanges, feeds each one's state with what happens on its two
// connections, does what the state answers, and moves content from one connection to the other. It is
// the one place where a client's connection and a server's meet.
//
// A request read top to bottom:
//
//     Relay+Request    bytes from the client: a head, then content
//     Relay+Start      room in the audit log, a route, a connection, the request's head on its way
//     Relay+Response   bytes from the server: heads, then content, and their end
//     Relay+Actions    what the state asks for: send, pause, record, reply, retry, finish
//     Relay+Tunnel     where the server has switched to another protocol: both directions as they come
//     Relay+Access     the line of the access log, and spans
//     Relay+Passing    tunnels through which so much goes that their bytes are left to the kernel
//
// Beside them stand the completions and timeouts of both kinds of connection (Relay+Downstream,
// Relay+Upstream), TLS on both sides, and what waits for the audit log (Relay+AuditWaits). `perform`, and
// whatever calls it for an exchange that is gone on with, says whether that is still there.

import Configuration
import Exchange
import Glibc
import HTTP
import HTTP1
import Logging
import MillraceEngine
import Transport

struct Relay<E: Engine & ~Copyable>: ~Copyable {
  var loop: Loop<E>
  var downstreams: Downstreams
  var upstreams: Upstreams
  var audit: AuditDriver
  var access: AccessDriver
  var traces: TraceDriver
  var exchanges: Exchanges
  /// What a request that changes its connection takes along: the unsent bytes, or a copy.
  var carried = SendBuffer()
  /// Exchanges that are tunnels.
  var openTunnels = 0
  /// Bytes in a second from which on a direction of a tunnel is left to the kernel.
  let passingFrom: Int
  var failureLog = FailureLog()
  var tlsFailureLog = FailureLog()

  init(
    _ loop: consuming Loop<E>, downstreams: consuming Downstreams, upstreams: consuming Upstreams,
    audit: consuming AuditDriver, access: consuming AccessDriver, traces: consuming TraceDriver,
    streams: Int, passingFrom: Int
  ) {
    exchanges = Exchanges(capacity: streams, worker: loop.worker)
    self.loop = loop
    self.downstreams = downstreams
    self.upstreams = upstreams
    self.audit = audit
    self.access = access
    self.traces = traces
    self.passingFrom = passingFrom
  }

  // MARK: Who belongs to whom

  /// The exchange in progress on a connection from a client.
  @inline(__always)
  func exchange(of d: DownstreamPointer) -> ExchangePointer? {
    let slot = d.pointee.http1.exchange
    return slot >= 0 ? exchanges[UInt32(bitPattern: slot)] : nil
  }

  /// Whether a connection from a client has any.
  func hasExchange(_ d: DownstreamPointer) -> Bool {
    d.pointee.isHTTP2 ? !http2(d).pointee.exchanges.isEmpty : d.pointee.http1.exchange >= 0
  }

  /// The exchange that a connection to a server has.
  @inline(__always)
  func exchange(of u: UpstreamPointer) -> ExchangePointer? {
    let slot = u.pointee.exchange
    return slot >= 0 ? exchanges[UInt32(bitPattern: slot)] : nil
  }

  @inline(__always)
  func http2(_ d: DownstreamPointer) -> UnsafeMutablePointer<HTTP2Connection> {
    downstreams.http2[d.pointee.slot]
  }

  /// The exchange with this key, if it is still there.
  @inline(__always)
  func exchange(_ key: ExchangeKey) -> ExchangePointer? {
    exchanges.generation(key.slot) == key.generation ? exchanges[key.slot] : nil
  }

  /// The same by the name of a stream of HTTP/2; 0: it has none.
  func exchange(named tag: UInt64) -> ExchangePointer? {
    HTTP2Connection.key(tag).flatMap { exchange($0) }
  }

  @inline(__always)
  func downstream(of x: ExchangePointer) -> DownstreamPointer {
    downstreams[x.pointee.downstream.connection]
  }

  @inline(__always)
  func upstream(of x: ExchangePointer) -> UpstreamPointer? {
    let slot = x.pointee.upstream
    return slot >= 0 ? upstreams[UInt32(bitPattern: slot)] : nil
  }

  /// Calls `body` for each stream of a connection and its exchange, and sends what comes of it.
  mutating func eachStream(
    _ u: UpstreamPointer, _ body: (inout Self, UpstreamPointer, ExchangePointer) -> Void
  ) {
    let streams = upstreams.http2[u.pointee.slot].pointee.exchanges.map {
      upstreams.key(upstreams[$0])
    }
    for key in streams {
      guard let s = upstreams.stream(key), let x = exchange(of: s) else { continue }
      let d = downstream(of: x)
      body(&self, s, x)
      flush(d)
    }
  }

  // MARK: Turns

  /// Whether something is to be done at once.
  @inline(__always)
  var isPressing: Bool {
    downstreams.resumableCount > 0 || downstreams.notedCount > 0
      || downstreams.hasJoining || upstreams.hasJoining
      || upstreams.hasLost || upstreams.hasNoted
      // Those that were given to kept connections after that step of the turn.
      || upstreams.assignedCount > 0 || !loop.unusedPlans.isEmpty
  }

  /// Closes connections that have nothing in flight. - Returns: whether one from a client was closed.
  @inline(__always)
  mutating func reap() -> Bool {
    let closed = downstreams.reap(&loop)
    upstreams.reap(&loop)
    return closed
  }
}
