// A fuzzer over records and handshake messages: a client's handshake, and what its own keys can seal
// behind it, mutated, reordered, fragmented and repeated, against areas of any size. All choices come
// from the seed, which each failure prints; keys and signatures come from OpenSSL.

import COpenSSL
import TLS
import Testing

@Suite struct MessageFuzzTests {
  @Test("no order of records traps, hangs, piles up output or changes plaintext")
  func records() throws {
    let context = try makeContext()
    for seed in 1...300 as ClosedRange<UInt64> {
      let run = FuzzRun(seed: seed, context: context)
      run.handshake()
      run.messages()
    }
  }
}

/// One session's life under one seed.
private final class FuzzRun {
  private let seed: UInt64
  private var dice: SplitMix
  private let version: Int32
  private let client: PlainPeer
  private var session: TLSSession
  /// What the client sealed, in order: all that the session may ever give.
  private var sealed: [UInt8] = []
  private var received = 0
  private var outgoing: [UInt8] = []
  private var outputCount = 0
  private var allowance = 0
  private var inputCount = 0
  private var isOver = false

  init(seed: UInt64, context: TLSContext) {
    self.seed = seed
    dice = SplitMix(state: seed)
    version = seed % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION
    client = PlainPeer(PlainPeer.Settings(version: version))
    RecordForge.prepare(client)
    session = TLSSession(context: context)!
  }

  private func roll(_ count: Int) -> Int { Int(dice.next() % UInt64(count)) }

  // MARK: What is sent

  /// A handshake; in half of the runs its records are tampered with on their way.
  func handshake() {
    let tampers = roll(2) == 0
    for _ in 0..<20 {
      client.step()
      var wire = client.take()
      let isLast = wire.isEmpty
      if tampers { wire = tamper(wire) }
      give(wire)
      client.give(outgoing)
      if isLast && outgoing.isEmpty { return }
      outgoing = []
    }
  }

  /// Records behind the handshake, if there was one: data, messages, strangers, and what came before
  /// once more.
  func messages() {
    guard client.isConnected, let forge = RecordForge(client) else { return noise() }
    var earlier: [[UInt8]] = []
    for _ in 0..<(5 + roll(80)) where !isOver {
      let record: [UInt8]
      switch roll(20) {
      case 0...6 where version == TLS1_3_VERSION:
        record = forge.keyUpdate(requested: roll(3) > 0, fragment: 1 + roll(5))
      case 0...9:
        let data = pattern(roll(3) == 0 ? roll(16_385) : roll(40), seed: roll(256))
        sealed += data
        record = forge.record(.data, data)
      case 10, 11: record = forge.warning(Int32(roll(2) == 0 ? SSL_AD_USER_CANCELLED : 100))
      case 12: record = forge.record(.data, [])
      case 13: record = forge.record(.handshake, bytes(roll(8)))
      case 14: record = forge.record(type: [0, 19, 24, 25, 255][roll(5)], bytes(roll(64)))
      case 15:
        // It may come through: what was made of it besides may not.
        let data = bytes(roll(64))
        sealed += data
        record = tamper(forge.record(.data, data))
      case 16 where !earlier.isEmpty: record = earlier[roll(earlier.count)]
      case 17: record = forge.record(.data, bytes(16_385 + roll(300)))
      case 18: record = [23, 3, 3, UInt8(roll(256)), UInt8(roll(256))] + bytes(roll(600))
      default: record = forge.record(.handshake, [UInt8(roll(30)), 0, 0, UInt8(roll(8))])
      }
      earlier.append(record)
      give(record)
      if roll(10) == 0 { send() }
    }
    if roll(2) == 0 { close() }
  }

  private func noise() {
    for _ in 0..<roll(6) where !isOver { give(bytes(roll(400))) }
  }

  private func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: dice.next() >> 32) }
  }

  /// Takes records apart and puts something like them together again.
  private func tamper(_ wire: [UInt8]) -> [UInt8] {
    var records = split(wire)
    for _ in 0..<(1 + roll(3)) where !records.isEmpty {
      let place = roll(records.count)
      switch roll(9) {
      case 0: records[place][roll(records[place].count)] ^= UInt8(1 << roll(8))
      case 1: records.remove(at: place)
      case 2: records.insert(records[place], at: roll(records.count + 1))
      case 3: records.swapAt(place, roll(records.count))
      case 4: records.insert([UInt8(20 + roll(4)), 3, 3, 0, 0], at: place)
      case 5:
        // An alert, a ChangeCipherSpec or a stranger, in clear, once or often.
        let one: [UInt8] =
          [[21, 3, 3, 0, 2, 1, 90], [20, 3, 3, 0, 1, 1], [24, 3, 3, 0, 1, 0]][roll(3)]
        for _ in 0..<(1 + roll(40)) { records.insert(one, at: place) }
      case 6: records[place] = Array(records[place].prefix(1 + roll(records[place].count)))
      default: records.replaceSubrange(place...place, with: fragments(records[place]))
      }
    }
    return records.flatMap { $0 }
  }

  /// A record's content in several: legal where it is a handshake message in clear.
  private func fragments(_ record: [UInt8]) -> [[UInt8]] {
    guard record.count > 6 else { return [record] }
    let size = 1 + roll(roll(2) == 0 ? 4 : 200)
    return stride(from: 5, to: record.count, by: size).map { start in
      let part = record[start..<min(record.count, start + size)]
      return [record[0], record[1], record[2], UInt8(part.count >> 8), UInt8(part.count & 0xFF)]
        + part
    }
  }

  private func split(_ wire: [UInt8]) -> [[UInt8]] {
    var records: [[UInt8]] = []
    var start = 0
    while start + 5 <= wire.count {
      let end = min(wire.count, start + 5 + Int(wire[start + 3]) << 8 + Int(wire[start + 4]))
      records.append(Array(wire[start..<end]))
      start = end
    }
    return records
  }

  // MARK: What the session does with it

  private func area() -> Int {
    [1, 2, 1 + roll(64), 1 + roll(1_000), 20_000][roll(5)]
  }

  /// Gives all of it in pieces, and holds each call against the contract.
  private func give(_ wire: [UInt8]) {
    var offset = 0
    inputCount += wire.count
    let piece = [1 + roll(9), 1 + roll(500), Int.max][roll(3)]
    repeat {
      let end = piece >= wire.count - offset ? wire.count : offset + piece
      var plaintext = [UInt8](repeating: 0, count: area())
      var output = [UInt8](repeating: 0, count: area())
      let transfer = wire[offset..<end].withUnsafeBytes { input in
        plaintext.withUnsafeMutableBytes { plaintext in
          output.withUnsafeMutableBytes {
            session.receive(input, plaintext: plaintext, output: $0)
          }
        }
      }
      offset += transfer.consumed
      took(output[..<transfer.output])
      check(plaintext[..<transfer.plaintext])
      switch transfer.progress {
      case .wantsInput: check(offset == end, "input is left over")
      case .plaintextFull: check(transfer.plaintext == plaintext.count, "plaintext has room")
      case .outputFull: check(transfer.output == output.count, "the output has room")
      case .peerClosed, .failed: isOver = true
      }
      let moved = transfer.consumed + transfer.plaintext + transfer.output
      if moved == 0 && transfer.progress != .wantsInput { return }
    } while !isOver && (offset < wire.count || session.hasPendingOutput)
    // A session that is over takes nothing and says nothing new.
    if isOver { close() }
  }

  private func send() {
    var output = [UInt8](repeating: 0, count: area())
    let transfer = pattern(roll(2_000)).withUnsafeBytes { plaintext in
      output.withUnsafeMutableBytes { session.send(plaintext, output: $0) }
    }
    // What is sent is no answer, whenever it comes out.
    allowance += transfer.consumed + 2 * TLSSession.recordOverheadMaximum
    took(output[..<transfer.output])
  }

  private func close() {
    for _ in 0..<100_000 {
      var output = [UInt8](repeating: 0, count: area())
      let transfer = output.withUnsafeMutableBytes { session.close(output: $0) }
      took(output[..<transfer.output])
      guard transfer.progress == .outputFull else { return }
    }
    check(false, "the end does not come")
  }

  private func took(_ output: ArraySlice<UInt8>) {
    outgoing += output
    outputCount += output.count
    // One flight with its certificate, one message's answer each, alerts.
    let allowed = allowance + 8_192 + 32 * (session.messageCount + 2)
    check(outputCount <= allowed, "\(outputCount) bytes of output for \(inputCount) of input")
    check(session.pendingOutput <= 8_192, "\(session.pendingOutput) bytes wait in the session")
    check(session.messageCount <= 34, "\(session.messageCount) messages were taken")
  }

  /// Plaintext is what the client sealed, in order: authentication lets nothing else through.
  private func check(_ plaintext: ArraySlice<UInt8>) {
    let end = received + plaintext.count
    guard end <= sealed.count, sealed[received..<end] == plaintext else {
      return check(false, "plaintext that the client did not send")
    }
    received = end
  }

  private func check(_ holds: Bool, _ what: String) {
    if !holds { Issue.record("seed \(seed): \(what)") }
  }
}
