// One certificate with its chain and its key, loaded and proven to belong together. It owns the
// parsed objects and frees them; finding out what is wrong with the files is
// CertificatePair+Loading.swift.

import COpenSSL

/// A loaded certificate.
final class CertificatePair {
  /// The certificate itself, an X509.
  let leaf: OpaquePointer
  /// What stood after it in the file, X509 each.
  let chain: [OpaquePointer]
  /// Its private key, an EVP_PKEY.
  let key: OpaquePointer
  /// The names that it is for, lowercase, in the certificate's order; `*.` leads a wildcard.
  let names: [[UInt8]]

  /// Takes over the references that it is given.
  init(leaf: OpaquePointer, chain: [OpaquePointer], key: OpaquePointer) {
    self.leaf = leaf
    self.chain = chain
    self.key = key
    names = CertificateNames.read(from: leaf)
  }

  deinit {
    X509_free(leaf)
    for certificate in chain { X509_free(certificate) }
    EVP_PKEY_free(key)
  }

  /// The key's algorithm, an EVP_PKEY_ number. An SSL_CTX holds one certificate of each.
  var keyType: Int32 { EVP_PKEY_get_base_id(key) }

  /// Makes the pair one of those that `context`, an SSL_CTX, can serve; false with the reason in
  /// OpenSSL's queue if it is refused.
  func install(in context: OpaquePointer) -> Bool {
    guard SSL_CTX_use_certificate(context, leaf) == 1,
      SSL_CTX_use_PrivateKey(context, key) == 1
    else { return false }
    for certificate in chain
    where copenssl_SSL_CTX_add1_chain_cert(context, certificate) != 1 {
      return false
    }
    return true
  }
}
