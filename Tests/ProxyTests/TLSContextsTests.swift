// Which TLS contexts are kept from one plan to the next, by files on a real file system.

import Configuration
import Foundation
import TLS
import Testing

@testable import Proxy

@Suite("TLS contexts across plans")
final class TLSContextsTests {
  private let folder: String
  private let tickets = TicketKeys(
    randomBytes: { $0.initializeMemory(as: UInt8.self, repeating: 1) }, now: 0)

  init() throws {
    folder = NSTemporaryDirectory() + "millrace-contexts-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try renew("a")
    try renew("b")
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private func renew(_ name: String) throws {
    let pair = try SelfSigned(names: ["DNS:\(name).test"])
    try pair.certificate.write(toFile: "\(folder)/\(name).pem", atomically: true, encoding: .utf8)
    try pair.key.write(toFile: "\(folder)/\(name).key", atomically: true, encoding: .utf8)
  }

  private func pair(_ name: String) -> CertificateConfiguration {
    CertificateConfiguration(
      certificatePath: "\(folder)/\(name).pem", keyPath: "\(folder)/\(name).key")
  }

  /// A listener and an upstream for each name.
  private func configuration(_ names: String...) -> ProxyConfiguration {
    var configuration = ProxyConfiguration()
    for name in names {
      configuration.listeners.append(
        ListenerConfiguration(
          address: .ip(host: "127.0.0.1", port: 1), tls: ListenerTLS(certificates: [pair(name)])))
      configuration.upstreams.append(
        UpstreamConfiguration(
          name: name, servers: [], tls: UpstreamTLS(caPath: "\(folder)/\(name).pem")))
    }
    return configuration
  }

  private func next(
    _ contexts: TLSContexts, _ configuration: ProxyConfiguration
  ) throws -> TLSContexts {
    let sources = configuration.listeners.map {
      ($0.tls?.certificates ?? []).map { CertificateSource($0) }
    }
    return try contexts.next(configuration, sources, tickets)
  }

  @Test("those whose files and settings are the same are kept, wherever they stand")
  func kept() throws {
    let first = try next(TLSContexts(), configuration("a", "b"))
    let second = try next(first, configuration("b", "a"))
    #expect(
      second.listeners[0] === first.listeners[1] && second.listeners[1] === first.listeners[0])
    #expect(
      second.upstreams[0] === first.upstreams[1] && second.upstreams[1] === first.upstreams[0])
    #expect(second.renewed == [])
  }

  @Test("those whose files have other content are made anew, and the files are named")
  func renewed() throws {
    let first = try next(TLSContexts(), configuration("a", "b"))
    try renew("a")
    let second = try next(first, configuration("a", "b"))
    #expect(
      second.listeners[0] !== first.listeners[0] && second.listeners[1] === first.listeners[1])
    #expect(
      second.upstreams[0] !== first.upstreams[0] && second.upstreams[1] === first.upstreams[1])
    #expect(second.renewed == ["\(folder)/a.key", "\(folder)/a.pem"])
    // Touched, and the same.
    let text = try String(contentsOfFile: "\(folder)/a.pem", encoding: .utf8)
    try text.write(toFile: "\(folder)/a.pem", atomically: true, encoding: .utf8)
    #expect(try next(second, configuration("a", "b")).listeners[0] === second.listeners[0])
  }

  @Test("other settings make another one, and what cannot be made leaves those before as they were")
  func settings() throws {
    let first = try next(TLSContexts(), configuration("a"))
    var wanted = configuration("a")
    wanted.listeners[0].httpVersions = [.http2]
    wanted.upstreams[0].tls?.minimumVersion = .tls13
    let second = try next(first, wanted)
    #expect(second.listeners[0] !== first.listeners[0])
    #expect(second.upstreams[0] !== first.upstreams[0])
    try "nothing".write(toFile: "\(folder)/a.key", atomically: true, encoding: .utf8)
    #expect(throws: TLSFailure.self) { try next(first, configuration("a")) }
    #expect(first.listeners.count == 1)
  }

  @Test("the digest of a file is that of its content; none of one that cannot be read")
  func digests() throws {
    let path = "\(folder)/text"
    try "abc".write(toFile: path, atomically: true, encoding: .utf8)
    let digest = FileDigest.of(path)
    // FIPS 180-2, appendix B.1.
    #expect(digest.count == 32 && Array(digest.prefix(4)) == [0xBA, 0x78, 0x16, 0xBF])
    #expect(FileDigest.of(folder + "/missing") == [])
    #expect(FileDigest.of(folder) == [])
  }
}
