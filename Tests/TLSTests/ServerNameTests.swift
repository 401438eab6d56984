// Which certificate a client gets: exact before wildcard before the first; RSA and ECDSA for one
// name.

import COpenSSL
import Testing

@testable import TLS

@Suite struct ServerNameTests {
  private static let all: [CertificateSource] = {
    let certificates = TestCertificates.shared
    return [
      certificates.main, certificates.wildcard, certificates.exact, certificates.shop,
      certificates.shopRSA, certificates.commonName,
    ]
  }()

  private func certificate(
    for name: String?, version: Int32 = TLS1_3_VERSION, ciphers: String? = nil,
    signatures: String? = nil, from sources: [CertificateSource] = all
  ) throws -> String {
    let (_, client) = connect(
      try makeContext(sources),
      PlainPeer.Settings(
        version: version, serverName: name, ciphers: ciphers, signatures: signatures))
    #expect(client.isConnected)
    return client.certificateName
  }

  @Test(
    arguments: [
      ("default.example", "main.example"), ("shop.example", "shop.example"),
      ("www.shop.example", "shop.example"), ("SHOP.Example", "shop.example"),
      ("exact.example.org", "exact.example"), ("other.example.org", "wildcard.example"),
      ("OTHER.example.ORG", "wildcard.example"), ("a.b.example.org", "main.example"),
      ("example.org", "main.example"), ("unknown.example", "main.example"),
      ("common.example", "common.example"), ("xshop.example", "main.example"),
      ("hop.example", "main.example"), ("*.example.org", "main.example"),
    ])
  func theServerNameChoosesTheCertificate(name: String, expected: String) throws {
    #expect(try certificate(for: name) == expected)
    #expect(try certificate(for: name, version: TLS1_2_VERSION) == expected)
  }

  @Test func noServerNameGetsTheFirstCertificate() throws {
    #expect(try certificate(for: nil) == "main.example")
    #expect(try certificate(for: nil, version: TLS1_2_VERSION) == "main.example")
  }

  @Test func theCommonNameCountsOnlyWithoutAlternativeNames() throws {
    // `exact.example` is the common name of a certificate that has alternative names.
    #expect(try certificate(for: "exact.example") == "main.example")
  }

  @Test func aNameWithRSAAndECDSAServesBoth() throws {
    let ecdsa = try certificate(
      for: "shop.example", version: TLS1_2_VERSION, ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256")
    let rsa = try certificate(
      for: "shop.example", version: TLS1_2_VERSION, ciphers: "ECDHE-RSA-AES128-GCM-SHA256")
    #expect(ecdsa == "shop.example" && rsa == "shop-rsa.example")
    #expect(
      try certificate(for: "shop.example", signatures: "rsa_pss_rsae_sha256") == "shop-rsa.example")
    #expect(
      try certificate(for: "shop.example", signatures: "ecdsa_secp256r1_sha256") == "shop.example")
  }

  @Test func aNameThatOnlyOneOfAPairCarriesIsServedByThatOne() throws {
    let server = ServerSide(try makeContext(Self.all))
    let client = PlainPeer(
      PlainPeer.Settings(
        version: TLS1_2_VERSION, serverName: "www.shop.example",
        ciphers: "ECDHE-RSA-AES128-GCM-SHA256"))
    pump(server, client)
    #expect(server.failureKind == .noSharedCipher)
  }

  @Test func ofTwoCertificatesOfOneKindTheFirstListedWins() throws {
    let certificates = TestCertificates.shared
    let groups = CertificateGroups(
      names: [[Array("a".utf8)], [Array("a".utf8), Array("b".utf8)]], keyTypes: [1, 1])
    #expect(groups.groups == [[0], [1]])
    #expect(groups.groupsByName.map(\.group) == [0, 1])
    #expect(
      try certificate(for: nil, from: [certificates.shop, certificates.main]) == "shop.example")
  }

  @Test func namesWithTheSameCertificatesShareAGroup() {
    let a = Array("a".utf8)
    let b = Array("b".utf8)
    let groups = CertificateGroups(names: [[a, b], [a, b], [b]], keyTypes: [1, 2, 3])
    #expect(groups.groups == [[0, 1], [0, 1, 2]])
    #expect(groups.groupsByName.map(\.group) == [0, 1])
  }

  @Test func certificatesWithoutNamesServeOnlyAsTheDefault() {
    let groups = CertificateGroups(names: [[], [Array("a".utf8)]], keyTypes: [1, 1])
    #expect(groups.groups == [[0], [1]])
    #expect(groups.groupsByName.map(\.group) == [1])
  }

  @Test func tenThousandNamesAreToldApart() {
    let names = (0..<10_000).map { Array("host\($0).example.net".utf8) }
    let table = ServerNameTable(names.enumerated().map { ($0.element, $0.offset) })
    for (number, name) in names.enumerated() where number % 7 == 0 {
      #expect(name.withUnsafeBytes { table.group(for: $0) } == number)
    }
    #expect(Array("host10000.example.net".utf8).withUnsafeBytes { table.group(for: $0) } == nil)
  }

  @Test(
    arguments: [
      "", ".", "..", "a..example.org", ".example.org", "a\0.example.org", "ä.example.org",
      "a b.example.org", "*.example.org", String(repeating: "a", count: 254),
    ])
  func strangeServerNamesMatchNothing(name: String) {
    let table = ServerNameTable([(Array("*.example.org".utf8), 1), (Array("*.".utf8), 2)])
    #expect(Array(name.utf8).withUnsafeBytes { table.group(for: $0) } == nil)
  }

  @Test func aFinalDotAndTheLongestNameMatch() {
    let long = String(repeating: "a.", count: 126) + "b"
    let table = ServerNameTable([(Array(long.utf8), 3), (Array("*.example.org".utf8), 1)])
    #expect(long.utf8.count == 253)
    #expect(Array(long.utf8).withUnsafeBytes { table.group(for: $0) } == 3)
    #expect(Array("X.example.org.".utf8).withUnsafeBytes { table.group(for: $0) } == 1)
  }

  @Test func aServerNameExtensionIsReadOnlyIfItIsWhole() {
    func parse(_ bytes: [UInt8]) -> [UInt8]? {
      bytes.withUnsafeBytes { ServerCallbacks.hostName(in: $0).map { Array($0) } }
    }
    #expect(parse([0, 4, 0, 0, 1, 97]) == [97])
    #expect(parse([0, 4, 0, 0, 2, 97]) == nil)
    #expect(parse([0, 5, 0, 0, 1, 97]) == nil)
    #expect(parse([0, 4, 1, 0, 1, 97]) == nil)
    #expect(parse([0, 3, 0, 0, 0]) == nil)
    #expect(parse([0, 0]) == nil)
    #expect(parse([]) == nil)
  }
}
