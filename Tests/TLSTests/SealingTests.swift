// Records that are sealed without OpenSSL's record layer, read by OpenSSL: whatever the suite, the sizes, the areas and the
// moment at which sealing is taken over, and with all that OpenSSL says in between.

import COpenSSL
import Foundation
import TLS
import Testing

@Suite("Records sealed by libcrypto alone", .enabled(if: RecordSealing.isPossible))
struct SealingTests {
  static let suites = [
    "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
  ]

  /// Sends all of it and reads it at the client, which must get it and see no error.
  private func pass(_ message: [UInt8], _ server: ServerSide, _ client: PlainPeer) {
    server.send(message)
    #expect(server.failure == nil)
    client.give(server.take())
    let isSame = client.read() == message
    #expect(isSame, "\(message.count) bytes")
    #expect(client.error == SSL_ERROR_NONE)
  }

  /// Both ends of a session whose second record is its own.
  private func connected(
    _ suite: String = suites[0], _ sealing: RecordSealing = .always, outputArea: Int = 65_536
  ) throws -> (server: ServerSide, client: PlainPeer) {
    let (server, client) = connect(
      try makeContext(sealing: sealing), PlainPeer.Settings(suites: suite), outputArea: outputArea)
    #expect(server.cipherName == suite)
    return (server, client)
  }

  @Test(arguments: suites)
  func everySizeArrives(suite: String) throws {
    let (server, client) = try connected(suite)
    for size in [1, 2, 15, 16, 17, 1000, 16_383, 16_384, 16_385, 32_768, 100_000] {
      pass(pattern(size, seed: size), server, client)
    }
    #expect(server.sealsItself)
    client.write(pattern(100))
    server.give(client.take())
    #expect(server.takeReceived() == pattern(100))
  }

  @Test(arguments: suites, [1, 20, 22, 23, 100, 1052, 1053, 1054, 16_405, 16_406, 16_407])
  func anyOutputAreaSendsEverything(suite: String, area: Int) throws {
    let (server, client) = try connected(suite, outputArea: area)
    pass(pattern(area < 100 ? 3000 : 40_000), server, client)
    #expect(!server.hasPendingOutput)
  }

  @Test("it begins with long plaintext, behind enough data, and not before", arguments: [-1, 0, 1])
  func limits(off: Int) throws {
    let (server, client) = try connected(
      Self.suites[1], RecordSealing(plaintext: 5000, behind: 10_000))
    pass(pattern(10_000 + off), server, client)
    #expect(!server.sealsItself)
    pass(pattern(5000 + off), server, client)
    #expect(server.sealsItself == (off >= 0))
    pass(pattern(5000), server, client)
    #expect(server.sealsItself)
    pass(pattern(3), server, client)
    pass(pattern(70_000), server, client)
  }

  @Test("what was carried before counts", arguments: [0, 1])
  func carried(missing: Int) throws {
    let (server, client) = try connected(
      Self.suites[0], RecordSealing(plaintext: 100, behind: 1000))
    client.write(pattern(400))
    server.give(client.take())
    server.outputArea = 65_536
    // Below the length, it is OpenSSL's.
    for _ in 0..<6 { pass(pattern(99), server, client) }
    pass(pattern(6 - missing), server, client)
    pass(pattern(100), server, client)
    #expect(server.sealsItself == (missing == 0))
  }

  @Test("a client that limits fragments gets them from OpenSSL", arguments: [UInt8(1), 4])
  func limitedFragments(code: UInt8) throws {
    let (server, client) = connect(
      try makeContext(sealing: .always), PlainPeer.Settings(maximumFragment: code))
    pass(pattern(100_000), server, client)
    #expect(!server.sealsItself)
  }

  @Test("the site of another name seals its records as well")
  func anotherSite() throws {
    let certificates = TestCertificates.shared
    let (server, client) = connect(
      try makeContext([certificates.main, certificates.shop], sealing: .always),
      PlainPeer.Settings(serverName: "shop.example"))
    pass(pattern(40_000), server, client)
    #expect(server.sealsItself)
  }

  @Test("a process whose OpenSSL is configured for padding leaves all records to it")
  func padded() async {
    await #expect(processExitsWith: .success) { try sendPadded(to: 1000, "TLS_AES_128_GCM_SHA256") }
  }

  @Test("so does one whose padding leaves the Finished record as it is")
  func paddedToThatLength() async {
    await #expect(processExitsWith: .success) { try sendPadded(to: 37, "TLS_AES_128_GCM_SHA256") }
    await #expect(processExitsWith: .success) { try sendPadded(to: 53, "TLS_AES_256_GCM_SHA384") }
  }

  @Test("behind a HelloRetryRequest the numbers of records are right")
  func retried() throws {
    let (server, client) = connect(
      try makeContext(sealing: .always), PlainPeer.Settings(groups: "P-521:P-256"))
    pass(pattern(40_000), server, client)
    #expect(server.sealsItself)
  }

  @Test func olderVersionsAreLeftToOpenSSL() throws {
    let (server, client) = connect(
      try makeContext(sealing: .always), PlainPeer.Settings(version: TLS1_2_VERSION))
    pass(pattern(100_000), server, client)
    #expect(!server.sealsItself)
  }

  @Test(arguments: suites, [RecordSealing.always, RecordSealing(plaintext: 200, behind: 1000)])
  func keysAreUpdatedAsTheClientAsks(suite: String, sealing: RecordSealing) throws {
    let (server, client) = try connected(suite, sealing)
    for round in 0..<12 {
      SSL_key_update(
        client.ssl, round % 3 == 0 ? SSL_KEY_UPDATE_NOT_REQUESTED : SSL_KEY_UPDATE_REQUESTED)
      client.write(pattern(100, seed: round))
      server.give(client.take())
      #expect(server.takeReceived() == pattern(100, seed: round))
      if server.sealsItself {
        // The answer goes before the next record, once.
        let answer = round % 3 == 0 ? 0 : 27
        for extra in [answer, 0] {
          server.outputArea = 65_536
          let transfer = server.sendOnce(pattern(50))
          #expect(transfer.output == 50 + 22 + extra)
          client.give(server.take())
          #expect(client.read() == pattern(50))
        }
      }
      // It does not fit with the record.
      server.outputArea = round % 2 == 0 ? 140 : 65_536
      pass(pattern(150 + 60 * round, seed: round), server, client)
      pass(pattern(20_000, seed: round), server, client)
    }
    #expect(server.sealsItself)
  }

  @Test(
    "keys that OpenSSL has updated are those that a session begins with", arguments: suites,
    [1, 2, 3])
  func keysWereUpdatedBefore(suite: String, times: Int) throws {
    let (server, client) = try connected(suite, RecordSealing(plaintext: 8192, behind: 1000))
    pass(pattern(1000), server, client)
    for round in 0..<times {
      // As the server asks, and as the client does.
      if round % 2 == 0 {
        server.requestKeyUpdate()
        client.give(server.take())
        pass(pattern(round), server, client)
      } else {
        SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED)
        client.write(pattern(100))
        server.give(client.take())
        #expect(server.takeReceived() == pattern(100))
        pass(pattern(10), server, client)
      }
    }
    #expect(!server.sealsItself)
    pass(pattern(20_000), server, client)
    #expect(server.sealsItself)
    pass(pattern(100), server, client)
  }

  @Test("a part of a message keeps no record back", arguments: [1, 2, 3, 4], [false, true])
  func partOfAMessage(part: Int, isAnswerOwed: Bool) throws {
    let (server, forge) = try connectForged(
      makeContext(sealing: .always), version: TLS1_3_VERSION)
    server.send(pattern(20_000))
    #expect(server.sealsItself)
    _ = server.take()
    if isAnswerOwed { server.give(forge.keyUpdate(requested: true)) }
    server.give(forge.record(.handshake, Array([UInt8(24), 0, 0, 1][..<part])))
    for _ in 0..<2 {
      let transfer = server.sendOnce(pattern(100))
      #expect(transfer.consumed == 100 && transfer.progress == .wantsInput)
      let record = server.sendRecord([pattern(100)], skipping: 0, count: 100)
      #expect(record.consumed == 100 && record.progress == .wantsInput)
    }
    #expect(server.take().count == 4 * 122 + (isAnswerOwed ? 27 : 0))
  }

  @Test(arguments: suites)
  func keysAreUpdatedAsTheServerAsks(suite: String) throws {
    let (server, client) = try connected(suite)
    for round in 0..<5 {
      pass(pattern(20_000, seed: round), server, client)
      server.requestKeyUpdate()
      client.give(server.take())
      pass(pattern(300, seed: round), server, client)
      client.write(pattern(100))
      server.give(client.take())
      #expect(server.takeReceived() == pattern(100))
    }
  }

  @Test(arguments: suites, [1, 10, 65_536])
  func closeNotifyIsReadByTheClient(suite: String, area: Int) throws {
    let (server, client) = try connected(suite)
    pass(pattern(20_000), server, client)
    server.outputArea = area
    server.close()
    client.give(server.take())
    #expect(client.read().isEmpty)
    #expect(client.hasReceivedClose)
    let transfer = server.sendOnce(pattern(10))
    #expect(transfer.progress == .failed(.sendAfterClose))
  }

  @Test(arguments: suites)
  func aFatalAlertIsReadByTheClient(suite: String) throws {
    let (server, client) = try connected(suite)
    pass(pattern(20_000), server, client)
    server.give([23, 3, 3, 0, 40] + pattern(40))
    #expect(server.failureKind == .alertSent(20))
    client.give(server.take())
    #expect(client.read().isEmpty)
    #expect(client.reason == SSL_R_SSLV3_ALERT_BAD_RECORD_MAC)
    let transfer = server.sendOnce(pattern(10_000))
    #expect(transfer.consumed == 0 && transfer.output == 0)
  }

  @Test("a record of several pieces is the one of their bytes", arguments: suites)
  func pieces(suite: String) throws {
    let (server, client) = try connected(suite)
    pass(pattern(20_000), server, client)
    let all = pattern(40_000)
    let sizes = [9, 0, 7, 15, 1, 16, 17, 3000, 12_000, 0, 20_000, 4_935]
    var pieces: [[UInt8]] = []
    for size in sizes {
      let start = pieces.joined().count
      pieces.append(Array(all[start..<start + size]))
    }
    #expect(pieces.joined().count == all.count)
    for (skipping, count) in [
      (0, 1), (0, 16_384), (8, 1), (9, 2), (9, 16_384), (16, 16), (20, 13), (23_000, 16_384),
      (39_999, 1), (35_065, 4_935),
    ] {
      let transfer = server.sendRecord(pieces, skipping: skipping, count: count)
      #expect(transfer.progress == .wantsInput && transfer.consumed == count)
      #expect(transfer.output == count + 22)
      client.give(server.take())
      let isSame = client.read() == Array(all[skipping..<skipping + count])
      #expect(isSame, "\(count) bytes behind \(skipping)")
    }
  }

  @Test(
    "a record of pieces waits for room, also behind the answer to a KeyUpdate",
    arguments: [-1, 0, 1])
  func roomForPieces(off: Int) throws {
    let (server, client) = try connected()
    pass(pattern(20_000), server, client)
    for answer in [0, 27] {
      if answer > 0 {
        SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED)
        client.write(pattern(10))
        server.give(client.take())
      }
      server.outputArea = 100 + 22 + answer + off
      let transfer = server.sendRecord([pattern(60), pattern(40)], skipping: 0, count: 100)
      if off < 0 {
        #expect(transfer.progress == .outputFull && transfer.consumed == 0)
        #expect(transfer.output == answer)
      } else {
        #expect(transfer.progress == .wantsInput && transfer.output == 122 + answer)
      }
      client.give(server.take())
      #expect(client.read() == (off < 0 ? [] : pattern(60) + pattern(40)))
    }
    server.outputArea = 65_536
    pass(pattern(20_000), server, client)
    server.close()
    let transfer = server.sendRecord([pattern(10)], skipping: 0, count: 10)
    #expect(transfer.progress == .failed(.sendAfterClose) && transfer.output == 0)
  }

  @Test(
    "a session can seal its records where others have sent much at a time, and one in 64 always")
  func whichSessions() throws {
    let context = try makeContext()
    // What is no session of TLS 1.3, or never becomes one, says nothing about those that are.
    for _ in 0..<100 { ServerSide(context).give(Array("GET / HTTP/1.1\r\n".utf8)) }
    for _ in 100..<128 {
      let (server, client) = connect(context, PlainPeer.Settings(version: TLS1_2_VERSION))
      pass(pattern(10), server, client)
    }
    func seals(_ sizes: [Int]) throws -> Bool {
      let (server, client) = connect(context, PlainPeer.Settings())
      for size in sizes { pass(pattern(size), server, client) }
      return server.sealsItself
    }
    let (long, short) = ([120_000, 120_000], [100])
    let smallOnes = Array(repeating: 5000, count: 60)
    #expect(try seals(long))
    for _ in 1...64 { #expect(try !seals(short)) }
    #expect(try !seals(long), "too many short ones have passed")
    #expect(try seals(long))
    for _ in 67...80 { #expect(try !seals(smallOnes)) }
    #expect(try !seals(long), "much in small pieces is short, and two long ones outweigh fourteen")
    for _ in 82...127 { #expect(try !seals(short)) }
    #expect(try seals(long), "number 256 is tried")
  }

  @Test func resumedSessionsSealTheirsAsWell() throws {
    let context = try makeContext(tickets: makeTickets(), sealing: .always)
    var session: OpaquePointer?
    // A client that goes without a goodbye takes its session with it.
    var clients: [PlainPeer] = []
    for round in 0..<3 {
      let (server, client) = connect(context, PlainPeer.Settings(session: session))
      clients.append(client)
      #expect(client.isResumed == (round > 0))
      pass(pattern(40_000, seed: round), server, client)
      #expect(server.sealsItself)
      if let session { SSL_SESSION_free(session) }
      session = client.makeSession()
    }
    SSL_SESSION_free(session)
  }

  @Test func anOverheadIsNotMoreThanOpenSSLs() throws {
    let (server, _) = try connected()
    for count in [1, 2, 200, 16_383, 16_384] {
      #expect(server.sendOnce(pattern(count)).output == count + 22)
    }
  }
}

/// Sends in a process that pads the content of records to whole blocks; ends it where OpenSSL does not seal them all.
private func sendPadded(to block: Int, _ suite: String) throws {
  let path = NSTemporaryDirectory() + "millrace-padding-\(UUID().uuidString).cnf"
  try """
  openssl_conf = all
  [all]
  ssl_conf = tls
  [tls]
  system_default = every
  [every]
  RecordPadding = \(block)
  """.write(toFile: path, atomically: true, encoding: .utf8)
  setenv("OPENSSL_CONF", path, 1)
  let (server, client) = connect(
    try makeContext(sealing: .always), PlainPeer.Settings(suites: suite))
  unlink(path)
  // Full records have no padding, and say nothing.
  for size in [16_384, 16_384, 32_768] {
    precondition(server.sendOnce(pattern(size)).consumed == size)
  }
  precondition(!server.sealsItself)
  let short = server.sendOnce(pattern(10)).output
  precondition(short == 5 + block + 16)
  client.give(server.take())
  precondition(client.read().count == 65_546)
}
