// The client side against the server side, both of this room.

import TLS
import Testing

@Suite struct ClientSessionTests {
  private let certificates = TestCertificates.shared

  private func connect(
    host: String, trust: TLSClientContext.Trust? = nil, fragment: Int = .max,
    server alpn: [String] = ["http/1.1"]
  ) throws -> (server: ServerSide, client: ServerSide) {
    let server = ServerSide(try makeContext(alpn: alpn))
    let context = try TLSClientContext(trust: trust ?? .file(certificates.main.certificatePath))
    let client = ServerSide(client: context, host: host)
    server.fragment = fragment
    client.fragment = fragment
    client.give([])
    for _ in 0..<10 {
      let request = client.take()
      if !request.isEmpty { server.give(request) }
      let answer = server.take()
      if !answer.isEmpty { client.give(answer) }
    }
    return (server, client)
  }

  @Test(arguments: ["default.example", "127.0.0.1"], [1, 100, 10_000])
  func aTrustedServerOfThatNameIsAccepted(host: String, fragment: Int) throws {
    let (server, client) = try connect(host: host, fragment: fragment)
    #expect(client.isHandshakeComplete && server.isHandshakeComplete)
    #expect(client.completions == 1)
    // An address is never sent as a server name.
    #expect(server.serverName == (host == "127.0.0.1" ? [] : Array(host.utf8)))
    #expect(client.alpn == Array("http/1.1".utf8))
    client.send(pattern(50_000))
    server.give(client.take())
    #expect(server.received == pattern(50_000))
    server.send(pattern(60_000, seed: 2))
    client.give(server.take())
    #expect(client.received == pattern(60_000, seed: 2))
    client.close()
    server.give(client.take())
    #expect(server.progress == .peerClosed)
  }

  @Test(arguments: ["other.example", "127.0.0.2"])
  func anotherNameIsRefused(host: String) throws {
    let (server, client) = try connect(host: host)
    #expect(client.failureKind == .hostNameMismatch)
    #expect(!server.isHandshakeComplete)
    guard case .alertReceived = server.failureKind else {
      Issue.record("the server was not told: \(String(describing: server.failureKind))")
      return
    }
  }

  @Test func anUnknownAuthorityIsRefused() throws {
    let (server, client) = try connect(
      host: "default.example", trust: .file(certificates.shop.certificatePath))
    #expect(client.failureKind == .unknownCA)
    #expect(server.failureKind == .alertReceived(48))
  }

  @Test func anyoneIsBelievedWhenAskedTo() throws {
    let (_, client) = try connect(host: "other.example", trust: .anyone)
    #expect(client.isHandshakeComplete)
  }

  @Test func theServersRefusalIsReported() throws {
    let (_, client) = try connect(host: "default.example", server: ["h2"])
    #expect(client.failureKind == .alertReceived(120))
  }

  @Test func missingAuthoritiesAreNamed() {
    let path = certificates.path("no-authorities.pem")
    do {
      _ = try TLSClientContext(trust: .file(path))
      Issue.record("accepted")
    } catch {
      #expect(error.kind == .certificateUnreadable && error.path == path)
    }
  }
}
