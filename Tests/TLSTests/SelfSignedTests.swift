// A certificate made for a trial can be served, and a client that is told to trust it finds the
// address that it is for and no other.

import Foundation
import TLS
import Testing

@Suite("Self-signed certificates")
struct SelfSignedTests {
  @Test("one is accepted by the checks that every served certificate passes")
  func served() throws {
    let folder = NSTemporaryDirectory() + "millrace-self-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let made = try SelfSigned(names: ["DNS:localhost", "IP:127.0.0.1"])
    try made.certificate.write(toFile: folder + "/a.pem", atomically: true, encoding: .utf8)
    try made.key.write(toFile: folder + "/a.key", atomically: true, encoding: .utf8)
    let source = CertificateSource(certificatePath: folder + "/a.pem", keyPath: folder + "/a.key")
    #expect(TLSContext.check(source).isEmpty)
    // OpenSSL's own verdict: the chain, the address, and an address that it is not for.
    #expect(verify(folder, "127.0.0.1") == 0)
    #expect(verify(folder, "127.0.0.2") != 0)
  }

  private func verify(_ folder: String, _ address: String) -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "openssl", "verify", "-CAfile", folder + "/a.pem", "-purpose", "sslserver", "-verify_ip",
      address, folder + "/a.pem",
    ]
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    do { try process.run() } catch { return -1 }
    process.waitUntilExit()
    return process.terminationStatus
  }
}
