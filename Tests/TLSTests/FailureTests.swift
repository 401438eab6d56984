// How sessions fail: what the peer did wrong, what it is told, and what a person reads.

import COpenSSL
import Foundation
import TLS
import Testing

@Suite struct FailureTests {
  private func fails(
    _ settings: PlainPeer.Settings, minimumVersion: TLSVersion = .tls12
  ) throws -> (server: ServerSide, client: PlainPeer) {
    let result = connect(try makeContext(minimumVersion: minimumVersion), settings)
    #expect(!result.server.isHandshakeComplete)
    #expect(result.server.failure?.stage == .handshake)
    return result
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func aClientThatDistrustsTheCertificateIsReported(version: Int32) throws {
    let trust = TestCertificates.shared.shop.certificatePath
    let (server, _) = connect(
      try makeContext(), PlainPeer.Settings(version: version, trust: trust))
    #expect(server.failureKind == .alertReceived(UInt8(SSL_AD_UNKNOWN_CA)))
    #expect(server.failure?.description.contains("unknown CA (48)") == true)
    #expect(server.failure?.label.description == "alert_received")
  }

  @Test func oldVersionsAreRefused() throws {
    let (server, client) = try fails(
      PlainPeer.Settings(version: TLS1_1_VERSION, ciphers: "ALL:@SECLEVEL=0"))
    #expect(server.failureKind == .unsupportedVersion)
    #expect(client.reason == SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION)
  }

  @Test func theMinimumVersionHolds() throws {
    let (server, _) = try fails(
      PlainPeer.Settings(version: TLS1_2_VERSION), minimumVersion: .tls13)
    #expect(server.failureKind == .unsupportedVersion)
    let allowed = connect(try makeContext(minimumVersion: .tls13))
    #expect(allowed.server.version == .tls13)
  }

  @Test(
    arguments: [
      "AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256",
      "DHE-RSA-AES128-GCM-SHA256",
    ])
  func suitesOutsideTheProfileAreRefused(suite: String) throws {
    let (server, client) = try fails(
      PlainPeer.Settings(version: TLS1_2_VERSION, ciphers: suite))
    #expect(server.failureKind == .noSharedCipher)
    #expect(client.reason == SSL_AD_REASON_OFFSET + SSL_AD_HANDSHAKE_FAILURE)
  }

  @Test func groupsOutsideTheProfileAreRefused() throws {
    let (server, _) = try fails(PlainPeer.Settings(groups: "P-521"))
    #expect(server.failureKind == .noSharedGroup)
  }

  @Test func signaturesThatNoCertificateCanMakeAreRefused() throws {
    let (server, _) = try fails(PlainPeer.Settings(signatures: "rsa_pss_rsae_sha256"))
    #expect(server.failureKind == .noSharedSignature)
  }

  @Test(
    arguments: [
      "GET / HTTP/1.1\r\n\r\n", "POST /x HTTP/1.1\r\n", "DELETE /x HTTP/1.1\r\n",
      "OPTIONS * HTTP/1.1\r\n", "CONNECT a:1 HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ], [1, 3, 5, 1000])
  func plainHTTPIsToldFromTLS(text: String, fragment: Int) throws {
    let server = ServerSide(try makeContext())
    server.fragment = fragment
    server.give(Array(text.utf8))
    #expect(server.failureKind == .notTLS)
    #expect(server.failure?.isPlainHTTP == true)
    #expect(server.failure?.description.contains("plain HTTP request sent to a TLS port") == true)
  }

  @Test(
    arguments: [
      [UInt8](repeating: 0, count: 64), [UInt8](repeating: 0xFF, count: 64),
      Array("SSH-2.0-OpenSSH_9.2\r\n".utf8), [0x17, 3, 3, 0, 4, 1, 2, 3, 4],
      [0x16, 0x47, 0x45, 0x54, 0x20, 0x2F],
    ])
  func garbageIsNotTLS(bytes: [UInt8]) throws {
    let server = ServerSide(try makeContext())
    server.give(bytes)
    #expect(server.failureKind == .notTLS)
    #expect(server.failure?.isPlainHTTP == (bytes.first == UInt8(ascii: "S")))
  }

  @Test func everySingleByteFlipOfAHelloEndsOrWaitsWithoutATrap() throws {
    let context = try makeContext()
    let client = PlainPeer(PlainPeer.Settings(serverName: "default.example", alpn: ["http/1.1"]))
    client.step()
    let hello = client.take()
    var failures = 0
    for index in hello.indices {
      var bytes = hello
      bytes[index] ^= 0x55
      let server = ServerSide(context)
      server.give(bytes)
      #expect(!server.isHandshakeComplete)
      if server.failure != nil { failures += 1 }
    }
    #expect(failures > 0)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func aFlippedBitInARecordIsFoundAndAnswered(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    client.write(pattern(50))
    var record = client.take()
    record[record.count - 1] ^= 1
    server.give(record)
    #expect(server.received.isEmpty)
    #expect(server.failureKind == .alertSent(UInt8(SSL_AD_BAD_RECORD_MAC)))
    #expect(server.failure?.stage == .read)
    client.give(server.take())
    _ = client.read()
    #expect(client.reason == SSL_AD_REASON_OFFSET + SSL_AD_BAD_RECORD_MAC)
  }

  @Test func anOversizedRecordIsRefused() throws {
    let (server, _) = connect(try makeContext())
    server.give([0x17, 3, 3, 0x48, 0x01] + [UInt8](repeating: 0, count: 100))
    #expect(server.failureKind == .alertSent(UInt8(SSL_AD_RECORD_OVERFLOW)))
  }

  @Test func aFatalAlertAfterTheHandshakeIsAReadFailure() throws {
    let (server, client) = connect(try makeContext())
    // A record that the client cannot open makes it send bad_record_mac, which must reach us as
    // such.
    var record = { () -> [UInt8] in
      server.send(pattern(20))
      return server.take()
    }()
    record[record.count - 1] ^= 1
    client.give(record)
    _ = client.read()
    server.give(client.take())
    #expect(server.failureKind == .alertReceived(UInt8(SSL_AD_BAD_RECORD_MAC)))
    #expect(server.failure?.stage == .read)
  }

  @Test func aRenegotiationIsRefusedAndEndsTheSession() throws {
    let (server, client) = connect(
      try makeContext(), PlainPeer.Settings(version: TLS1_2_VERSION))
    #expect(SSL_renegotiate(client.ssl) == 1)
    SSL_do_handshake(client.ssl)
    server.give(client.take())
    #expect(server.progress == .failed(.renegotiationRefused))
    #expect(server.completions == 1)
    client.give(server.take())
    _ = client.read()
    #expect(client.reason == SSL_R_NO_RENEGOTIATION)
  }

  @Test(arguments: [1, 2, 3, 100])
  func theAlertOfAFailureFitsAnyOutputArea(area: Int) throws {
    let (server, client) = connect(
      try makeContext(), PlainPeer.Settings(alpn: ["h2"]), outputArea: area)
    #expect(server.failureKind == .noApplicationProtocol)
    server.close()
    #expect(!server.hasPendingOutput)
    client.give(server.take())
    client.step()
    #expect(client.reason == SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL)
  }

  @Test func aFailedSessionStaysFailedAndConsumesNothing() throws {
    let server = ServerSide(try makeContext())
    server.give(Array("GET / HTTP/1.1\r\n".utf8))
    _ = server.take()
    server.give(pattern(10))
    #expect(server.progress == .failed(.notTLS))
    let transfer = server.sendOnce(pattern(10))
    #expect(transfer.progress == .failed(.notTLS) && transfer.consumed == 0)
    #expect(transfer.output == 0)
    server.end()
    #expect(server.progress == .failed(.notTLS))
  }

  @Test func oneSessionsFailureDoesNotReachAnother() throws {
    let context = try makeContext()
    let (server, client) = connect(context)
    let broken = ServerSide(context)
    broken.give(Array("GET / HTTP/1.1\r\n".utf8))
    // A stale entry in the thread's queue would make the next call look failed.
    client.write(pattern(10))
    server.give(client.take())
    #expect(server.progress == .wantsInput && server.received == pattern(10))
  }

  @Test func aStrangersErrorInTheQueueIsNoFailure() throws {
    let (server, client) = connect(try makeContext())
    client.write(pattern(10))
    let record = client.take()
    ERR_new()
    ERR_set_debug("file", 1, "function")
    withVaList([]) { ERR_vset_error(ERR_LIB_SSL, SSL_R_BAD_LENGTH, nil, $0) }
    #expect(ERR_peek_error() != 0)
    server.give(Array(record[..<7]))
    #expect(server.progress == .wantsInput)
    server.give(Array(record[7...]))
    #expect(server.received == pattern(10))
  }

  @Test func everyKindHasALabelOfItsOwn() {
    let kinds: [TLSFailure.Kind] = [
      .certificateMissing, .certificateUnreadable, .certificateMalformed, .certificateRefused,
      .certificateExpired, .certificateNotYetValid, .keyMissing, .keyUnreadable, .keyMalformed,
      .keyEncrypted, .keyMismatch, .noCertificates, .invalidALPN, .configurationRefused,
      .alertReceived(0), .alertSent(0), .noSharedCipher, .noSharedGroup, .noSharedSignature,
      .unsupportedVersion, .noApplicationProtocol, .notTLS, .renegotiationRefused, .truncated,
      .protocolError, .unknownCA, .hostNameMismatch, .peerCertificateRefused, .sendAfterClose,
      .outOfMemory, .libraryFailure,
    ]
    #expect(Set(kinds.map(\.label.description)).count == kinds.count)
    let sentences = kinds.map { TLSFailure(stage: .read, kind: $0).description }
    #expect(Set(sentences).count == kinds.count)
  }
}
