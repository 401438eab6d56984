// The messages of an upgrade, read from a process that nothing is known of.

import Testing

@testable import Proxy

@Suite("Messages between an old process and a new one")
struct HandoverMessageTests {
  private func fault(_ bytes: [UInt8]) -> String? {
    do throws(HandoverFault) {
      _ = try HandoverMessage(parsing: bytes)
      return nil
    } catch {
      return error.description
    }
  }

  @Test(
    "a message is read as it was written, up to the limit",
    arguments: [0, 1, HandoverMessage.payloadMaximum - 1, HandoverMessage.payloadMaximum])
  func whole(length: Int) throws {
    let message = HandoverMessage(.ready, Array(repeating: 7, count: length))
    #expect(message.bytes.count == HandoverMessage.headerBytes + length)
    #expect(try HandoverMessage(parsing: message.bytes) == message)
  }

  @Test("a longer one is refused")
  func long() {
    let message = HandoverMessage(
      .ready, Array(repeating: 7, count: HandoverMessage.payloadMaximum + 1))
    #expect(fault(message.bytes)?.contains("more than 16384") == true)
  }

  @Test("one that is cut, or has more behind it, is refused at every length")
  func cut() {
    let bytes = HandoverMessage(.offer, [1, 2, 3]).bytes
    for length in 0..<bytes.count { #expect(fault(Array(bytes[..<length])) != nil) }
    #expect(fault(bytes + [0])?.contains("another length") == true)
    #expect(fault(bytes) == nil)
  }

  @Test("another version is told by its number, whatever follows")
  func version() {
    var bytes = HandoverMessage(.request).bytes
    bytes[4] = 2
    #expect(fault(Array(bytes[..<6]))?.contains("version 2") == true)
    #expect(fault(bytes)?.contains("version 2") == true)
    #expect(fault(bytes)?.contains("restart instead") == true)
  }

  @Test("any byte that differs is a fault or another message, and never a trap")
  func garbled() {
    let bytes = HandoverMessage(.offer, offer(sockets: 3, keys: 88).payload).bytes
    for place in bytes.indices {
      for value in [0, 1, 0x7F, 0x80, 0xFF] as [UInt8] {
        var other = bytes
        other[place] = value
        guard let message = try? HandoverMessage(parsing: other) else { continue }
        if let read = try? HandoverOffer(parsing: message.payload) {
          #expect(read.sockets <= HandoverMessage.socketsMaximum)
        }
      }
    }
  }

  @Test("a reason ends no line of the log, and is cut where it is too long")
  func reason() {
    #expect(HandoverMessage.failed("a\"b\nc").reason == "a?b?c")
    #expect(HandoverMessage.failed(String(repeating: "x", count: 1025)).payload.count == 1024)
    #expect(HandoverMessage(.failed, Array(repeating: 0xFF, count: 2000)).reason.count == 1024)
  }

  // MARK: The offer

  private func offer(sockets: Int, keys: Int) -> HandoverOffer {
    HandoverOffer(
      sockets: sockets, ticketKeys: Array(repeating: 9, count: keys), hasAuditLock: true,
      generation: 4)
  }

  @Test(
    "an offer is read as it was written, up to its limits",
    arguments: [
      (0, 0), (HandoverMessage.socketsMaximum - 1, HandoverOffer.ticketKeysMaximum - 1),
      (HandoverMessage.socketsMaximum, HandoverOffer.ticketKeysMaximum),
    ])
  func offers(sockets: Int, keys: Int) throws {
    let offer = offer(sockets: sockets, keys: keys)
    #expect(try HandoverOffer(parsing: offer.payload) == offer)
  }

  @Test("one beyond them is refused, as is one that is cut or has more behind it")
  func badOffers() {
    func isRefused(_ payload: [UInt8]) -> Bool { (try? HandoverOffer(parsing: payload)) == nil }
    #expect(isRefused(offer(sockets: HandoverMessage.socketsMaximum + 1, keys: 0).payload))
    #expect(isRefused(offer(sockets: 1, keys: HandoverOffer.ticketKeysMaximum + 1).payload))
    let payload = offer(sockets: 1, keys: 88).payload
    for length in 0..<payload.count { #expect(isRefused(Array(payload[..<length]))) }
    #expect(isRefused(payload + [0]))
    var flagged = payload
    flagged[8] = 2
    #expect(isRefused(flagged))
  }
}
