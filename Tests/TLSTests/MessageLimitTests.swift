// Messages without data: each kind at one below, at and one above the limit, OpenSSL's own limits
// included, since the ones of this room are drawn around them.

import COpenSSL
import TLS
import Testing

@Suite struct MessageLimitTests {
  /// While a part of a message is missing, OpenSSL writes nothing: what is to be sent must not vanish meanwhile, nor wait
  /// for a peer that may never send the rest.
  @Test(arguments: [1, 2, 3, 4], [10, 100_000])
  func dataBehindAPartOfAMessageDoesNotVanish(part: Int, size: Int) throws {
    let (server, forge) = try connectForged(makeContext(), version: TLS1_3_VERSION)
    server.give(forge.record(.handshake, Array([UInt8(24), 0, 0, 1, 0][..<part])))
    #expect(server.failure == nil)
    server.outputArea = 200_000
    let transfer = server.sendOnce(pattern(size))
    if part < 4 {
      #expect(transfer.consumed == size && transfer.progress == .wantsInput)
    } else {
      #expect(transfer.consumed == 0 && transfer.progress == .failed(.protocolError))
    }
  }

  private func alive(_ server: ServerSide, _ forge: RecordForge) -> Bool {
    server.give(forge.record(.data, pattern(10)))
    return server.takeReceived().suffix(10) == pattern(10)[...] && server.failure == nil
  }

  @Test(
    "KeyUpdates: 32, in any fragments, with output areas of any size",
    arguments: [1, 2, 5], [1, 7, 27, 28, 64, 65_536])
  func keyUpdates(fragment: Int, outputArea: Int) throws {
    for requested in [true, false] {
      for count in [31, 32, 33] {
        let (server, forge) = try connectForged(
          makeContext(), version: TLS1_3_VERSION, outputArea: outputArea)
        _ = server.take()
        for _ in 0..<count {
          server.give(forge.keyUpdate(requested: requested, fragment: fragment))
        }
        // OpenSSL answers a KeyUpdate when it reads or writes the next record.
        if count <= 32 { server.send([0]) }
        let answers = server.take()
        #expect(alive(server, forge) == (count <= 32), "\(count) KeyUpdates")
        // One record of 27 bytes answers each that asks: header 5, message 5, type 1, tag 16.
        if requested && count <= 32 { #expect(answers.count == 27 * count + 23) }
        if !requested && count <= 32 { #expect(answers.count == 23) }
        if count > 32 { #expect(server.failureKind == .tooManyMessages) }
      }
    }
  }

  @Test("a session that has carried a MiB takes one more")
  func dataAllowsMore() throws {
    for count in [32, 33, 34] {
      let (server, forge) = try connectForged(makeContext(), version: TLS1_3_VERSION)
      var carried = 0
      // Both directions count.
      while carried < MessageLimits.bytesPerMessage / 2 {
        server.give(forge.record(.data, pattern(16_384)))
        carried += 16_384
      }
      server.send(pattern(MessageLimits.bytesPerMessage - carried))
      _ = server.takeReceived()
      for _ in 0..<count { server.give(forge.keyUpdate(requested: true)) }
      #expect(alive(server, forge) == (count <= 33), "\(count) KeyUpdates")
    }
    let (server, forge) = try connectForged(makeContext(), version: TLS1_3_VERSION)
    server.send(pattern(MessageLimits.bytesPerMessage - 1))
    for _ in 0..<33 { server.give(forge.keyUpdate(requested: true)) }
    #expect(server.failureKind == .tooManyMessages)
  }

  @Test("many in one piece of input: their answers do not pile up in the session")
  func answersDoNotPileUp() throws {
    let (server, forge) = try connectForged(makeContext(), version: TLS1_3_VERSION)
    var wire: [UInt8] = []
    for _ in 0..<1_000 { wire += forge.keyUpdate(requested: true) }
    var offset = 0
    var output = [UInt8](repeating: 0, count: 10)
    var calls = 0
    while calls < 10_000 {
      calls += 1
      let transfer = wire[offset...].withUnsafeBytes { input in
        output.withUnsafeMutableBytes {
          server.session.receive(
            input, plaintext: UnsafeMutableRawBufferPointer(start: nil, count: 0), output: $0)
        }
      }
      offset += transfer.consumed
      #expect(server.session.pendingOutput <= 27)
      guard transfer.progress == .outputFull || transfer.progress == .plaintextFull else { break }
      if transfer.consumed == 0 && transfer.output == 0 { break }
    }
    // Without room for plaintext nothing is opened at all.
    #expect(offset == 0)
    var plaintext = [UInt8](repeating: 0, count: 10)
    while calls < 10_000 {
      calls += 1
      let transfer = wire[offset...].withUnsafeBytes { input in
        plaintext.withUnsafeMutableBytes { plaintext in
          output.withUnsafeMutableBytes {
            server.session.receive(input, plaintext: plaintext, output: $0)
          }
        }
      }
      offset += transfer.consumed
      #expect(server.session.pendingOutput <= 27)
      guard transfer.progress == .outputFull else { break }
    }
    #expect(server.failureKind == .tooManyMessages)
    #expect(server.session.messageCount == 33)
    #expect(offset < 40 * 27, "input behind the limit was read")
  }

  @Test(
    "records without content: OpenSSL takes 32 in a row",
    arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func emptyRecords(version: Int32) throws {
    for count in [31, 32, 33] {
      let (server, forge) = try connectForged(makeContext(), version: version)
      for _ in 0..<count { server.give(forge.record(.data, [])) }
      #expect(alive(server, forge) == (count <= 32), "\(count) records")
      if count > 32 { #expect(server.failureKind == .tooManyMessages) }
    }
  }

  @Test(
    "warning alerts: OpenSSL takes 4 in a row and ends at the fifth",
    arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func warnings(version: Int32) throws {
    for count in [3, 4, 5] {
      let (server, forge) = try connectForged(makeContext(), version: version)
      for _ in 0..<count { server.give(forge.warning(SSL_AD_USER_CANCELLED)) }
      #expect(alive(server, forge) == (count <= 4), "\(count) alerts")
      if count > 4 { #expect(server.failureKind == .tooManyMessages) }
    }
  }

  @Test(
    "warning alerts between data: 32 of a session", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func warningsBetweenData(version: Int32) throws {
    for count in [31, 32, 33] {
      let (server, forge) = try connectForged(makeContext(), version: version)
      for _ in 0..<count {
        server.give(forge.warning(SSL_AD_USER_CANCELLED))
        server.give(forge.record(.data, [1]))
      }
      #expect(alive(server, forge) == (count <= 32), "\(count) alerts")
      if count > 32 { #expect(server.failureKind == .tooManyMessages) }
    }
  }

  @Test("KeyUpdates and warning alerts share the limit")
  func kindsShareTheLimit() throws {
    let (server, forge) = try connectForged(makeContext(), version: TLS1_3_VERSION)
    for _ in 0..<16 {
      server.give(forge.keyUpdate(requested: true))
      server.give(forge.warning(SSL_AD_USER_CANCELLED))
    }
    #expect(alive(server, forge))
    #expect(server.session.messageCount == 32)
    server.give(forge.keyUpdate(requested: false))
    #expect(server.failureKind == .tooManyMessages)
  }

  @Test(
    "what may not come behind a handshake ends the session at its first",
    arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func forbiddenMessages(version: Int32) throws {
    // HelloRequest, ClientHello, NewSessionTicket, Certificate, Finished; then CCS and a stranger.
    for message in [0, 1, 4, 11, 20] as [UInt8] {
      let (server, forge) = try connectForged(makeContext(), version: version)
      server.give(forge.record(.handshake, [message, 0, 0, 0]))
      #expect(!alive(server, forge), "message \(message)")
    }
    for type in [20, 24, 99] as [UInt8] {
      let (server, forge) = try connectForged(makeContext(), version: version)
      server.give(forge.record(type: type, [1]))
      #expect(!alive(server, forge), "record type \(type)")
    }
    let (server, forge) = try connectForged(makeContext(), version: version)
    server.give(forge.record(.data, pattern(16_385)))
    #expect(server.failure != nil, "a record of 16,385 bytes")
  }
}
