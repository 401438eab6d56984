// Whether files that TLS is made from have changed: a digest of what is in them, since neither a time nor
// an inode says so of a file that was copied over, or that a link leads to.

import COpenSSL
import Glibc

/// Digests of files.
public enum FileDigest {
  /// SHA-256 of a file's content; empty if it cannot be read. Reads it; not for the loop.
  public static func of(_ path: String) -> [UInt8] {
    guard OpenSSLLibrary.isReady, let context = EVP_MD_CTX_new() else { return [] }
    defer { EVP_MD_CTX_free(context) }
    // O_NONBLOCK: opening a FIFO would wait for a writer, open(2).
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0, EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else { return [] }
    defer { close(descriptor) }
    var room = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let got = room.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if got < 0 { return [] }
      if got == 0 { break }
      guard EVP_DigestUpdate(context, room, got) == 1 else { return [] }
    }
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var count: UInt32 = 0
    guard EVP_DigestFinal_ex(context, &digest, &count) == 1 else { return [] }
    return Array(digest[..<Int(count)])
  }

  /// The files in which the system's CAs are.
  public static var systemAuthorities: [String] { TrustedAuthorities.systemFiles() }
}
