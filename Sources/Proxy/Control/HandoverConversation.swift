// A connection between an old process and a new one, message by message, with the descriptors that come along.

import Glibc
import MillraceEngine

/// Sends and receives messages; what does not belong is a fault, and its descriptors are closed.
final class HandoverConversation: Sendable {
  private let connection: HandoverConnection

  /// How long either side may take for a message.
  static let messageMilliseconds = 5_000

  init(_ connection: HandoverConnection) { self.connection = connection }

  var peerProcess: Int64 { connection.peerProcess }

  func limitWaiting(milliseconds: Int) { connection.limitWaiting(milliseconds: milliseconds) }

  func transmit(_ message: HandoverMessage, _ descriptors: [Int32] = []) throws(HandoverFault) {
    do throws(SystemFailure) {
      try connection.transmit(message.bytes, descriptors)
    } catch {
      // It may have said why before it went.
      if error.code == EPIPE, let told = told() { throw told }
      throw HandoverFault("cannot send to the other process: \(error.reason)")
    }
  }

  private func told() -> HandoverFault? {
    while let packet = try? connection.receive(limit: HandoverMessage.packetMaximum) {
      packet.discard()
      guard let message = try? HandoverMessage(parsing: packet.bytes) else { return nil }
      if message.kind == .failed { return HandoverFault(message.reason, isTold: true) }
    }
    return nil
  }

  /// Tells the other side, which may have gone.
  func fail(_ reason: String) { try? transmit(.failed(reason)) }

  /// The next message, of a kind that is due.
  /// - Returns: it, and descriptors that are the caller's.
  func receive(
    _ kinds: HandoverMessage.Kind...
  ) throws(HandoverFault) -> (message: HandoverMessage, descriptors: [Int32]) {
    let packet: HandoverPacket
    do throws(SystemFailure) {
      guard let received = try connection.receive(limit: HandoverMessage.packetMaximum) else {
        throw SystemFailure(code: ECONNRESET, operation: "recvmsg")
      }
      packet = received
    } catch {
      switch error.code {
      case ECONNRESET:
        // A reset is heard before what the other side has said and is still to be read.
        if let told = told() { throw told }
        throw HandoverFault("the other process has ended the conversation")
      case EAGAIN: throw HandoverFault("the other process has not answered in time")
      case EMSGSIZE:
        throw HandoverFault("a message or its descriptors do not fit (is RLIMIT_NOFILE too low?)")
      default: throw HandoverFault("cannot receive from the other process: \(error.reason)")
      }
    }
    do throws(HandoverFault) {
      let message = try HandoverMessage(parsing: packet.bytes)
      if message.kind == .failed { throw HandoverFault(message.reason, isTold: true) }
      guard kinds.contains(message.kind) else {
        throw HandoverFault("a message came that is not due: \(message.kind)")
      }
      let isWithDescriptors = message.kind == .sockets || message.kind == .offer
      guard packet.descriptors.isEmpty || isWithDescriptors else {
        throw HandoverFault("descriptors came with a message that has none: \(message.kind)")
      }
      return (message, packet.descriptors)
    } catch {
      packet.discard()
      throw error
    }
  }
}
