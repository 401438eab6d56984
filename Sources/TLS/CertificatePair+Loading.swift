// Reads the two files of a certificate and finds everything that is wrong with them, so that a
// person can mend all of it at once. OpenSSL does the reading; its error queue is emptied here.

import COpenSSL
import Glibc

extension CertificatePair {
  /// Loads a pair, appending what is wrong to `problems`; nil if any of that is an error.
  ///
  /// - Parameter now: seconds since 1970 against which validity is judged, nil for the current
  ///   time.
  static func load(
    _ source: CertificateSource, now: Int64?, problems: inout [CertificateProblem]
  ) -> CertificatePair? {
    guard OpenSSLLibrary.isReady else { return nil }
    ERR_clear_error()
    defer { ERR_clear_error() }
    let certificates = readCertificates(source.certificatePath, &problems)
    let key = readKey(source.keyPath, &problems)
    guard let leaf = certificates.first, let key else {
      for certificate in certificates { X509_free(certificate) }
      EVP_PKEY_free(key)
      return nil
    }
    let pair = CertificatePair(leaf: leaf, chain: Array(certificates.dropFirst()), key: key)
    let matches = pair.checkMatch(source, &problems)
    let isAccepted = pair.checkStrength(source, &problems)
    pair.checkValidity(source, now, &problems)
    return matches && isAccepted ? pair : nil
  }

  // MARK: What the files hold

  /// All certificates of the file, in order; empty if there is none that parses.
  static func readCertificates(
    _ path: String, _ problems: inout [CertificateProblem]
  ) -> [OpaquePointer] {
    guard let file = open(path, .certificate, &problems) else { return [] }
    defer { BIO_free(file) }
    var certificates: [OpaquePointer] = []
    while let certificate = PEM_read_bio_X509(file, nil, refusePassphrase, nil) {
      certificates.append(certificate)
    }
    let code = ERR_peek_last_error()
    let isEndOfFile =
      ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE
    ERR_clear_error()
    if isEndOfFile && !certificates.isEmpty { return certificates }
    if isEndOfFile {
      problems.append(nothingFound(in: file, path, .certificate, code))
    } else {
      problems.append(
        CertificateProblem(
          severity: .error, file: .certificate, path: path, kind: .certificateMalformed,
          what: "certificate number \(certificates.count + 1) in the file is damaged"
            + because(code),
          hint: "get it again from the certificate authority", code: code))
      for certificate in certificates { X509_free(certificate) }
    }
    return []
  }

  /// The file's private key, nil if there is none that parses.
  private static func readKey(
    _ path: String, _ problems: inout [CertificateProblem]
  ) -> OpaquePointer? {
    guard let file = open(path, .key, &problems) else { return nil }
    defer { BIO_free(file) }
    var wasAskedForPassphrase = false
    let key = withUnsafeMutablePointer(to: &wasAskedForPassphrase) {
      PEM_read_bio_PrivateKey(file, nil, refusePassphrase, $0)
    }
    if let key { return key }
    let code = ERR_peek_last_error()
    ERR_clear_error()
    if wasAskedForPassphrase {
      problems.append(
        CertificateProblem(
          severity: .error, file: .key, path: path, kind: .keyEncrypted,
          what: TLSFailure.Kind.keyEncrypted.sentence,
          hint:
            "remove it with `openssl pkey -in \(path) -out PLAIN.key` and protect the file by its "
            + "permissions", code: code))
    } else if !holdsKeyBlock(file) {
      problems.append(nothingFound(in: file, path, .key, code))
    } else {
      problems.append(
        CertificateProblem(
          severity: .error, file: .key, path: path, kind: .keyMalformed,
          what: "the private key is damaged" + because(code),
          hint: "restore it, or generate a new key and request a certificate for it", code: code))
    }
    return nil
  }

  /// Whether any PEM block of the file says that it is a private key, or is too damaged to say what
  /// it is. OpenSSL's decoders report `unsupported` for every file that they cannot use, so this
  /// has to look.
  private static func holdsKeyBlock(_ bio: OpaquePointer) -> Bool {
    _ = copenssl_BIO_rewind(bio)
    while let name = nextBlockName(bio) {
      if name.hasSuffix("PRIVATE KEY") { return true }
    }
    let code = ERR_peek_last_error()
    ERR_clear_error()
    return ERR_GET_REASON(code) != PEM_R_NO_START_LINE
  }

  /// Opens a file for reading, or says why it cannot be.
  private static func open(
    _ path: String, _ file: CertificateProblem.File, _ problems: inout [CertificateProblem]
  ) -> OpaquePointer? {
    // Opening a FIFO would wait for a writer. It could not be read at all: these files are read once
    // to be checked and once more to be used. Symbolic links are followed, as secrets are mounted.
    var facts = stat()
    let fileType = stat(path, &facts) == 0 ? facts.st_mode & S_IFMT : S_IFREG
    if fileType != S_IFREG && fileType != S_IFDIR {
      problems.append(
        CertificateProblem(
          severity: .error, file: file, path: path,
          kind: file == .certificate ? .certificateUnreadable : .keyUnreadable,
          what: "it is not a regular file", hint: "copy its content to a regular file", code: 0))
      return nil
    }
    // Only a directory has an entry of this name; stdio opens directories and reads nothing from
    // them.
    let directory = BIO_new_file(path + "/.", "r")
    let isDirectory = directory != nil
    BIO_free(directory)
    ERR_clear_error()
    if !isDirectory, let opened = BIO_new_file(path, "r") { return opened }
    let code = isDirectory ? 0 : ERR_peek_error()
    ERR_clear_error()
    // ENOENT and ENOTDIR have the numbers 2 and 20 on every Linux (asm-generic/errno-base.h).
    let number = ERR_GET_LIB(code) == ERR_LIB_SYS ? ERR_GET_REASON(code) : 0
    let isMissing = number == 2 || number == 20
    let isCertificate = file == .certificate
    let kind: TLSFailure.Kind =
      isMissing
      ? (isCertificate ? .certificateMissing : .keyMissing)
      : (isCertificate ? .certificateUnreadable : .keyUnreadable)
    let hint =
      isMissing
      ? "check the path"
      : isDirectory
        ? "write the path of a file in it"
        : "grant the user that millrace runs as read access to it and its directories"
    problems.append(
      CertificateProblem(
        severity: .error, file: file, path: path, kind: kind,
        what: isDirectory ? "it is a directory" : kind.sentence + because(code), hint: hint,
        code: code))
    return nil
  }

  /// Why a file that was read to its end held nothing of what was wanted.
  private static func nothingFound(
    in bio: OpaquePointer, _ path: String, _ file: CertificateProblem.File, _ code: UInt
  ) -> CertificateProblem {
    let isCertificate = file == .certificate
    let kind: TLSFailure.Kind = isCertificate ? .certificateMalformed : .keyMalformed
    let wanted = isCertificate ? "certificate" : "private key"
    var what = "it does not contain a PEM \(wanted)"
    var hint = "PEM starts with a line `-----BEGIN …-----`; check that this is the right file"
    _ = copenssl_BIO_rewind(bio)
    var first: UInt8 = 0
    let count = BIO_read(bio, &first, 1)
    _ = copenssl_BIO_rewind(bio)
    if count <= 0 {
      what = "it is empty"
      hint = "write the \(wanted) into it"
    } else if first == 0x30 {
      // 0x30 opens an ASN.1 SEQUENCE, with which every DER certificate and key begins.
      what = "it appears to be DER, but PEM is required"
      let tool = isCertificate ? "x509" : "pkey"
      hint = "convert it with `openssl \(tool) -inform der -in \(path) -out NEW.pem`"
    } else if let block = nextBlockName(bio) {
      what = "it contains a `\(block)` and no \(wanted)"
      hint = "check that certificate and key are not swapped"
    }
    return CertificateProblem(
      severity: .error, file: file, path: path, kind: kind, what: what, hint: hint, code: code)
  }

  /// The name of the next PEM block, whatever it is; nil with the reason in the queue if there is
  /// none.
  private static func nextBlockName(_ bio: OpaquePointer) -> String? {
    var name: UnsafeMutablePointer<CChar>?
    var header: UnsafeMutablePointer<CChar>?
    var data: UnsafeMutablePointer<UInt8>?
    var count = 0
    guard PEM_read_bio(bio, &name, &header, &data, &count) == 1, let name else { return nil }
    defer {
      copenssl_OPENSSL_free(name)
      copenssl_OPENSSL_free(header)
      // The block may be a private key.
      if let data { OPENSSL_cleanse(data, count) }
      copenssl_OPENSSL_free(data)
    }
    return String(cString: name)
  }

  // MARK: Whether they fit

  /// Whether the key belongs to the certificate; if it belongs to another one of the file, says so.
  private func checkMatch(
    _ source: CertificateSource, _ problems: inout [CertificateProblem]
  ) -> Bool {
    if X509_check_private_key(leaf, key) == 1 { return true }
    let code = ERR_peek_last_error()
    ERR_clear_error()
    var hint = "use the private key that belongs to the certificate"
    if let place = chain.firstIndex(where: { X509_check_private_key($0, key) == 1 }) {
      hint =
        "the key belongs to certificate number \(place + 2) in \(source.certificatePath): "
        + "put that one first"
    }
    ERR_clear_error()
    problems.append(
      CertificateProblem(
        severity: .error, file: .key, path: source.keyPath, kind: .keyMismatch,
        what: "the private key does not belong to the certificate in \(source.certificatePath)",
        hint: hint, code: code))
    return false
  }

  /// Whether OpenSSL's security level admits the certificate and its chain.
  private func checkStrength(
    _ source: CertificateSource, _ problems: inout [CertificateProblem]
  ) -> Bool {
    guard let scratch = SSL_CTX_new(TLS_server_method()) else { return false }
    defer { SSL_CTX_free(scratch) }
    var isAccepted = SSL_CTX_use_certificate(scratch, leaf) == 1
    for certificate in chain where isAccepted {
      isAccepted = copenssl_SSL_CTX_add1_chain_cert(scratch, certificate) == 1
    }
    let code = ERR_peek_last_error()
    ERR_clear_error()
    if isAccepted { return true }
    problems.append(
      CertificateProblem(
        severity: .error, file: .certificate, path: source.certificatePath,
        kind: .certificateRefused,
        what: TLSFailure.Kind.certificateRefused.sentence + because(code),
        hint: "request a new one with RSA 2048 bits or more, or ECDSA P-256, and SHA-256",
        code: code))
    return false
  }

  /// Warns when the certificate's validity does not cover `now`.
  private func checkValidity(
    _ source: CertificateSource, _ now: Int64?, _ problems: inout [CertificateProblem]
  ) {
    // A nil time means the current one to ASN1_TIME_diff.
    let moment = now.flatMap { ASN1_TIME_set(nil, Int($0)) }
    defer { ASN1_STRING_free(moment) }
    var days: Int32 = 0
    var seconds: Int32 = 0
    if ASN1_TIME_diff(&days, &seconds, moment, X509_get0_notAfter(leaf)) == 1,
      days < 0 || seconds < 0
    {
      problems.append(
        CertificateProblem(
          severity: .warning, file: .certificate, path: source.certificatePath,
          kind: .certificateExpired, what: "the certificate expired \(ago(days, seconds)) ago",
          hint: "renew it", code: 0))
    }
    if ASN1_TIME_diff(&days, &seconds, moment, X509_get0_notBefore(leaf)) == 1,
      days > 0 || seconds > 0
    {
      problems.append(
        CertificateProblem(
          severity: .warning, file: .certificate, path: source.certificatePath,
          kind: .certificateNotYetValid,
          what: "the certificate is not yet valid; it becomes valid in \(ago(days, seconds))",
          hint: "check the clock of this host, or wait", code: 0))
    }
    ERR_clear_error()
  }
}

/// Refuses to ask for a passphrase (OpenSSL's own callback would prompt on the terminal), and notes
/// in the Bool at `context`, if any, that one was wanted.
private let refusePassphrase:
  @convention(c) (
    UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?
  ) -> Int32 = { _, _, _, context in
    context?.assumingMemoryBound(to: Bool.self).pointee = true
    return -1
  }

/// OpenSSL's reason in brackets, nothing if it has none.
private func because(_ code: UInt) -> String {
  OpenSSLLibrary.reason(of: code).map { " (\($0))" } ?? ""
}

/// A length of time in its largest unit.
private func ago(_ days: Int32, _ seconds: Int32) -> String {
  let days = days.magnitude
  let seconds = seconds.magnitude
  func plural(_ count: UInt32, _ unit: String) -> String {
    "\(count) \(unit)\(count == 1 ? "" : "s")"
  }
  if days > 0 { return plural(days, "day") }
  if seconds >= 3600 { return plural(seconds / 3600, "hour") }
  return plural(max(1, seconds / 60), "minute")
}
