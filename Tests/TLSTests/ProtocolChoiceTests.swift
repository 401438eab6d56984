// ALPN: overlap, none, mismatch.

import COpenSSL
import TLS
import Testing

@Suite struct ProtocolChoiceTests {
  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func theServersFirstCommonProtocolIsChosen(version: Int32) throws {
    let context = try makeContext(alpn: ["h2", "http/1.1"])
    let both = connect(context, PlainPeer.Settings(version: version, alpn: ["http/1.1", "h2"]))
    #expect(both.server.alpn == Array("h2".utf8))
    let one = connect(context, PlainPeer.Settings(version: version, alpn: ["spdy/3", "http/1.1"]))
    #expect(one.server.alpn == Array("http/1.1".utf8))
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func aClientWithoutALPNIsServed(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    #expect(client.isConnected && server.alpn.isEmpty)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func noOverlapIsRefusedWithItsAlert(version: Int32) throws {
    let (server, client) = connect(
      try makeContext(), PlainPeer.Settings(version: version, alpn: ["h2"]))
    #expect(server.failureKind == .noApplicationProtocol)
    #expect(server.progress == .failed(.noApplicationProtocol))
    #expect(client.reason == SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL)
  }

  @Test func anEmptyListIgnoresALPN() throws {
    let (server, client) = connect(try makeContext(alpn: []), PlainPeer.Settings(alpn: ["h2"]))
    #expect(client.isConnected && server.alpn.isEmpty)
  }

  @Test(arguments: [0, 256])
  func aNameOutsideOneTo255BytesIsRefused(count: Int) {
    let name = String(repeating: "x", count: count)
    #expect(throws: TLSFailure(stage: .configuration, kind: .invalidALPN)) {
      try makeContext(alpn: ["http/1.1", name])
    }
  }

  @Test(arguments: [1, 255])
  func aNameOfOneTo255BytesIsSpoken(count: Int) throws {
    let name = String(repeating: "x", count: count)
    let (server, _) = connect(try makeContext(alpn: [name]), PlainPeer.Settings(alpn: [name]))
    #expect(server.alpn == Array(name.utf8))
  }
}
