// A crowd of connections that does at random what connections do: send, stop reading, reset, hang
// up, come back under a used number. It knows what must have arrived, byte for byte.

import CLinux
import Glibc
import MillraceEngine
import Testing

/// A small generator whose sequence is the seed's alone (xorshift64*).
struct Dice {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func roll(_ sides: Int) -> Int {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return Int((state &* 0x2545_F491_4F6C_DD1D) >> 33) % sides
  }
}

final class Crowd {
  /// One connection. The engine's end sends back nothing; what both ends send is known.
  private final class Member {
    let socket: Descriptor
    let peer: any Peer
    var receive: Token?
    var send: Token?
    /// Bytes that the plain end has sent, and the engine's receives before the current one got.
    var sent = 0
    var receivedBefore = 0
    /// Bytes that the engine's end has been told to send, and the plain end has got.
    var ordered = 0
    var arrived = 0
    var broken = false

    init(_ socket: Descriptor, _ peer: any Peer) {
      self.socket = socket
      self.peer = peer
    }
  }

  private let harness: Harness
  private let listener: Descriptor
  private let accept: Token
  private var dice: Dice
  private let size: Int
  private let seed: UInt64
  private var members: [Member] = []
  private var waiting: [UInt16: any Peer] = [:]
  private var acceptsTaken = 0
  private(set) var opened = 0
  private(set) var echoed = 0

  init(_ harness: Harness, size: Int, seed: UInt64) throws {
    self.harness = harness
    self.size = size
    self.seed = seed
    dice = Dice(seed)
    listener = try harness.listener()
    accept = harness.token()
    harness.engine.accept(listener, accept)
  }

  /// The stream that both ends of every connection send: it repeats after 256 bytes, so that any
  /// part of it lies somewhere in here.
  private static let stream: [UInt8] = {
    let period = (0..<256).map { UInt8(truncatingIfNeeded: $0 * 7 + 3) }
    return Array(repeatElement(period, count: 4096).joined())
  }()

  private func bytes(_ from: Int, _ count: Int) -> [UInt8] {
    Array(Self.stream[(from & 255)..<((from & 255) + count)])
  }

  /// True when these are the bytes of the stream from a position on.
  private func isStream(_ got: [UInt8], from: Int) -> Bool {
    var at = 0
    while at < got.count {
      let length = min(got.count - at, Self.stream.count - 256)
      let same = got.withUnsafeBytes { got in
        Self.stream.withUnsafeBytes {
          memcmp(got.baseAddress! + at, $0.baseAddress! + ((from + at) & 255), length) == 0
        }
      }
      if !same { return false }
      at += length
    }
    return true
  }

  /// One turn of the loop, with a few random deeds before it.
  func step() throws {
    if members.count + waiting.count < size {
      for _ in 0..<5 { try open() }
    }
    for _ in 0..<20 where !members.isEmpty {
      try act(on: dice.roll(members.count))
    }
    harness.turn()
    takeAccepted()
    for member in members { try settle(member) }
  }

  private func open() throws {
    let peer = try harness.peer(to: listener)
    waiting[peer.localPort] = peer
    opened += 1
  }

  private func takeAccepted() {
    let results = harness[accept].results
    for result in results[acceptsTaken...] where result >= 0 {
      let socket = Descriptor(rawValue: result)
      guard let port = harness.engine.peerAddress(socket)?.port,
        let peer = waiting.removeValue(forKey: port)
      else {
        Issue.record("seed \(seed): accepted a stranger")
        continue
      }
      members.append(Member(socket, peer))
    }
    acceptsTaken = results.count
  }

  private func act(on index: Int) throws {
    let member = members[index]
    switch dice.roll(12) {
    case 0...3:
      guard !member.broken else { break }
      let count = 1 + dice.roll(9000)
      member.sent += max(0, member.peer.send(bytes(member.sent, count)))
    case 4...6:
      guard member.receive == nil else { break }
      let token = harness.token()
      member.receive = token
      harness.engine.receive(member.socket, dice.roll(3) == 0 ? .once : .stream, token)
    case 7, 8:
      guard member.send == nil else { break }
      let count = dice.roll(4) == 0 ? 1 + dice.roll(400_000) : 1 + dice.roll(3000)
      let token = harness.token()
      member.send = token
      harness.engine.send(
        member.socket, try frame(member.ordered, count), dice.roll(2) == 0 ? .quiet : .awaited,
        token)
      member.ordered += count
    case 9:
      harness.engine.stopReceiving(member.socket)
    case 10:
      guard dice.roll(6) == 0 else { break }
      try close(member, at: index)
    default:
      guard dice.roll(6) == 0 else { break }
      member.broken = true
      dice.roll(2) == 0 ? member.peer.reset() : member.peer.close()
    }
  }

  private func frame(_ from: Int, _ count: Int) throws -> SendFrame {
    count > 3000
      ? try coldFrame(harness, bytes(from, count)) : try harness.frame(bytes(from, count))
  }

  /// Looks at what has come of a member's operations.
  private func settle(_ member: Member) throws {
    if let token = member.receive {
      let outcome = harness[token]
      if outcome.ending != nil || dice.roll(8) == 0 { check(member, outcome.bytes) }
      if let ending = outcome.ending {
        member.receivedBefore += outcome.bytes.count
        member.receive = nil
        if ending <= 0 && ending != -ECANCELED {
          #expect(member.broken, "seed \(seed): ended by \(ending) for no reason")
        }
      }
    }
    if let token = member.send, let ending = harness.ending(token) {
      member.send = nil
      if ending < 0 { #expect(member.broken, "seed \(seed): send ended by \(ending)") }
    }
    guard !member.broken, let got = member.peer.receive(atMost: 65_536), !got.isEmpty
    else { return }
    #expect(isStream(got, from: member.arrived), "seed \(seed): wrong bytes at the plain end")
    member.arrived += got.count
    echoed += got.count
  }

  private func check(_ member: Member, _ got: [UInt8]) {
    let start = member.receivedBefore
    #expect(isStream(got, from: start), "seed \(seed): wrong bytes were received")
    #expect(start + got.count <= member.sent, "seed \(seed): more than was sent")
  }

  /// The closing ladder: shut down, join, close.
  private func close(_ member: Member, at index: Int) throws {
    members.swapAt(index, members.count - 1)
    members.removeLast()
    if dice.roll(2) == 0 { harness.engine.resetOnClose(member.socket) }
    if dice.roll(3) == 0 { harness.engine.stopReceiving(member.socket) }
    harness.engine.shutdown(member.socket, .both)
    harness.engine.expediteSends()
    if let receive = member.receive { try harness.end(receive) }
    if let send = member.send { try harness.end(send) }
    harness.engine.close(member.socket)
    member.peer.close()
  }

  /// Ends everybody and the listener.
  func end() throws {
    try harness.turn(until: {
      takeAccepted()
      return waiting.isEmpty
    })
    while !members.isEmpty { try close(members[0], at: 0) }
    try endAccept(harness, listener, accept)
  }
}
