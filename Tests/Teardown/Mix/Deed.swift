// What can be begun in one round, by name.

/// A kind of operation.
public enum Deed: String, CaseIterable, Sendable {
  case accept, acceptOne, acceptIntoSlot, connect, connectRefused
  case receive, receiveOnce, send, sendHuge, sendZeroCopy
  case shutdown, closeOperation, splice, relayCopy, relaySplice
  case receiveDatagrams, sendDatagram
  case open, openIntoSlot, status, read, write, readVector, writeVector, synchronize, allocate
  case truncate, rename, unlink, closeFile
  case timeout, nop, poll, post, postToPartner, wake, chain
  case lease, registeredBuffer
  case cancelOne, cancelAll, stopReceiving, stopAccepting, stopRelay

  /// What the engines did before they did everything.
  public static let basic: [Deed] = [
    .accept, .connect, .connectRefused, .receive, .receiveOnce, .send, .sendHuge, .open, .read,
    .write, .synchronize, .truncate, .rename, .unlink, .lease, .stopReceiving, .stopAccepting,
  ]
}

/// A small generator whose sequence is the seed's alone (xorshift64*).
struct MixDice {
  private var state: UInt64

  init(_ seed: UInt64) { state = (seed &+ 1) &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func roll(_ sides: Int) -> Int {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return Int((state &* 0x2545_F491_4F6C_DD1D) >> 33) % sides
  }
}

/// What went wrong, with the seed that repeats it.
public struct TeardownFailure: Error, CustomStringConvertible {
  public let description: String
}
