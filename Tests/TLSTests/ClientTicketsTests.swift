// What clients keep to resume with: how many, for how often, and what is not kept.

import TLS
import Testing

@Suite struct ClientTicketsTests {
  private let certificates = TestCertificates.shared

  private func context(keepsTickets: Bool = true) throws -> TLSClientContext {
    try TLSClientContext(
      trust: .file(certificates.main.certificatePath), keepsTickets: keepsTickets)
  }

  private func connect(
    _ server: TLSContext, _ client: TLSClientContext, _ tickets: ClientTickets? = nil
  ) -> (server: ServerSide, client: ServerSide) {
    let client = ServerSide(client: client, host: "default.example", tickets: tickets)
    let server = ServerSide(server)
    client.give([])
    for _ in 0..<10 {
      let request = client.take()
      if !request.isEmpty { server.give(request) }
      let answer = server.take()
      if !answer.isEmpty { client.give(answer) }
    }
    return (server, client)
  }

  @Test func aTicketResumesOnce() throws {
    let (server, client) = (try makeContext(), try context())
    let first = connect(server, client)
    #expect(first.client.isHandshakeComplete && !first.client.isResumed)
    let tickets = try #require(first.client.takeTickets())
    #expect(tickets.count == 1)
    #expect(first.client.takeTickets() == nil)
    let second = connect(server, client, tickets)
    #expect(second.client.isResumed && second.server.isResumed)
    #expect(tickets.count == 0)
    tickets.add(try #require(second.client.takeTickets()))
    #expect(tickets.count == 1)
    #expect(connect(server, client, tickets).client.isResumed)
  }

  @Test func aTicketOutlivesASessionThatWasCut() throws {
    let (server, client) = (try makeContext(), try context())
    var tickets: ClientTickets?
    do {
      let first = connect(server, client)
      tickets = first.client.takeTickets()
      first.client.end()
      #expect(first.client.failureKind == .truncated)
    }
    #expect(connect(server, client, try #require(tickets)).client.isResumed)
  }

  @Test func aTicketThatTheServerCannotOpenMeansAFullHandshake() throws {
    let client = try context()
    let tickets = try #require(connect(try makeContext(), client).client.takeTickets())
    let (_, second) = connect(try makeContext(), client, tickets)
    #expect(second.isHandshakeComplete && !second.isResumed)
  }

  @Test func thereIsABound() throws {
    let (server, client) = (try makeContext(), try context())
    let tickets = ClientTickets()
    for _ in 0..<12 {
      tickets.add(try #require(connect(server, client).client.takeTickets()))
    }
    #expect(tickets.count == 8)
    tickets.removeAll()
    #expect(tickets.count == 0)
    #expect(!connect(server, client, tickets).client.isResumed)
  }

  @Test func whoeverWantsNoneKeepsNone() throws {
    let (_, client) = connect(try makeContext(), try context(keepsTickets: false))
    #expect(client.isHandshakeComplete)
    #expect(client.takeTickets() == nil)
  }
}
