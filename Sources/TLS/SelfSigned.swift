// Makes a certificate for a trial: an ECDSA P-256 key and a certificate that it signed itself, for
// names and addresses of this machine. It refuses to be anything else: no other client will trust it,
// and after a few days nor will who asked for it.

import COpenSSL

/// A certificate that vouches for itself, with its key, both in PEM.
public struct SelfSigned: Sendable {
  public let certificate: String
  public let key: String

  /// Makes one.
  ///
  /// - Parameters:
  ///   - names: subject alternative names as OpenSSL writes them: `DNS:localhost`, `IP:127.0.0.1`.
  ///   - days: how long it is valid from now on; below 0 it no longer is.
  ///   - start: the beginning of its validity, in seconds from now: an hour back, since clocks of
  ///     containers differ.
  /// - Throws: why OpenSSL could not.
  public init(names: [String], days: Int = 7, start: Int = -3600) throws(TLSFailure) {
    guard OpenSSLLibrary.isReady, let key = copenssl_EVP_EC_gen_P256(), let certificate = X509_new()
    else {
      throw Self.failure()
    }
    defer {
      EVP_PKEY_free(key)
      X509_free(certificate)
    }
    try Self.fill(certificate, key, names, days, start)
    self.certificate = try Self.pem { PEM_write_bio_X509($0, certificate) == 1 }
    self.key = try Self.pem { PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) == 1 }
  }

  private static func fill(
    _ certificate: OpaquePointer, _ key: OpaquePointer, _ names: [String], _ days: Int,
    _ start: Int
  ) throws(TLSFailure) {
    var serial: UInt64 = 0
    let hasSerial = withUnsafeMutableBytes(of: &serial) {
      RAND_bytes($0.baseAddress, Int32($0.count)) == 1
    }
    // RFC 5280, section 4.1.2.2: positive, at most 20 bytes.
    serial = serial >> 1 | 1
    let subject = X509_get_subject_name(certificate)
    let isFilled =
      hasSerial && X509_set_version(certificate, 2) == 1  // 2 stands for version 3
      && ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial) == 1
      && X509_gmtime_adj(X509_getm_notBefore(certificate), start) != nil
      && X509_gmtime_adj(X509_getm_notAfter(certificate), days * 86_400) != nil
      && X509_NAME_add_entry_by_txt(
        subject, "CN", MBSTRING_ASC, "Millrace trial certificate", -1, -1, 0) == 1
      && X509_set_issuer_name(certificate, subject) == 1
      && X509_set_pubkey(certificate, key) == 1
      // An authority of its own, so that clients may be told to trust it as one.
      && add(NID_basic_constraints, "critical,CA:TRUE", to: certificate)
      && add(NID_subject_alt_name, names.joined(separator: ","), to: certificate)
      && X509_sign(certificate, key, EVP_sha256()) > 0
    guard isFilled else { throw failure() }
  }

  private static func add(_ kind: Int32, _ value: String, to certificate: OpaquePointer) -> Bool {
    guard let part = X509V3_EXT_conf_nid(nil, nil, kind, value) else { return false }
    defer { X509_EXTENSION_free(part) }
    return X509_add_ext(certificate, part, -1) == 1
  }

  private static func pem(_ encode: (OpaquePointer) -> Bool) throws(TLSFailure) -> String {
    guard let memory = BIO_new(BIO_s_mem()) else { throw failure() }
    defer { BIO_free(memory) }
    guard encode(memory) else { throw failure() }
    // An EC key and its certificate take less than 2 KiB.
    var room = [UInt8](repeating: 0, count: 65_536)
    let count = BIO_read(memory, &room, Int32(room.count))
    guard count > 0 else { throw failure() }
    return String(decoding: room[..<Int(count)], as: UTF8.self)
  }

  private static func failure() -> TLSFailure {
    TLSFailure(stage: .configuration, kind: .libraryFailure, code: OpenSSLLibrary.drainErrors())
  }
}
