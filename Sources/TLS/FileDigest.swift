// Whether files that TLS is made from have changed: a digest of what is in them, since neither a time nor
// an inode says so of a file that was copied over, or that a link leads to.

import COpenSSL

/// Digests of files.
public enum FileDigest {
  /// SHA-256 of a file's content; empty if it cannot be read. Reads it; not for the loop.
  public static func of(_ path: String) -> [UInt8] {
    guard OpenSSLLibrary.isReady, let context = EVP_MD_CTX_new() else { return [] }
    defer { EVP_MD_CTX_free(context) }
    guard let file = BIO_new_file(path, "rb") else {
      ERR_clear_error()
      return []
    }
    defer { BIO_free(file) }
    guard EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
      ERR_clear_error()
      return []
    }
    var room = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let got = BIO_read(file, &room, Int32(room.count))
      if got < 0 {
        ERR_clear_error()
        return []
      }
      if got == 0 { break }
      guard EVP_DigestUpdate(context, room, Int(got)) == 1 else { return [] }
    }
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var count: UInt32 = 0
    guard EVP_DigestFinal_ex(context, &digest, &count) == 1 else { return [] }
    return Array(digest[..<Int(count)])
  }

  /// The files in which the system's CAs are.
  public static var systemAuthorities: [String] { TrustedAuthorities.systemFiles() }
}
