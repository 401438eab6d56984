// The CAs that a client trusts: those of a file, or those of the system. All of them are read
// when a context is made, so that no handshake opens a file: OpenSSL's own way to the system's folder
// looks there whenever it misses an issuer.

import COpenSSL
import Glibc

enum TrustedAuthorities {
  /// Makes `context`, an SSL_CTX, trust the CAs of a file; false with the reason in OpenSSL's
  /// queue if it holds none.
  static func load(_ path: String, into context: OpaquePointer) -> Bool {
    SSL_CTX_load_verify_file(context, path) == 1
  }

  /// The same for the system's. A file among them that holds none is passed over.
  static func loadSystem(into context: OpaquePointer) -> Bool {
    var count = 0
    for path in systemFiles() where SSL_CTX_load_verify_file(context, path) == 1 { count += 1 }
    if count > 0 { ERR_clear_error() }
    return count > 0
  }

  /// Where the system's are looked for, as OpenSSL was built or as its environment variables say.
  static var systemFile: String {
    setting(X509_get_default_cert_file_env()) ?? String(cString: X509_get_default_cert_file())
  }
  static var systemFolders: String {
    setting(X509_get_default_cert_dir_env()) ?? String(cString: X509_get_default_cert_dir())
  }

  /// The bundle, and the files of the folders that are named by the hash of a subject
  /// (openssl-rehash(1)).
  static func systemFiles() -> [String] {
    var files: [String] = []
    if access(systemFile, R_OK) == 0 { files.append(systemFile) }
    for folder in systemFolders.split(separator: ":") {
      files += names(in: String(folder)).filter(isHashed).sorted().map { "\(folder)/\($0)" }
    }
    return files
  }

  private static func setting(_ name: UnsafePointer<CChar>?) -> String? {
    guard let name, let value = getenv(name) else { return nil }
    return String(cString: value)
  }

  private static func names(in folder: String) -> [String] {
    guard let list = opendir(folder) else { return [] }
    defer { closedir(list) }
    var names: [String] = []
    let place = MemoryLayout<dirent>.offset(of: \.d_name) ?? 0
    while let entry = readdir(list) {
      // SAFETY: the name ends with a zero; the entry may be shorter than its type.
      let name = (UnsafeRawPointer(entry) + place).assumingMemoryBound(to: CChar.self)
      names.append(String(cString: name))
    }
    return names
  }

  /// Eight hexadecimal digits, a dot and a number; with an `r` before it the number is a revocation
  /// list's.
  private static func isHashed(_ name: String) -> Bool {
    let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    let letters = UInt8(ascii: "a")...UInt8(ascii: "f")
    return parts.count == 2 && parts[0].count == 8 && !parts[1].isEmpty
      && parts[0].allSatisfy { digits.contains($0) || letters.contains($0 | 0x20) }
      && parts[1].allSatisfy { digits.contains($0) }
  }
}

extension TLSClientContext {
  /// Everything that is wrong with a file of authorities; empty if it can be used. Reads it; not for the
  /// loop.
  public static func checkAuthorities(_ path: String) -> [CertificateProblem] {
    guard OpenSSLLibrary.isReady else { return [] }
    var problems: [CertificateProblem] = []
    for certificate in CertificatePair.readCertificates(path, &problems) { X509_free(certificate) }
    return problems
  }

  /// What is wrong with the system's authorities: nil if there are any.
  public static func checkSystemAuthorities() -> CertificateProblem? {
    guard OpenSSLLibrary.isReady, let scratch = SSL_CTX_new(TLS_client_method()) else { return nil }
    defer { SSL_CTX_free(scratch) }
    if TrustedAuthorities.loadSystem(into: scratch) { return nil }
    ERR_clear_error()
    return CertificateProblem(
      severity: .error, file: .certificate, path: TrustedAuthorities.systemFile,
      kind: .certificateMissing,
      what: "the system has no trusted CAs: there are none in \(TrustedAuthorities.systemFile) or"
        + " \(TrustedAuthorities.systemFolders)",
      hint: "install them (ca-certificates), or set ca to the PEM file of a CA", code: 0)
  }
}
