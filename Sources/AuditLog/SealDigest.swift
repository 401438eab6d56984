// SealDigest owns one SHA-256 context of OpenSSL and reuses it for every batch, so that sealing
// allocates nothing. It refuses to outlive a failed set-up: an OpenSSL without SHA-256 is a broken
// installation, not a condition to handle.
//
// TRAP: (file) SHA-256 is part of every OpenSSL that starts, and its steps fail for want of memory
// only; a digest that goes on without one would seal nothing.

internal import COpenSSL

struct SealDigest: ~Copyable {
  private let context: OpaquePointer
  private let algorithm: OpaquePointer

  init() {
    // EVP_MD_fetch once, because EVP_sha256() makes every EVP_DigestInit_ex look the provider up.
    guard let algorithm = EVP_MD_fetch(nil, "SHA256", nil), let context = EVP_MD_CTX_new() else {
      preconditionFailure("OpenSSL offers no SHA-256")
    }
    self.algorithm = algorithm
    self.context = context
  }

  deinit {
    EVP_MD_CTX_free(context)
    EVP_MD_free(algorithm)
  }

  /// Begins a plain hash.
  mutating func begin() {
    let done = EVP_DigestInit_ex(context, algorithm, nil)
    precondition(done == 1, "EVP_DigestInit_ex failed")
  }

  /// Begins the hash of a batch: its first input is the previous seal's 32 bytes.
  mutating func begin(after previous: SealHash) {
    begin()
    withUnsafeBytes(of: previous.words) { update($0) }
  }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    let done = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    precondition(done == 1, "EVP_DigestUpdate failed")
  }

  mutating func finish() -> SealHash {
    var hash = SealHash()
    let done = withUnsafeMutableBytes(of: &hash.words) {
      EVP_DigestFinal_ex(context, $0.bindMemory(to: UInt8.self).baseAddress, nil)
    }
    precondition(done == 1, "EVP_DigestFinal_ex failed")
    return hash
  }
}
