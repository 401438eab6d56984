// What happens on a server's connection: completions, its end, and its deadline. What its bytes mean is
// in Relay+Response.swift.

import Exchange
import Glibc
import HTTP1
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  // MARK: Connecting

  mutating func upstreamConnected(_ slot: UInt32, _ result: Int32) {
    let u = upstreams[slot]
    guard upstreams.connectEnded(u) else { return }
    guard result == 0 else {
      return connectFailed(u, AddressChoice.failure(ofConnect: result), timedOut: false)
    }
    if let channel = u.transport.pointee.tls {
      u.pointee.phase = .handshaking
      decrypt(u, channel)
      upstreams.send(u, .awaited, &loop)
    } else {
      upstreamEstablished(u)
    }
    upstreams.arm(u, &loop)
  }

  /// The connection is made, and its handshake done where it has one: the request leaves.
  mutating func upstreamEstablished(_ u: UpstreamPointer) {
    if u.pointee.kind == .http2 { return sharedEstablished(u) }
    if u.pointee.kind == .dialed { return dialedEstablished(u) }
    upstreams.established(u)
    if let x = exchange(of: u) {
      let now = loop.engine.now
      x.pointee.times.connected = now
      x.pointee.times.connectMicroseconds = (now - u.pointee.connectStart) / 1000
      if perform(x, x.pointee.state.upstreamReady()), x.pointee.upgrade.isConnection {
        _ = beginTunnel(u, x)
        return flush(downstream(of: x))
      }
    }
    flush(u)
  }

  /// A server could not be reached at one of its addresses: at another one it may be, or another server
  /// may be.
  mutating func connectFailed(_ u: UpstreamPointer, _ kind: Failure.Kind, timedOut: Bool) {
    if u.pointee.kind == .http2 { return sharedFailed(u, kind, timedOut: timedOut) }
    guard let x = exchange(of: u) else { return upstreams.close(u, &loop) }
    let d = downstream(of: x)
    let row = upstreams.server(of: u).pointee.row
    loop.counters[server: row, .connectFailures] += 1
    if u.pointee.phase == .handshaking { countHandshakeFailure(row, kind) }
    switch upstreams.tryNextAddress(u, &loop) {
    case .connecting(let next):
      // This address has failed, the attempt has not.
      loop.counters.upstreamFailures += 1
      if timedOut { loop.counters.timeouts += 1 }
      x.pointee.upstream = Int32(bitPattern: next.pointee.slot)
    case .failed(let failure):
      x.pointee.upstream = -1
      if timedOut { loop.counters.timeouts += 1 }
      _ = perform(x, x.pointee.state.connectFailed(failure, keepsUnsent: false))
      flush(d)
    case .none:
      upstreams.noteUnreachable(u, loop)
      let keepsUnsent =
        !u.pointee.outgoing.isEmpty || u.pointee.kind == .dialed || x.pointee.upgrade.isConnection
      _ = perform(
        x,
        timedOut
          ? x.pointee.state.connectTimedOut(kind, keepsUnsent: keepsUnsent)
          : x.pointee.state.connectFailed(kind, keepsUnsent: keepsUnsent))
      flush(d)
    }
  }

  // MARK: Requests on kept connections

  /// Sends the requests that kept connections were given in this turn. Everything that had arrived by
  /// the turn's beginning has been looked at by now: a connection on which its server had spoken
  /// unasked, or which it had closed, no longer has its request.
  @inline(__always)
  mutating func submitAssigned() {
    let count = upstreams.assignedCount
    guard count > 0 else { return }
    for i in 0..<count {
      guard let u = upstreams.waiting(at: i) else { continue }
      u.pointee.phase = .busy
      if let x = exchange(of: u) { _ = perform(x, x.pointee.state.upstreamReady()) }
      flush(u)
    }
    upstreams.removeAssigned(count)
  }

  // MARK: Sending

  @inline(__always)
  mutating func upstreamSent(_ slot: UInt32, _ result: Int32) {
    let u = upstreams[slot]
    let t = u.transport
    guard upstreams.sendEnded(u, &loop) else { return }
    if result < 0 { return upstreamSendFailed(u, result) }
    if u.pointee.kind == .http2 && u.pointee.phase == .busy { return sharedSent(u) }
    if let channel = t.pointee.tls { return tlsUpstreamSent(u, channel) }
    if !u.pointee.outgoing.isEmpty { flush(u) }
    requestTaken(u)
  }

  /// The server's transport took bytes of the request.
  @inline(__always)
  mutating func requestTaken(_ u: UpstreamPointer) {
    guard let x = exchange(of: u) else { return }
    // What is outstanding may be TLS's own: the request counts as taken when no more than that is.
    let given = Int(x.pointee.state.requestFlow.waiting) - u.pointee.outgoing.count
    let taken = max(0, given - u.transport.pointee.outstanding)
    guard perform(x, x.pointee.state.requestTaken(taken)) else { return }
    if !x.pointee.state.awaitsServer && u.pointee.phase == .busy {
      u.transport.pointee.deadline = deadlineOfTunnel(u, x)
      if x.pointee.state.mode == .tunnel {
        endSides(x)
        if x.pointee.bulk.isDraining { beginPassing(x) }
      }
    }
  }

  /// The server takes no more of the request. It may have answered already: what it sent is read
  /// first; its end decides.
  mutating func upstreamSendFailed(_ u: UpstreamPointer, _ result: Int32) {
    let t = u.transport
    if u.pointee.kind == .http2 {
      return u.pointee.phase == .busy ? serverEnded(u, result) : handshakeEnded(u, result)
    }
    guard let x = exchange(of: u) else {
      // The receive will tell; a TLS session that waits for this send would wait for ever.
      if t.pointee.isStalled { upstreams.close(u, &loop) }
      return
    }
    let d = downstream(of: x)
    switch u.pointee.phase {
    case .connecting, .handshaking: return handshakeEnded(u, result)
    case .assigned:
      // It was the request before this one.
      _ = perform(x, x.pointee.state.upstreamStale())
      return flush(d)
    case .idle, .busy: break
    }
    t.pointee.unsent.clear()
    u.pointee.outgoing.clear()
    guard perform(x, x.pointee.state.requestSendFailed()) else { return }
    if x.pointee.bulk.isDraining { beginPassing(x) }
    if let channel = t.pointee.tls, channel.pointee.isStalled {
      // Nothing more is said on it; what the server has sent is still read.
      resumeDecrypting(u, channel)
      guard u.pointee.exchange >= 0, t.pointee.closing == .open else { return }
    }
    // A paused one is read again when the client has taken what it has.
    if !t.pointee.receiving && !t.pointee.paused && t.pointee.unread.isEmpty {
      _ = responseStreamEnded(u, x, -EPIPE)
      flush(d)
    }
  }

  // MARK: Receiving

  @inline(__always)
  mutating func upstreamReceived(_ slot: UInt32, _ completion: Completion) {
    let u = upstreams[slot]
    let t = u.transport
    t.pointee.received(completion)
    if completion.hasBytes {
      let slice = loop.engine.takeSlice(completion)
      if t.pointee.closing == .open {
        if u.pointee.kind == .http2 && u.pointee.phase == .busy {
          upstreams.http2[slot].pointee.received(slice.count, t, &loop)
        }
        if let channel = t.pointee.tls {
          decrypt(u, channel, slice)
        } else {
          upstreamBytes(u, slice)
        }
      }
    } else if completion.isTerminal && completion.result != -ECANCELED {
      if t.pointee.closing == .open { settleUpstreamEnd(u) }
    }
    guard completion.isTerminal else { return }
    upstreams.receiveEnded(u, &loop)
    if completion.result == -ECANCELED, let x = exchange(of: u), x.pointee.bulk.isDraining {
      beginPassing(x)
    }
  }

  @inline(__always)
  mutating func upstreamBytes(_ u: UpstreamPointer, _ slice: consuming BufferSlice) {
    if u.pointee.kind == .http2 { return serverInput(u, slice) }
    guard let x = exchange(of: u) else {
      // A server that speaks without being asked cannot be trusted with the next request.
      return upstreams.close(u, &loop)
    }
    let d = downstream(of: x)
    if u.pointee.phase == .assigned {
      // Nor with the one that it was just given.
      _ = perform(x, x.pointee.state.upstreamStale())
    } else {
      _ = response(u, x, slice)
    }
    flush(d)
  }

  /// The server's stream has ended. - Parameter result: 0, or a negated errno.
  mutating func upstreamEnded(_ u: UpstreamPointer, _ result: Int32) {
    if u.pointee.kind == .http2 {
      return u.pointee.phase == .busy ? serverEnded(u, result) : handshakeEnded(u, result)
    }
    guard let x = exchange(of: u) else {
      upstreams.noteIdleEnd(u, at: loop.engine.now, now: loop.engine.now)
      return upstreams.close(u, &loop)
    }
    if u.pointee.phase == .handshaking { return handshakeEnded(u, result) }
    let d = downstream(of: x)
    _ = responseStreamEnded(u, x, result)
    flush(d)
  }

  /// What the end of the server's stream means, once all that came before it has been used as far as it
  /// can be.
  mutating func settleUpstreamEnd(_ u: UpstreamPointer) {
    // What is unread for a slow client is used first; half a head will never be whole.
    // What HTTP/2 has unread is a piece of a frame.
    guard !isEndHeldBack(u),
      u.transport.pointee.unread.isEmpty || u.pointee.isScanning || u.pointee.kind == .http2
    else { return }
    upstreamEnded(u, upstreamEnd(u))
  }

  /// Ends the exchanges whose request can no longer be sent, which is no fault of their servers.
  mutating func endLost() {
    while let u = upstreams.takeLost() { upstreamUnusable(u) }
  }

  /// A connection cannot be used any more for want of memory.
  mutating func upstreamUnusable(_ u: UpstreamPointer) {
    if u.pointee.kind == .http2 { return serverEnded(u, -ENOBUFS) }
    guard let x = exchange(of: u) else { return upstreams.close(u, &loop) }
    let d = downstream(of: x)
    _ = perform(x, x.pointee.state.fail(.resourcesExhausted))
    flush(d)
  }

  // MARK: Deadlines

  /// - Parameter slot: of the connection, not of its node.
  mutating func upstreamDue(_ slot: UInt32) {
    let u = upstreams[slot]
    let t = u.transport
    // Without a deadline it is the client that is slow: the server owes nothing.
    if u.pointee.phase == .busy && t.pointee.closing == .open && t.pointee.sending
      && t.pointee.deadline != .max
    {
      if t.pointee.hasProgressed(loop.engine) {
        t.pointee.deadline =
          loop.engine.now + loop.plan.upstreams[Int(u.pointee.group)].responseTimeout
        if let x = exchange(of: u), x.pointee.state.mode == .tunnel { setResponseDeadline(u, x) }
      } else {
        endIdlePassage(to: u)
      }
    }
    let isDue = loop.engine.now >= t.pointee.deadline
    if isDue { t.pointee.deadline = .max }
    loop.rearmTimer(t, upstreams.node(u))
    if u.pointee.kind == .http2 {
      loop.armTimer(t, upstreams.node(u), orAt: checkServer(u))
    }
    guard isDue else { return }
    if t.pointee.closing == .flushing { return upstreams.join(u, &loop) }
    if t.pointee.closing == .open { upstreamTimedOut(u) }
  }

  private mutating func upstreamTimedOut(_ u: UpstreamPointer) {
    switch u.pointee.phase {
    case .connecting where u.pointee.kind == .stream: settingsTimedOut(u)
    case .connecting:
      // The connection is closed once its connect has been joined.
      u.transport.pointee.cancelConnect(&loop.engine)
      connectFailed(u, .connectTimeout, timedOut: true)
    case .handshaking: connectFailed(u, .tlsHandshakeTimeout, timedOut: true)
    case .busy where u.pointee.kind == .http2:
      if upstreams.http2[u.pointee.slot].pointee.isClosing { return upstreams.close(u, &loop) }
      upstreams.closeWhenSent(u, &loop)
    case .idle: upstreams.close(u, &loop)
    case .assigned: break  // It has no deadline before its request has left.
    case .busy:
      guard let x = exchange(of: u) else { return upstreams.close(u, &loop) }
      let d = downstream(of: x)
      let isTunnel = x.pointee.state.mode == .tunnel
      if !isTunnel { doubt(u) }
      _ = perform(
        x, isTunnel ? x.pointee.state.tunnelTimedOut() : x.pointee.state.responseTimedOut())
      flush(d)
    }
  }
}
