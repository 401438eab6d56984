// Where a certificate and its key are to be found, and what can be wrong with them. Plain values:
// the files are read by CertificatePair.

/// The two files of a certificate, both PEM.
public struct CertificateSource: Sendable, Hashable {
  /// The certificate first, then the intermediates that lead from it to its root.
  public let certificatePath: String
  /// The private key, without a passphrase.
  public let keyPath: String

  public init(certificatePath: String, keyPath: String) {
    self.certificatePath = certificatePath
    self.keyPath = keyPath
  }
}

/// One thing that is wrong with a certificate or its key.
public struct CertificateProblem: Sendable, Equatable {
  /// Whether the pair can be served.
  public enum Severity: Sendable, Hashable {
    /// It cannot.
    case error
    /// It can, and clients will object.
    case warning
  }

  /// Which of the two files a problem is about.
  public enum File: Sendable, Hashable {
    case certificate
    case key
  }

  /// Whether the pair can be served.
  public let severity: Severity
  /// Which file it is about; a mismatch is reported about the key.
  public let file: File
  /// That file's path, as configured.
  public let path: String
  /// What it is, for a program.
  public let kind: TLSFailure.Kind
  /// What is wrong, for a person, without the path.
  public let what: String
  /// What to do about it.
  public let hint: String
  /// OpenSSL's packed error code, 0 if it gave none.
  public let code: UInt
}

extension CertificateProblem: CustomStringConvertible {
  /// One line: the path, what is wrong, what to do.
  public var description: String { "\(path): \(what); \(hint)" }
}
