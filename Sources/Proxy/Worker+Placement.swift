// Connections that belong to another worker, because it serves the queue that they came by: the
// descriptor leaves this engine and goes to the other one in a message. What cannot be passed on
// stays here; a connection is never lost over it. A worker that drains takes what is on its way to it
// before it ends (`Mailbox.refuse`).

import Glibc
import MillraceEngine

extension Worker where E: ~Copyable {
  /// Passes a new connection on. - Returns: false if it belongs here.
  mutating func handOver(_ socket: Descriptor, _ listener: Int) -> Bool {
    guard let board, drain == .serving, let queue = engine.incomingQueue(socket),
      let owner = board.worker(of: queue), owner != index, let mailbox = board.mailbox(of: owner)
    else { return false }
    let number = engine.surrender(socket)
    handOvers += 1
    engine.post(
      number, Token(kind: TokenKind.handedOver.rawValue, generation: 0, slot: UInt32(listener)),
      to: mailbox,
      Token(
        kind: TokenKind.handOver.rawValue, generation: UInt32(listener),
        slot: UInt32(bitPattern: number)))
    return true
  }

  /// The message has been taken, or has not: its box is full (ENOBUFS), or its worker has ended.
  mutating func handOverEnded(_ completion: Completion) {
    handOvers -= 1
    guard completion.result < 0 else {
      counters.handedOver += 1
      return
    }
    takeOver(Int32(bitPattern: completion.token.slot), Int(completion.token.generation))
  }

  /// A connection of another worker's, or one that nobody else could take.
  mutating func takeOver(_ number: Int32, _ listener: Int) {
    guard let socket = try? engine.adopt(number) else {
      // A number beyond the table, or a peer that has gone since; it sees an end, as at the accept.
      Glibc.close(number)
      counters.refused += 1
      return
    }
    // A worker that drains still serves what the kernel had accepted; one that has finished with
    // its connections does not begin again.
    guard drain == .serving || drain == .draining else {
      engine.resetOnClose(socket)
      engine.close(socket)
      counters.refused += 1
      return
    }
    admit(socket, listener)
  }

  /// Remembers the queue that a connection came by, for an operator to see: one per worker is what
  /// `placement: queue` is for.
  mutating func noteQueue(_ socket: Descriptor) {
    guard board != nil, let queue = engine.incomingQueue(socket), !queuesSeen.contains(queue),
      queuesSeen.count < QueueBoard.capacity
    else { return }
    queuesSeen.append(queue)
  }
}
