// The old process's side of an upgrade: a thread of its own waits on a UNIX socket beside the admin server's for
// a new process, gives it what it needs, and goes on serving until that one says that it is ready. Whatever goes
// wrong before changes nothing. Why a socket of its own: with the sockets go the right to serve and the keys of
// session tickets, which the group that may ask the admin server is not to have; and a new process may take its
// time, in which the admin server has others to answer.

import Glibc
import Logging
import MillraceEngine
import Synchronization
import TLS

/// What a process can give to the one that takes its place.
struct HandoverParts: Sendable {
  let life: ProcessLife
  let board: ControlBoard
  let tickets: TicketKeys
  let copies: SocketCopies
  /// nil: there is no audit log.
  let directory: AuditDirectory?
  let logger: Logger
}

final class HandoverServer: Sendable {
  private enum Outcome: Sendable {
    case serving
    /// Another process has the sockets with these addresses.
    case upgraded(adopted: Set<String>)
  }

  private let parts: HandoverParts
  private let listener: HandoverListener
  private let file: UnixSocketFile?
  private let outcome = Mutex(Outcome.serving)

  /// How long a new process may take from the offer until it is ready.
  private static let readyMilliseconds = 15_000
  /// How long the workers may take until they accept no more; each needs a turn or two.
  private static let releaseNanoseconds: Int64 = 5_000_000_000

  /// Binds the socket, which only root and this user can connect to.
  init(path: String, _ parts: HandoverParts) throws(SystemFailure) {
    listener = try HandoverListener(path: path)
    file = listener.file
    self.parts = parts
  }

  /// Gives the socket the name by which it is found, in place of what has it.
  func publish(as path: String) throws(SystemFailure) { try file?.move(to: path) }

  /// Starts the thread, which ends with the process, or when another one has taken its place.
  func start() throws(SystemFailure) {
    _ = try WorkerThread.start(name: "millrace-upgrade", cpu: nil) { [self] in
      while let connection = listener.accept() {
        if serve(connection) { return listener.stop() }
      }
    }
  }

  /// The addresses of the sockets that another process serves on now; nil: there is none.
  var adopted: Set<String>? {
    outcome.withLock { if case .upgraded(let adopted) = $0 { adopted } else { nil } }
  }

  /// Removes a socket's file if it is still this process's. At its end.
  func removeFile(at path: String) {
    // The file belongs to the process that took its place.
    guard adopted == nil else { return }
    file?.remove()
    file?.moved(to: path).remove()
  }

  // MARK: One conversation

  /// - Returns: true if the other process serves now.
  private func serve(_ connection: HandoverConnection) -> Bool {
    let conversation = HandoverConversation(connection)
    let process = connection.peerProcess
    let logger = parts.logger
    guard connection.isPeerTrusted else {
      logger.warning(
        """
        upgrade refused process=\(process) user=\(connection.peerUser) \
        reason="it is neither root's nor of this process's user"
        """)
      conversation.fail("only root and user \(geteuid()) may take its place")
      return false
    }
    do throws(HandoverFault) {
      conversation.limitWaiting(milliseconds: HandoverConversation.messageMilliseconds)
      _ = try conversation.receive(.request)
      logger.notice("upgrade requested process=\(process)")
      let addresses = try offer(conversation)
      conversation.limitWaiting(milliseconds: Self.readyMilliseconds)
      let ready = try conversation.receive(.ready).message.payload
      guard ready.count == addresses.count, ready.allSatisfy({ $0 <= 1 }) else {
        throw HandoverFault("it speaks of other sockets than were offered")
      }
      let adopted = zip(addresses, ready).filter { $0.1 == 1 }.map(\.0)
      outcome.withLock { $0 = .upgraded(adopted: Set(adopted)) }
      guard parts.life.askToDrain(for: .upgrade(process: process)) else {
        outcome.withLock { $0 = .serving }
        throw HandoverFault("the process is \(parts.life.phase.rawValue)")
      }
    } catch {
      logger.error(
        """
        upgrade failed process=\(process) reason="\(error)" \
        effect="this process goes on serving"
        """)
      conversation.fail("\(error)")
      return false
    }
    release(conversation, process)
    return true
  }

  /// - Returns: the addresses of the sockets that were sent, in their order.
  private func offer(_ conversation: HandoverConversation) throws(HandoverFault) -> [String] {
    guard parts.life.phase == .serving else {
      throw HandoverFault("the process is \(parts.life.phase.rawValue)")
    }
    let addresses = try parts.copies.withAll { copies throws(HandoverFault) in
      guard copies.count <= HandoverMessage.socketsMaximum else {
        throw HandoverFault(
          "there are \(copies.count) sockets, more than \(HandoverMessage.socketsMaximum)")
      }
      var at = 0
      while at < copies.count {
        let part = copies[at..<min(copies.count, at + HandoverConnection.descriptorsMaximum)]
        try conversation.transmit(
          HandoverMessage(.sockets, part.map { $0.isForeign ? 1 : 0 }), part.map(\.number))
        at += part.count
      }
      return copies.map(\.address)
    }
    let lock = parts.directory?.copyOfLock()
    defer { if let lock { ListeningSocket.close(lock) } }
    let offer = HandoverOffer(
      sockets: addresses.count, ticketKeys: parts.tickets.copied, hasAuditLock: lock != nil,
      generation: UInt32(clamping: parts.life.generation))
    try conversation.transmit(HandoverMessage(.offer, offer.payload), lock.map { [$0] } ?? [])
    return addresses
  }

  /// The workers stop accepting, then the other process hears that it may begin.
  private func release(_ conversation: HandoverConversation, _ process: Int64) {
    let deadline = SystemClock.monotonicNanoseconds() + Self.releaseNanoseconds
    while !parts.board.haveStoppedAccepting, SystemClock.monotonicNanoseconds() < deadline {
      Pause.microseconds(200)
    }
    do throws(HandoverFault) {
      try conversation.transmit(HandoverMessage(.released))
      parts.logger.notice(
        "replaced process=\(process) effect=\"it accepts connections; this one drains\"")
    } catch {
      parts.logger.critical(
        """
        upgrade not confirmed process=\(process) error="\(error)" \
        effect="this process drains; the other one may have ended" \
        hint="start millrace again if nothing answers"
        """)
    }
  }
}
