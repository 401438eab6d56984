// The certificates of these tests, made by the `openssl` command in a temporary folder, once per
// process.

import Foundation
import TLS

/// A folder of certificates and keys.
struct TestCertificates: Sendable {
  static let shared = TestCertificates()

  let folder: String

  /// ECDSA, for `default.example`.
  var main: CertificateSource { source("main") }
  /// ECDSA, for `shop.example` and `www.shop.example`.
  var shop: CertificateSource { source("shop") }
  /// RSA, for `shop.example`.
  var shopRSA: CertificateSource { source("shop-rsa") }
  /// ECDSA, for `*.example.org`.
  var wildcard: CertificateSource { source("wildcard") }
  /// ECDSA, for `exact.example.org`.
  var exact: CertificateSource { source("exact") }
  /// ECDSA, no alternative name, common name `common.example`.
  var commonName: CertificateSource { source("common") }
  /// RSA of 1024 bits, below security level 2.
  var weak: CertificateSource { source("weak") }

  private init() {
    folder = Self.folderOfThisProcess
    atexit { try? FileManager.default.removeItem(atPath: TestCertificates.folderOfThisProcess) }
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    make("main", "DNS:default.example,IP:127.0.0.1")
    make("shop", "DNS:shop.example,DNS:www.shop.example")
    make("shop-rsa", "DNS:shop.example", key: ["rsa:2048"])
    make("wildcard", "DNS:*.example.org")
    make("exact", "DNS:exact.example.org")
    make("common", nil)
    make("weak", "DNS:weak.example", key: ["rsa:1024"])
  }

  private static var folderOfThisProcess: String {
    NSTemporaryDirectory() + "millrace-tls-\(ProcessInfo.processInfo.processIdentifier)"
  }

  func path(_ name: String) -> String { folder + "/" + name }

  func source(_ name: String) -> CertificateSource {
    CertificateSource(certificatePath: path(name + ".pem"), keyPath: path(name + ".key"))
  }

  /// Writes a file of the folder and returns its path.
  func write(_ name: String, _ text: String) -> String {
    try? text.write(toFile: path(name), atomically: true, encoding: .utf8)
    return path(name)
  }

  func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

  func openssl(_ arguments: [String]) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["openssl"] + arguments
    process.standardError = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    do { try process.run() } catch { fatalError("openssl cannot be run: \(error)") }
    process.waitUntilExit()
    precondition(process.terminationStatus == 0, "openssl \(arguments) failed")
  }

  private func make(
    _ name: String, _ alternativeName: String?,
    key: [String] = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
  ) {
    var arguments = ["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=\(name).example"]
    arguments += ["-keyout", path(name + ".key"), "-out", path(name + ".pem"), "-newkey"] + key
    if let alternativeName { arguments += ["-addext", "subjectAltName=" + alternativeName] }
    openssl(arguments)
  }
}
