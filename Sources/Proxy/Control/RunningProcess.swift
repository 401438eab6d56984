// The new process's side of an upgrade: it asks the one that runs for its sockets, says when it is ready to
// serve on them, and hears when it may.

public import Configuration
import Glibc
import Logging
public import MillraceEngine
import Synchronization

/// A process that serves, and that this one is to take the place of.
public final class RunningProcess: Sendable {
  /// nil: it is over.
  private let conversation: Mutex<HandoverConversation?>
  /// Of `TicketKeys`, until they are taken.
  private let ticketKeys: Mutex<[UInt8]>
  /// Its sockets, in the order in which they came; they are this process's as well.
  public let sockets: [InheritedSocket]
  /// Its lock on the directory of the audit log; nil: it has none, or it was taken.
  private let auditLock: Mutex<Int32?>

  /// How long it may take until it has stopped accepting.
  private static let releaseMilliseconds = 10_000

  private init(
    _ conversation: HandoverConversation, _ offer: HandoverOffer, _ sockets: [InheritedSocket],
    _ auditLock: Int32?
  ) {
    self.conversation = Mutex(conversation)
    process = conversation.peerProcess
    ticketKeys = Mutex(offer.ticketKeys)
    self.sockets = sockets
    self.auditLock = Mutex(auditLock)
  }

  deinit { if let lock = takeAuditLock() { ListeningSocket.close(lock) } }

  /// The lock on the directory of the audit log, which is the caller's from here on.
  func takeAuditLock() -> Int32? {
    auditLock.withLock { lock in
      defer { lock = nil }
      return lock
    }
  }

  public let process: Int64

  /// The keys, which are not kept: they rotate where they are used.
  func takeTicketKeys() -> [UInt8] {
    ticketKeys.withLock { keys in
      defer { keys = [] }
      return keys
    }
  }

  /// Asks the process that serves this configuration's admin socket.
  /// - Returns: nil if no process does.
  public static func ask(
    _ configuration: ProxyConfiguration
  ) throws(HandoverFault) -> RunningProcess? {
    guard let path = configuration.upgradePath else {
      throw HandoverFault(
        "an upgrade needs an admin server on a UNIX socket, with a path of at most "
          + "\(107 - ".upgrade".utf8.count - UnixSocketFile.unpublished.utf8.count) bytes: admin: "
          + "{address: unix:\(AdminConfiguration.standardPath)}")
    }
    // What is sent needs room here.
    _ = DescriptorLimit.raise()
    let connection: HandoverConnection
    do throws(SystemFailure) {
      connection = try HandoverConnection(
        path: path, milliseconds: HandoverConversation.messageMilliseconds)
    } catch {
      if error.code == ENOENT || error.code == ECONNREFUSED { return nil }
      throw HandoverFault("cannot ask the process that runs: \(error)")
    }
    guard connection.isPeerTrusted else {
      throw HandoverFault(
        "the process that runs is user \(connection.peerUser)'s: run as that user")
    }
    return try ask(HandoverConversation(connection))
  }

  static func ask(_ conversation: HandoverConversation) throws(HandoverFault) -> RunningProcess {
    var sockets: [InheritedSocket] = []
    var lock: Int32?
    do throws(HandoverFault) {
      try conversation.transmit(HandoverMessage(.request))
      while true {
        let (message, descriptors) = try conversation.receive(.sockets, .offer)
        if message.kind == .offer {
          lock = descriptors.first
          for extra in descriptors.dropFirst() { ListeningSocket.close(extra) }
          let offer = try HandoverOffer(parsing: message.payload)
          guard offer.sockets == sockets.count, offer.hasAuditLock == (descriptors.count == 1)
          else { throw HandoverFault("descriptors of the offer are missing") }
          return RunningProcess(conversation, offer, sockets, lock)
        }
        try take(message, descriptors, &sockets)
      }
    } catch {
      for socket in sockets { ListeningSocket.close(socket.number) }
      if let lock { ListeningSocket.close(lock) }
      conversation.fail("\(error)")
      throw error
    }
  }

  private static func take(
    _ message: HandoverMessage, _ descriptors: [Int32], _ sockets: inout [InheritedSocket]
  ) throws(HandoverFault) {
    let found = InheritedSockets.received(descriptors)
    let isWhole = found.count == descriptors.count && message.payload.count == found.count
    for (socket, flags) in zip(found, message.payload) {
      sockets.append(socket.handedOver(isForeign: flags & 1 == 1))
    }
    for socket in found.dropFirst(message.payload.count) { ListeningSocket.close(socket.number) }
    guard isWhole, !found.isEmpty else {
      throw HandoverFault("descriptors came that are not listening sockets")
    }
    guard sockets.count <= HandoverMessage.socketsMaximum else {
      throw HandoverFault("more than \(HandoverMessage.socketsMaximum) sockets came")
    }
  }

  private func takeConversation() -> HandoverConversation? {
    conversation.withLock { conversation in
      defer { conversation = nil }
      return conversation
    }
  }

  /// Tells it that it goes on serving.
  public func fail(_ reason: String) { takeConversation()?.fail(reason) }

  /// Says that all is ready, and waits until it accepts no more.
  /// - Parameter adopted: for each of `sockets`, whether it is served on.
  /// - Returns: nil, or why it has not said so; it may be gone, so that this process must serve.
  /// - Throws: it goes on serving.
  func takeOver(_ adopted: [Bool]) throws(HandoverFault) -> String? {
    guard let conversation = takeConversation() else {
      throw HandoverFault("the conversation is over")
    }
    try conversation.transmit(HandoverMessage(.ready, adopted.map { $0 ? 1 : 0 }))
    conversation.limitWaiting(milliseconds: Self.releaseMilliseconds)
    do throws(HandoverFault) {
      _ = try conversation.receive(.released)
      return nil
    } catch {
      if error.isTold { throw error }
      return "\(error)"
    }
  }
}
