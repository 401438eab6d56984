// The handshake over memory, in every fragmentation and version, and what it negotiates.

import COpenSSL
import TLS
import Testing

@Suite struct HandshakeTests {
  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func everyFragmentSizeCompletesTheHandshakeOnce(version: Int32) throws {
    let context = try makeContext()
    for fragment in Array(1...40) + [63, 64, 65, 127, 255, 256, 511, 1000] {
      let (server, client) = connect(
        context, PlainPeer.Settings(version: version), fragment: fragment)
      #expect(client.isConnected && server.isHandshakeComplete, "fragment \(fragment)")
      #expect(server.completions == 1)
    }
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION], [1, 2, 3, 5, 100, 1000])
  func anyOutputAreaCompletesTheHandshake(version: Int32, area: Int) throws {
    let (server, client) = connect(
      try makeContext(), PlainPeer.Settings(version: version), outputArea: area)
    #expect(client.isConnected && server.isHandshakeComplete)
    #expect(!server.hasPendingOutput)
  }

  @Test func dataInTheFlightOfTheFinishedIsGivenInTheSameCall() throws {
    let server = ServerSide(try makeContext())
    let client = PlainPeer()
    client.step()
    server.give(client.take())
    client.give(server.take())
    client.step()
    client.write(Array("early".utf8))
    server.give(client.take())
    #expect(server.completions == 1)
    #expect(server.received == Array("early".utf8))
  }

  @Test func anEmptyPlaintextAreaIsEnoughForTheHandshakeAndHoldsDataBack() throws {
    let server = ServerSide(try makeContext())
    let client = PlainPeer()
    client.step()
    server.give(client.take())
    client.give(server.take())
    client.step()
    client.write(Array("early".utf8))
    let flight = client.take()
    var output = [UInt8](repeating: 0, count: 4096)
    let none = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    let transfer = flight.withUnsafeBytes { input in
      output.withUnsafeMutableBytes { server.session.receive(input, plaintext: none, output: $0) }
    }
    #expect(transfer.handshakeCompleted)
    #expect(transfer.progress == .plaintextFull)
    #expect(transfer.consumed < flight.count)
    server.give(Array(flight[transfer.consumed...]))
    #expect(server.received == Array("early".utf8))
  }

  @Test func theFactsOfATLS13SessionAreTold() throws {
    let (server, _) = connect(
      try makeContext(), PlainPeer.Settings(serverName: "Default.Example", alpn: ["http/1.1"]))
    #expect(server.version == .tls13)
    #expect(server.version.label.description == "TLSv1.3")
    #expect(server.cipherName.hasPrefix("TLS_AES_"))
    #expect(server.serverName == Array("Default.Example".utf8))
    #expect(server.alpn == Array("http/1.1".utf8))
    #expect(!server.isResumed)
    #expect(!server.pendingPlaintext)
    #expect(server.failure == nil)
  }

  @Test func theFactsOfATLS12SessionAreTold() throws {
    let (server, client) = connect(
      try makeContext(),
      PlainPeer.Settings(version: TLS1_2_VERSION, ciphers: "ECDHE-ECDSA-CHACHA20-POLY1305"))
    #expect(server.version == .tls12)
    let name = server.cipherName
    #expect(name == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
    #expect(name == client.cipherName)
    #expect(server.serverName.isEmpty)
    #expect(server.alpn.isEmpty)
  }

  @Test func factsBeforeTheHandshakeAreEmpty() throws {
    let server = ServerSide(try makeContext())
    #expect(server.cipherName.isEmpty && server.serverName.isEmpty && server.alpn.isEmpty)
    #expect(!server.isHandshakeComplete && !server.isResumed)
  }

  @Test func theClientsOrderOfSuitesDecides() throws {
    let context = try makeContext()
    for first in ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384"] {
      let (_, client) = connect(
        context,
        PlainPeer.Settings(
          version: TLS1_2_VERSION, ciphers: first + ":ECDHE-ECDSA-AES128-GCM-SHA256"))
      #expect(String(cString: SSL_CIPHER_get_name(SSL_get_current_cipher(client.ssl))) == first)
    }
  }

  @Test(arguments: ["X25519", "P-256", "P-384"])
  func everyGroupOfTheProfileIsSpoken(group: String) throws {
    let (_, client) = connect(try makeContext(), PlainPeer.Settings(groups: group))
    #expect(client.isConnected)
  }

  @Test func aClientThatGuessesTheWrongGroupIsAskedAgain() throws {
    // P-521 is offered first and refused, so a HelloRetryRequest follows.
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(groups: "P-521:P-256"))
    #expect(client.isConnected && server.completions == 1)
  }
}
