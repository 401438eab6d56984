// Application data in both directions, at every awkward size of every area.

import COpenSSL
import TLS
import Testing

@Suite struct TransferTests {
  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func everyFragmentSizeGivesTheSamePlaintext(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    let message = pattern(300)
    for fragment in Array(1...60) + [200, 321, 322, 323, 329, 1000] {
      client.write(message)
      server.fragment = fragment
      server.give(client.take())
      #expect(server.takeReceived() == message, "fragment \(fragment)")
    }
  }

  @Test(arguments: [1, 2, 7, 16_383, 16_384, 16_385])
  func anyPlaintextAreaGivesAllPlaintext(area: Int) throws {
    let (server, client) = connect(try makeContext(), plaintextArea: area)
    let message = pattern(20_000)
    client.write(message)
    server.give(client.take())
    #expect(server.takeReceived() == message)
    #expect(!server.pendingPlaintext)
  }

  @Test func pendingPlaintextIsToldAndGivenWithoutInput() throws {
    let (server, client) = connect(try makeContext())
    client.write(pattern(10))
    let record = client.take()
    var area = [UInt8](repeating: 0, count: 4)
    var output = [UInt8](repeating: 0, count: 64)
    let first = record.withUnsafeBytes { input in
      area.withUnsafeMutableBytes { area in
        output.withUnsafeMutableBytes { server.session.receive(input, plaintext: area, output: $0) }
      }
    }
    #expect(first.consumed == record.count && first.plaintext == 4)
    #expect(first.progress == .plaintextFull)
    #expect(server.pendingPlaintext)
    server.give([])
    #expect(server.received == Array(pattern(10)[4...]))
    #expect(!server.pendingPlaintext)
  }

  @Test func anExactlyFullAreaWithNothingLeftWantsInput() throws {
    let (server, client) = connect(try makeContext(), plaintextArea: 10)
    client.write(pattern(10))
    server.give(client.take())
    #expect(server.progress == .wantsInput)
    #expect(server.received == pattern(10))
  }

  @Test(
    arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [1, 2, 28, 29, 30, 100, 1052, 1053, 1054, 16_384])
  func anyOutputAreaSendsEverything(version: Int32, area: Int) throws {
    let (server, client) = connect(
      try makeContext(), PlainPeer.Settings(version: version), outputArea: area)
    let message = pattern(area < 100 ? 3000 : 40_000)
    server.send(message)
    #expect(server.progress == .wantsInput)
    #expect(!server.hasPendingOutput)
    client.give(server.take())
    #expect(client.read() == message)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func aRecordIsNeverSplitWhenItFitsTheArea(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    let whole = TLSSession.recordPlaintextMaximum + TLSSession.recordOverheadMaximum
    let message = pattern(100_000)
    for area in [whole, whole + 1, whole + 500, 2 * whole, 40_000, 65_536] {
      server.outputArea = area
      var offset = 0
      while offset < message.count {
        let transfer = server.sendOnce(Array(message[offset...]))
        #expect(!server.hasPendingOutput, "area \(area)")
        #expect(
          transfer.consumed >= TLSSession.recordPlaintextMaximum
            || offset + transfer.consumed == message.count)
        offset += transfer.consumed
      }
      client.give(server.take())
      #expect(client.read() == message)
    }
  }

  @Test func aPendingRecordIsFlushedByAnyCall() throws {
    let (server, client) = connect(try makeContext())
    server.outputArea = 50
    let transfer = server.sendOnce(pattern(200))
    #expect(transfer.progress == .outputFull)
    #expect(transfer.consumed == 200 && transfer.output == 50)
    #expect(server.hasPendingOutput)
    server.outputArea = 65_536
    server.give([])
    #expect(!server.hasPendingOutput)
    client.give(server.take())
    #expect(client.read() == pattern(200))
  }

  @Test func noPlaintextIsTakenWhileOutputIsPending() throws {
    let (server, _) = connect(try makeContext())
    server.outputArea = 20
    _ = server.sendOnce(pattern(200))
    let second = server.sendOnce(pattern(200, seed: 2))
    #expect(second.consumed == 0 && second.output == 20 && second.progress == .outputFull)
  }

  @Test func noSpaceSendsNothing() throws {
    let (server, _) = connect(try makeContext())
    server.outputArea = 0
    let transfer = server.sendOnce(pattern(10))
    #expect(transfer.consumed == 0 && transfer.output == 0 && transfer.progress == .outputFull)
    #expect(!server.hasPendingOutput)
  }

  @Test(
    arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [UInt8(1), 2, 3, 4])
  func recordsAreNoLongerThanTheClientAllows(version: Int32, code: UInt8) throws {
    let (server, client) = connect(
      try makeContext(), PlainPeer.Settings(version: version, maximumFragment: code))
    let most = 256 << Int(code)
    #expect(server.recordMaximum == most)
    for size in [1, most - 1, most, most + 1, 3000, 40_000] {
      // As much room as is asked for is room for all of it.
      server.outputArea = size + (size / most + 1) * TLSSession.recordOverheadMaximum
      let transfer = server.sendOnce(pattern(size))
      #expect(transfer.consumed == size && transfer.progress == .wantsInput)
      client.give(server.take())
      #expect(client.read() == pattern(size))
    }
  }

  @Test func sendingNothingEmitsNoRecord() throws {
    let (server, _) = connect(try makeContext())
    let transfer = server.sendOnce([])
    #expect(transfer.output == 0 && transfer.progress == .wantsInput)
  }

  @Test func sendingBeforeTheHandshakeConsumesNothing() throws {
    let server = ServerSide(try makeContext())
    let transfer = server.sendOnce(pattern(10))
    #expect(transfer.consumed == 0 && transfer.output == 0 && transfer.progress == .wantsInput)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func theOverheadOfARecordIsBounded(version: Int32) throws {
    let (server, _) = connect(try makeContext(), PlainPeer.Settings(version: version))
    for count in [1, 2, 200, 16_383, 16_384] {
      let transfer = server.sendOnce(pattern(count))
      #expect(transfer.output - count <= TLSSession.recordOverheadMaximum)
      #expect(transfer.output > count)
    }
    let two = server.sendOnce(pattern(16_385))
    #expect(two.output > 16_385 + TLSSession.recordOverheadMaximum)
  }

  @Test func aKeyUpdateFromTheClientIsAnsweredWithinTheStream() throws {
    let (server, client) = connect(try makeContext())
    SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED)
    client.write(pattern(100))
    server.give(client.take())
    #expect(server.takeReceived() == pattern(100))
    // The answer rides before the next record and does not fit with it: nothing may be lost.
    server.outputArea = 140
    server.send(pattern(100, seed: 3))
    client.give(server.take())
    #expect(client.read() == pattern(100, seed: 3))
    client.write(pattern(5))
    server.give(client.take())
    #expect(server.takeReceived() == pattern(5))
  }

  @Test(arguments: [
    (TLS1_2_VERSION, RecordSealing.never), (TLS1_3_VERSION, .never), (TLS1_3_VERSION, .always),
    (TLS1_3_VERSION, .whenLong),
  ])
  func sixtyFourMebibytesOfRandomSizesArriveUnchanged(
    version: Int32, sealing: RecordSealing
  ) throws {
    let (server, client) = connect(
      try makeContext(sealing: sealing), PlainPeer.Settings(version: version))
    var generator = SplitMix(state: 42)
    let source = pattern(1 << 18)
    var down = 0
    var up = 0
    while down + up < 64 << 20 {
      let size = 1 + Int(generator.next() % UInt64(generator.next() % 4 == 0 ? 1 << 17 : 20_000))
      let start = Int(generator.next() % UInt64(source.count - size))
      let message = Array(source[start..<start + size])
      server.outputArea = 1 + Int(generator.next() % 70_000)
      server.plaintextArea = 1 + Int(generator.next() % 70_000)
      server.fragment = 1 + Int(generator.next() % 70_000)
      if server.outputArea < 500 { server.outputArea += 500 }
      if server.plaintextArea < 500 { server.plaintextArea += 500 }
      if server.fragment < 500 { server.fragment += 500 }
      if generator.next() % 2 == 0 {
        server.send(message)
        client.give(server.take())
        guard client.read() == message else {
          Issue.record("downstream differs after \(down) bytes")
          return
        }
        down += size
      } else {
        client.write(message)
        server.give(client.take())
        guard server.takeReceived() == message else {
          Issue.record("upstream differs after \(up) bytes")
          return
        }
        up += size
      }
    }
    #expect(down > 0 && up > 0)
  }
}

/// Steele, Lea and Flood's generator: a seed is a whole test run.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
