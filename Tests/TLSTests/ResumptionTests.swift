// Tickets: across contexts, across rotations, and never across sites.

import COpenSSL
import Synchronization
import TLS
import Testing

@Suite struct ResumptionTests {
  /// Connects twice, the second time with the first's session.
  private func resume(
    _ first: TLSContext, _ second: TLSContext, version: Int32 = TLS1_3_VERSION,
    names: (String?, String?) = (nil, nil), between: () -> Void = {}
  ) throws -> (server: ServerSide, client: PlainPeer, session: OpaquePointer) {
    let (_, client) = connect(first, PlainPeer.Settings(version: version, serverName: names.0))
    let session = try #require(client.makeSession())
    between()
    let again = connect(
      second, PlainPeer.Settings(version: version, serverName: names.1, session: session))
    #expect(again.client.isConnected)
    return (again.server, again.client, session)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func aTicketResumesInAnotherContextWithTheSameKeys(version: Int32) throws {
    let tickets = makeTickets()
    let (server, client, session) = try resume(
      makeContext(tickets: tickets), makeContext(tickets: tickets), version: version)
    defer { SSL_SESSION_free(session) }
    #expect(client.isResumed && server.isResumed)
    server.send(pattern(100))
    client.give(server.take())
    #expect(client.read() == pattern(100))
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func otherKeysMeanAFullHandshakeAndNoFailure(version: Int32) throws {
    let (server, client, session) = try resume(makeContext(), makeContext(), version: version)
    defer { SSL_SESSION_free(session) }
    #expect(!client.isResumed && !server.isResumed)
    #expect(server.failure == nil)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [1, 2])
  func aTicketOutlivesTwoRotations(version: Int32, rotations: Int64) throws {
    let tickets = makeTickets(now: 0, rotationSeconds: 100)
    let context = try makeContext(tickets: tickets)
    let (server, client, session) = try resume(context, context, version: version) {
      for step in 1...rotations { #expect(tickets.rotate(now: step * 100) == 1) }
    }
    defer { SSL_SESSION_free(session) }
    #expect(server.isResumed)
    // An old key's ticket is replaced: the new one resumes although the old key is gone.
    let renewed = try #require(client.makeSession())
    defer { SSL_SESSION_free(renewed) }
    for step in 1...2 { tickets.rotate(now: (rotations + Int64(step)) * 100) }
    let third = connect(context, PlainPeer.Settings(version: version, session: renewed))
    #expect(third.server.isResumed)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func aTicketDoesNotOutliveThreeRotations(version: Int32) throws {
    let tickets = makeTickets(now: 0, rotationSeconds: 100)
    let context = try makeContext(tickets: tickets)
    let (server, _, session) = try resume(context, context, version: version) {
      for step in 1...3 { #expect(tickets.rotate(now: Int64(step) * 100) == 1) }
    }
    defer { SSL_SESSION_free(session) }
    #expect(!server.isResumed)
  }

  @Test func aTicketOfOneSiteDoesNotResumeAtAnother() throws {
    let certificates = TestCertificates.shared
    let tickets = makeTickets()
    for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
      let (server, _, session) = try resume(
        makeContext([certificates.main], tickets: tickets),
        makeContext([certificates.shop], tickets: tickets), version: version)
      #expect(!server.isResumed)
      SSL_SESSION_free(session)
      // Nor within one context, when the second connection asks for the other site.
      let both = try makeContext([certificates.main, certificates.shop], tickets: tickets)
      let crossed = try resume(
        both, both, version: version, names: ("default.example", "shop.example"))
      #expect(!crossed.server.isResumed)
      SSL_SESSION_free(crossed.session)
    }
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func aNameOtherThanTheDefaultResumesAndKeepsItsServerName(version: Int32) throws {
    let certificates = TestCertificates.shared
    let context = try makeContext([certificates.main, certificates.shop])
    let (server, _, session) = try resume(
      context, context, version: version, names: ("shop.example", "shop.example"))
    defer { SSL_SESSION_free(session) }
    #expect(server.isResumed)
    #expect(server.serverName == Array("shop.example".utf8))
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [0, 1, 2])
  func aTicketResumesWithACopyOfItsKeys(version: Int32, rotations: Int64) throws {
    let tickets = makeTickets(now: 0, rotationSeconds: 100)
    let first = try makeContext(tickets: tickets)
    let (_, client) = connect(first, PlainPeer.Settings(version: version))
    let session = try #require(client.makeSession())
    defer { SSL_SESSION_free(session) }
    for step in 0..<rotations { #expect(tickets.rotate(now: (step + 1) * 100) == 1) }
    let bytes = tickets.copied
    #expect(bytes.count == 8 + 80 * Int(rotations + 1))
    let copied = TicketKeys(
      copied: bytes, randomBytes: { for i in $0.indices { $0[i] = 1 } }, rotationSeconds: 100)
    let copy = try #require(copied)
    #expect(copy.copied == bytes)
    let again = connect(
      try makeContext(tickets: copy), PlainPeer.Settings(version: version, session: session))
    #expect(again.client.isConnected && again.server.isResumed)
    // It rotates when the first would.
    #expect(copy.rotate(now: rotations * 100 + 99) == 0)
    #expect(copy.rotate(now: rotations * 100 + 100) == 1)
  }

  @Test func whatAreNotKeysAreNotTaken() {
    for count in [0, 7, 8, 87, 89, 167, 169, 247, 249, 328] {
      let bytes = [UInt8](repeating: 0xFF, count: count)
      let keys = TicketKeys(copied: bytes, randomBytes: { _ in })
      #expect(keys == nil, "\(count)")
    }
    for count in [88, 168, 248] {
      let bytes = [UInt8](repeating: 0xFF, count: count)
      let keys = TicketKeys(copied: bytes, randomBytes: { _ in })
      #expect(keys != nil, "\(count)")
    }
    // A birth that is no time of this clock rotates nothing, and traps nothing.
    let keys = TicketKeys(copied: [UInt8](repeating: 0x80, count: 88), randomBytes: { _ in })
    #expect(keys?.rotate(now: .max) == 0)
  }

  @Test func aFullHandshakeGivesOneTicket() throws {
    let server = ServerSide(try makeContext())
    let client = PlainPeer()
    let count = UnsafeMutablePointer<Int>.allocate(capacity: 1)
    count.initialize(to: 0)
    defer { count.deallocate() }
    SSL_set_ex_data(client.ssl, 0, count)
    _ = SSL_CTX_ctrl(client.context, SSL_CTRL_SET_SESS_CACHE_MODE, Int(SSL_SESS_CACHE_CLIENT), nil)
    SSL_CTX_sess_set_new_cb(client.context) { ssl, _ in
      SSL_get_ex_data(ssl, 0)!.assumingMemoryBound(to: Int.self).pointee += 1
      return 0
    }
    pump(server, client)
    _ = client.read()
    #expect(count.pointee == 1)
  }

  @Test func keysRotateAtTheirHourAndNotBefore() {
    let tickets = makeTickets(now: 1000, rotationSeconds: 100)
    #expect(tickets.rotate(now: 1000) == 0)
    #expect(tickets.rotate(now: 1099) == 0)
    #expect(tickets.rotate(now: 1100) == 1)
    #expect(tickets.rotate(now: 1100) == 0)
    #expect(tickets.rotate(now: 1199) == 0)
    #expect(tickets.rotate(now: 1201) == 1)
  }

  @Test func aLateRotationMakesUpForTheMissedOnes() {
    let tickets = makeTickets(now: 0, rotationSeconds: 100)
    #expect(tickets.rotate(now: 299) == 2)
    #expect(tickets.rotate(now: 100_000) == 3)
  }

  @Test func aClockThatGoesBackwardsRotatesNothing() {
    let tickets = makeTickets(now: 0, rotationSeconds: 100)
    #expect(tickets.rotate(now: -1_000_000) == 0)
    #expect(tickets.rotate(now: .min) == 0)
  }

  @Test func randomnessIsTakenOncePerKeyInFull() {
    let calls = Mutex<[Int]>([])
    let tickets = TicketKeys(
      randomBytes: { area in calls.withLock { $0.append(area.count) } }, now: 0,
      rotationSeconds: 10)
    #expect(calls.withLock { $0 } == [80])
    tickets.rotate(now: 9)
    #expect(calls.withLock { $0 } == [80])
    tickets.rotate(now: 10)
    #expect(calls.withLock { $0 } == [80, 80])
  }
}
