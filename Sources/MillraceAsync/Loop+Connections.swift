// Connected sockets: one receive and one send in flight for each, further sends in a bounded line
// behind. A connection closes by the ladder of the engine's contract: shut down, join both directions,
// close.

import Glibc
import MillraceEngine

/// A send, or the end of sending, that a task waits for.
final class SendRequest {
  let ticket: Ticket
  let bytes: [UInt8]
  /// After the bytes comes the end of this side.
  let finishes: Bool
  /// Bytes that the kernel has taken.
  var sent = 0

  init(_ ticket: Ticket, _ bytes: [UInt8], _ finishes: Bool) {
    self.ticket = ticket
    self.bytes = bytes
    self.finishes = finishes
  }
}

/// A connected socket.
final class ConnectionState {
  let id: UInt64
  let descriptor: Descriptor
  let peer: SocketAddress?
  /// The task that waits for the connect; nil once it is done.
  var connecting: Ticket?
  var connectInFlight = false
  /// The task that waits for bytes; a receive is in flight exactly while there is one.
  var receiving: Ticket?
  /// Bytes that came before the receive's terminal completion.
  var received: [UInt8] = []
  /// The sends in order; the first is in flight when `sendInFlight`.
  var sends: [SendRequest] = []
  var sendInFlight = false
  var closing = false
  var closeTickets: [Ticket] = []

  init(_ id: UInt64, _ descriptor: Descriptor, _ peer: SocketAddress?) {
    self.id = id
    self.descriptor = descriptor
    self.peer = peer
  }

  var isIdle: Bool { !connectInFlight && receiving == nil && !sendInFlight }
}

extension Loop where E: ~Copyable {
  /// Bytes of one send of the engine: a copy of them waits in cold memory while a peer is slow.
  private var sendBytes: Int { 262_144 }

  // MARK: Connecting

  mutating func connect(_ ticket: Ticket, _ address: SocketAddress) {
    guard !isEnding else { return fail(ticket, AsyncEngineFailure.ended) }
    guard connections.count < core.limits.connections else {
      return fail(ticket, AsyncEngineFailure.busy(limit: "connections"))
    }
    let id = newID()
    do throws(SystemFailure) {
      let descriptor = try engine.connect(address, token(.connect, id))
      inFlight += 1
      let connection = ConnectionState(id, descriptor, address)
      connection.connecting = ticket
      connection.connectInFlight = true
      ticket.place = .connect(id)
      connections[id] = connection
    } catch {
      fail(ticket, error)
    }
  }

  mutating func cancelConnect(_ id: UInt64) {
    guard let connection = connections[id], connection.connectInFlight else { return }
    engine.cancelConnect(connection.descriptor)
  }

  mutating func connected(_ id: UInt64, _ completion: Completion) {
    guard let connection = connections[id], let ticket = connection.connecting else {
      preconditionFailure("a connection closed before its connect completed")
    }
    connection.connectInFlight = false
    connection.connecting = nil
    if completion.result == 0 && !connection.closing {
      return finish(ticket, .success(.socket(id, connection.peer)))
    }
    let failure: any Error =
      completion.result == 0
      ? AsyncEngineFailure.closed
      : SystemFailure(code: -completion.result, operation: "connect \(address(connection))")
    fail(ticket, failure)
    connection.closing = true
    remove(connection)
  }

  private func address(_ connection: ConnectionState) -> String {
    connection.peer.map { "\($0)" } ?? "?"
  }

  // MARK: Receiving

  mutating func receive(_ ticket: Ticket, _ id: UInt64) {
    guard let connection = connections[id], !connection.closing else {
      return fail(ticket, AsyncEngineFailure.closed)
    }
    guard connection.receiving == nil else { return fail(ticket, AsyncEngineFailure.receiving) }
    ticket.place = .receive(id)
    connection.receiving = ticket
    inFlight += 1
    engine.receive(connection.descriptor, .once, token(.receive, id))
  }

  mutating func cancelReceive(_ id: UInt64) {
    guard let connection = connections[id], connection.receiving != nil else { return }
    engine.stopReceiving(connection.descriptor)
  }

  mutating func received(_ id: UInt64, _ completion: Completion) {
    guard let connection = connections[id], let ticket = connection.receiving else {
      preconditionFailure("a connection closed before its receive completed")
    }
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      connection.received.append(contentsOf: slice.bytes)
    }
    guard completion.isTerminal else { return }
    connection.receiving = nil
    let bytes = connection.received
    connection.received = []
    if !bytes.isEmpty {
      finish(ticket, .success(.bytes(bytes)))
    } else if connection.closing {
      fail(ticket, AsyncEngineFailure.closed)
    } else if completion.result == 0 {
      finish(ticket, .success(.bytes(nil)))
    } else {
      fail(ticket, SystemFailure(code: -completion.result, operation: "receive"))
    }
    remove(connection)
  }

  // MARK: Sending

  mutating func send(_ request: SendRequest, _ id: UInt64) {
    guard let connection = connections[id], !connection.closing else {
      return fail(request.ticket, AsyncEngineFailure.closed)
    }
    guard connection.sends.count <= core.limits.sendsWaiting else {
      return fail(request.ticket, AsyncEngineFailure.busy(limit: "sendsWaiting"))
    }
    request.ticket.place = .send(id)
    connection.sends.append(request)
    proceed(connection)
  }

  /// Sends the next piece, or finishes what has been sent.
  private mutating func proceed(_ connection: ConnectionState) {
    while !connection.sendInFlight, let request = connection.sends.first {
      let left = request.bytes.count - request.sent
      if left == 0 {
        if request.finishes { engine.shutdown(connection.descriptor, .send) }
        connection.sends.removeFirst()
        finish(request.ticket, .success(.done))
        continue
      }
      guard var frame = engine.frame() else {
        preconditionFailure("there are as many frames as connections")
      }
      let piece = request.sent..<request.sent + min(left, sendBytes)
      request.bytes.withUnsafeBytes { frame.append(UnsafeRawBufferPointer(rebasing: $0[piece])) }
      connection.sendInFlight = true
      inFlight += 1
      engine.send(connection.descriptor, frame, .awaited, token(.send, connection.id))
    }
  }

  mutating func cancelSend(_ ticket: Ticket, _ id: UInt64) {
    guard let connection = connections[id],
      let place = connection.sends.firstIndex(where: { $0.ticket === ticket })
    else { return }
    if place == 0 && connection.sendInFlight {
      engine.shutdown(connection.descriptor, .both)
    } else {
      connection.sends.remove(at: place)
      finish(ticket, .failure(CancellationError()))
    }
  }

  mutating func sent(_ id: UInt64, _ completion: Completion) {
    guard let connection = connections[id], let request = connection.sends.first else {
      preconditionFailure("a connection closed before its send completed")
    }
    connection.sendInFlight = false
    if completion.result >= 0 {
      request.sent += Int(completion.result)
      let isWhole = request.sent == request.bytes.count
      if connection.closing && !isWhole {
        failSends(connection, AsyncEngineFailure.closed)
      } else if connection.closing {
        connection.sends.removeFirst()
        finish(request.ticket, .success(.done))
        failSends(connection, AsyncEngineFailure.closed)
      } else {
        proceed(connection)
      }
    } else {
      let failure: any Error =
        connection.closing
        ? AsyncEngineFailure.closed
        : SystemFailure(code: -completion.result, operation: "send")
      failSends(connection, failure)
    }
    remove(connection)
  }

  /// The stream is broken, or ends: nothing that waits can be sent any more.
  private func failSends(_ connection: ConnectionState, _ error: any Error) {
    let requests = connection.sends
    connection.sends = []
    for request in requests { fail(request.ticket, error) }
  }

  // MARK: Closing

  mutating func closeConnection(_ id: UInt64, _ ticket: Ticket?) {
    guard let connection = connections[id] else {
      if let ticket { finish(ticket, .success(.done)) }
      return
    }
    if let ticket { connection.closeTickets.append(ticket) }
    guard !connection.closing else { return }
    connection.closing = true
    if connection.connectInFlight {
      return engine.cancelConnect(connection.descriptor)
    }
    if connection.receiving != nil || connection.sendInFlight {
      engine.shutdown(connection.descriptor, .both)
    } else {
      failSends(connection, AsyncEngineFailure.closed)
    }
    if connection.receiving != nil { engine.stopReceiving(connection.descriptor) }
    remove(connection)
  }

  /// Closes the socket of a closing connection once nothing of it is in flight.
  private mutating func remove(_ connection: ConnectionState) {
    guard connection.closing, connection.isIdle, connections[connection.id] != nil else { return }
    engine.close(connection.descriptor)
    connections[connection.id] = nil
    for ticket in connection.closeTickets { finish(ticket, .success(.done)) }
    if connections.count == core.limits.connections - 1 { resumeListeners() }
  }
}
