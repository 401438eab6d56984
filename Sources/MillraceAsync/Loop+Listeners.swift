// Listening sockets: accepted connections wait here, in a bounded list, for tasks that take them.

import Glibc
import MillraceEngine

/// A listening socket.
final class ListenerState {
  let id: UInt64
  let descriptor: Descriptor
  /// The engine has an accept in flight.
  var accepting = false
  /// ... which was asked to end.
  var stopping = false
  var closing = false
  /// Why it does not accept any more.
  var failure: SystemFailure?
  /// Connections that nobody has taken. A connection leaves it by being taken or by dying with it.
  var accepted: [UInt64] = []
  var waiting: [Ticket] = []
  var closeTickets: [Ticket] = []

  init(_ id: UInt64, _ descriptor: Descriptor) {
    self.id = id
    self.descriptor = descriptor
  }
}

extension Loop where E: ~Copyable {
  mutating func listen(
    _ ticket: Ticket, _ address: SocketAddress, _ backlog: Int32, _ reusePort: Bool
  ) {
    guard !isEnding else { return fail(ticket, AsyncEngineFailure.ended) }
    do throws(SystemFailure) {
      let descriptor = try engine.listen(address, backlog: backlog, reusePort: reusePort)
      let listener = ListenerState(newID(), descriptor)
      listeners[listener.id] = listener
      arm(listener)
      finish(ticket, .success(.socket(listener.id, engine.localAddress(descriptor))))
    } catch {
      fail(ticket, error)
    }
  }

  mutating func accept(_ ticket: Ticket, _ id: UInt64) {
    guard let listener = listeners[id], !listener.closing else {
      return finish(ticket, .success(.done))
    }
    if !listener.accepted.isEmpty {
      let connection = listener.accepted.removeFirst()
      give(connection, ticket)
      arm(listener)
    } else if let failure = listener.failure {
      fail(ticket, failure)
    } else {
      ticket.place = .accept(id)
      listener.waiting.append(ticket)
    }
  }

  private func give(_ id: UInt64, _ ticket: Ticket) {
    finish(ticket, .success(.socket(id, connections[id]?.peer)))
  }

  func cancelAccept(_ ticket: Ticket, _ id: UInt64) {
    listeners[id]?.waiting.removeAll { $0 === ticket }
    finish(ticket, .failure(CancellationError()))
  }

  /// Starts to accept if there is room for what may come.
  private mutating func arm(_ listener: ListenerState) {
    guard !listener.accepting, !listener.closing, listener.failure == nil, pausedUntil == nil,
      listener.accepted.count < core.limits.acceptedWaiting,
      connections.count < core.limits.connections
    else { return }
    listener.accepting = true
    listener.stopping = false
    inFlight += 1
    engine.accept(listener.descriptor, token(.accept, listener.id))
  }

  /// There is room, or there are descriptors, again.
  mutating func resumeListeners() {
    guard !isEnding else { return }
    for id in listeners.keys.sorted() { if let listener = listeners[id] { arm(listener) } }
  }

  mutating func accepted(_ id: UInt64, _ completion: Completion) {
    guard let listener = listeners[id] else {
      preconditionFailure("a listener closed before its accept completed")
    }
    if completion.result >= 0 {
      admit(Descriptor(rawValue: completion.result), listener)
    }
    guard completion.isTerminal else { return }
    listener.accepting = false
    if listener.closing { return finishClosing(listener) }
    if completion.result < 0 && completion.result != -ECANCELED {
      stalled(listener, -completion.result)
    } else {
      arm(listener)
    }
  }

  private mutating func admit(_ descriptor: Descriptor, _ listener: ListenerState) {
    // What the kernel had accepted when it was told to stop may be one batch too many.
    guard !listener.closing, connections.count < core.limits.connections else {
      return engine.close(descriptor)
    }
    let connection = ConnectionState(newID(), descriptor, engine.peerAddress(descriptor))
    connections[connection.id] = connection
    if listener.waiting.isEmpty {
      listener.accepted.append(connection.id)
    } else {
      give(connection.id, listener.waiting.removeFirst())
    }
    guard
      listener.accepted.count >= core.limits.acceptedWaiting
        || connections.count >= core.limits.connections
    else { return }
    stop(listener)
  }

  private mutating func stop(_ listener: ListenerState) {
    guard listener.accepting, !listener.stopping else { return }
    listener.stopping = true
    engine.stopAccepting(listener.descriptor)
  }

  /// The kernel would not accept. Out of descriptors or memory is for others to hint: a pause.
  private mutating func stalled(_ listener: ListenerState, _ code: Int32) {
    switch code {
    case EMFILE, ENFILE, ENOBUFS, ENOMEM:
      // Long enough not to spin, short beside a client's patience.
      pausedUntil = engine.now + 100_000_000
    default:
      let failure = SystemFailure(code: code, operation: "accept")
      listener.failure = failure
      for ticket in listener.waiting { fail(ticket, failure) }
      listener.waiting = []
    }
  }

  mutating func closeListener(_ id: UInt64, _ ticket: Ticket?) {
    guard let listener = listeners[id] else {
      if let ticket { finish(ticket, .success(.done)) }
      return
    }
    if let ticket { listener.closeTickets.append(ticket) }
    guard !listener.closing else { return }
    listener.closing = true
    for ticket in listener.waiting { finish(ticket, .success(.done)) }
    listener.waiting = []
    for connection in listener.accepted { closeConnection(connection, nil) }
    listener.accepted = []
    if listener.accepting { stop(listener) } else { finishClosing(listener) }
  }

  /// A listener that closes with connections queued resets some that belong to its siblings, so it
  /// is emptied first.
  private mutating func finishClosing(_ listener: ListenerState) {
    while let late = engine.acceptNow(listener.descriptor) { engine.close(late) }
    engine.close(listener.descriptor)
    listeners[listener.id] = nil
    for ticket in listener.closeTickets { finish(ticket, .success(.done)) }
  }
}
