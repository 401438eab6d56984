// What `check` finds in files that are missing, unreadable, malformed, swapped, mismatched or
// stale, and that a context refuses what `check` calls an error.

import Foundation
import TLS
import Testing

@Suite struct CertificateCheckTests {
  private let certificates = TestCertificates.shared

  private func problems(
    _ certificate: String, _ key: String, now: Int64? = nil
  ) -> [CertificateProblem] {
    TLSContext.check(CertificateSource(certificatePath: certificate, keyPath: key), now: now)
  }

  /// Expects one problem, and that a context fails with it.
  private func expectOne(
    _ kind: TLSFailure.Kind, _ certificate: String, _ key: String,
    at file: CertificateProblem.File, says text: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let found = problems(certificate, key)
    #expect(found.map(\.kind) == [kind], sourceLocation: sourceLocation)
    #expect(found.first?.file == file, sourceLocation: sourceLocation)
    #expect(found.first?.severity == .error, sourceLocation: sourceLocation)
    let line = found.first?.description ?? ""
    #expect(line.contains(text), "\(line)", sourceLocation: sourceLocation)
    let path = file == .certificate ? certificate : key
    #expect(found.first?.path == path, sourceLocation: sourceLocation)
    do {
      _ = try makeContext([CertificateSource(certificatePath: certificate, keyPath: key)])
      Issue.record("a context accepted it", sourceLocation: sourceLocation)
    } catch {
      let failure = error as? TLSFailure
      #expect(failure?.kind == kind && failure?.path == path, sourceLocation: sourceLocation)
      #expect(failure?.stage == .configuration, sourceLocation: sourceLocation)
      #expect("\(error)".contains(path), sourceLocation: sourceLocation)
    }
  }

  @Test func aGoodPairHasNoProblem() {
    #expect(TLSContext.check(certificates.main).isEmpty)
    #expect(TLSContext.check(certificates.shopRSA).isEmpty)
  }

  @Test func noCertificateAtAllIsRefused() {
    #expect(throws: TLSFailure(stage: .configuration, kind: .noCertificates)) {
      try makeContext([])
    }
  }

  @Test func missingFilesAreNamed() {
    let main = certificates.main
    expectOne(
      .certificateMissing, certificates.path("none.pem"), main.keyPath, at: .certificate,
      says: "does not exist")
    expectOne(
      .keyMissing, main.certificatePath, certificates.path("none.key"), at: .key,
      says: "check the path")
    expectOne(
      .certificateMissing, main.keyPath + "/x.pem", main.keyPath, at: .certificate,
      says: "does not exist")
  }

  @Test func bothFilesAreReportedAtOnce() {
    let found = problems(certificates.path("none.pem"), certificates.path("none.key"))
    #expect(found.map(\.kind) == [.certificateMissing, .keyMissing])
  }

  @Test func aDirectoryIsUnreadable() {
    let main = certificates.main
    expectOne(
      .certificateUnreadable, certificates.folder, main.keyPath, at: .certificate,
      says: "is a directory")
    expectOne(
      .keyUnreadable, main.certificatePath, certificates.folder, at: .key, says: "is a directory")
  }

  @Test(.enabled(if: geteuid() != 0, "root may read everything"))
  func aFileWithoutPermissionIsUnreadable() {
    let main = certificates.main
    let path = certificates.write("secret.key", certificates.text(main.keyPath))
    chmod(path, 0)
    expectOne(.keyUnreadable, main.certificatePath, path, at: .key, says: "Permission denied")
  }

  @Test func aLoopOfLinksIsUnreadable() {
    let main = certificates.main
    let path = certificates.path("loop-\(UUID().uuidString).pem")
    try? FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: path)
    expectOne(
      .certificateUnreadable, path, main.keyPath, at: .certificate, says: "symbolic links")
  }

  @Test func emptyAndForeignFilesAreMalformed() {
    let main = certificates.main
    let empty = certificates.write("empty.pem", "")
    let foreign = certificates.write("foreign.pem", "hello\nworld\n")
    expectOne(.certificateMalformed, empty, main.keyPath, at: .certificate, says: "is empty")
    expectOne(.keyMalformed, main.certificatePath, empty, at: .key, says: "is empty")
    expectOne(
      .certificateMalformed, foreign, main.keyPath, at: .certificate, says: "BEGIN")
    expectOne(.keyMalformed, main.certificatePath, foreign, at: .key, says: "BEGIN")
  }

  @Test func swappedFilesAreSuspected() {
    let main = certificates.main
    let found = problems(main.keyPath, main.certificatePath)
    #expect(found.map(\.kind) == [.certificateMalformed, .keyMalformed])
    #expect(found.allSatisfy { $0.hint.contains("swapped") })
    #expect(found[0].what.contains("PRIVATE KEY"))
  }

  @Test func derIsRecognised() {
    let main = certificates.main
    let certificate = certificates.path("main.der")
    let key = certificates.path("main-key.der")
    certificates.openssl([
      "x509", "-in", main.certificatePath, "-outform", "der", "-out", certificate,
    ])
    certificates.openssl(["pkey", "-in", main.keyPath, "-outform", "der", "-out", key])
    expectOne(
      .certificateMalformed, certificate, main.keyPath, at: .certificate,
      says: "openssl x509 -inform der")
    expectOne(.keyMalformed, main.certificatePath, key, at: .key, says: "openssl pkey -inform der")
  }

  @Test func damagedContentsAreMalformed() {
    let main = certificates.main
    func damage(_ path: String, _ name: String) -> String {
      var lines = certificates.text(path).split(separator: "\n", omittingEmptySubsequences: false)
      lines[2] = "!!!" + lines[2].dropFirst(3)
      return certificates.write(name, lines.joined(separator: "\n"))
    }
    expectOne(
      .certificateMalformed, damage(main.certificatePath, "damaged.pem"), main.keyPath,
      at: .certificate, says: "number 1 in the file is damaged")
    expectOne(
      .keyMalformed, main.certificatePath, damage(main.keyPath, "damaged.key"), at: .key,
      says: "damaged")
  }

  @Test func aDamagedIntermediateIsCounted() {
    let main = certificates.main
    var second = certificates.text(certificates.shop.certificatePath)
    second.insert("!", at: second.index(second.startIndex, offsetBy: 40))
    let path = certificates.write(
      "chain-damaged.pem", certificates.text(main.certificatePath) + second)
    expectOne(
      .certificateMalformed, path, main.keyPath, at: .certificate,
      says: "number 2 in the file is damaged")
  }

  @Test func anEncryptedKeyIsRefusedWithoutAPrompt() {
    let main = certificates.main
    let path = certificates.path("encrypted.key")
    certificates.openssl(
      ["pkey", "-in", main.keyPath, "-aes256", "-passout", "pass:secret", "-out", path])
    expectOne(.keyEncrypted, main.certificatePath, path, at: .key, says: "passphrase")
  }

  @Test func aForeignKeyIsAMismatch() {
    expectOne(
      .keyMismatch, certificates.main.certificatePath, certificates.shop.keyPath, at: .key,
      says: "does not belong")
    expectOne(
      .keyMismatch, certificates.main.certificatePath, certificates.shopRSA.keyPath, at: .key,
      says: "does not belong")
  }

  @Test func aChainInTheWrongOrderIsRecognised() {
    let path = certificates.write(
      "order.pem",
      certificates.text(certificates.shop.certificatePath)
        + certificates.text(certificates.main.certificatePath))
    expectOne(
      .keyMismatch, path, certificates.main.keyPath, at: .key,
      says: "certificate number 2")
  }

  @Test func aWeakKeyIsRefused() {
    let weak = certificates.weak
    expectOne(
      .certificateRefused, weak.certificatePath, weak.keyPath, at: .certificate, says: "too small")
  }

  @Test func theKeyAndTheCertificateMayShareAFile() throws {
    let main = certificates.main
    let path = certificates.write(
      "both.pem", certificates.text(main.keyPath) + certificates.text(main.certificatePath))
    #expect(problems(path, path).isEmpty)
    let both = CertificateSource(certificatePath: path, keyPath: path)
    #expect(connect(try makeContext([both])).client.isConnected)
  }

  @Test func staleCertificatesAreWarnings() throws {
    let main = certificates.main
    let now = Int64(Date().timeIntervalSince1970)
    let day: Int64 = 86_400
    #expect(problems(main.certificatePath, main.keyPath, now: now + 29 * day).isEmpty)
    let late = problems(main.certificatePath, main.keyPath, now: now + 33 * day)
    #expect(late.map(\.kind) == [.certificateExpired])
    #expect(late.map(\.severity) == [.warning])
    #expect(
      late[0].what.contains("expired 2 days ago") || late[0].what.contains("expired 3 days ago"))
    let early = problems(main.certificatePath, main.keyPath, now: now - 2 * day)
    #expect(early.map(\.kind) == [.certificateNotYetValid])
    #expect(early.map(\.severity) == [.warning])
  }
}
