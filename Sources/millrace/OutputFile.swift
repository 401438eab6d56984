// Results on their way out: to standard output or to a file, whole or with an error.

import Glibc
import MillraceEngine

enum OutputFile {
  /// Writes to standard output. A closed pipe is nobody's error.
  static func standard(_ text: String) { _ = write(Array(text.utf8), descriptor: 1) }

  /// - Returns: false, and errno says why.
  static func writeStandard(_ bytes: [UInt8]) -> Bool { write(bytes, descriptor: 1) }

  /// - Parameter path: "-" is standard output.
  /// - Returns: false, and errno says why.
  static func write(_ bytes: [UInt8], _ path: String) -> Bool {
    if path == "-" { return write(bytes, descriptor: 1) || errno == EPIPE }
    // O_NONBLOCK: a FIFO without a reader is refused (ENXIO) instead of waited for.
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0o644)
    guard descriptor >= 0 else { return false }
    // Its reader may be slower than this.
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
    let isWhole = write(bytes, descriptor: descriptor)
    let code = errno
    let isClosed = close(descriptor) == 0
    if !isWhole { errno = code }
    return isWhole && isClosed
  }

  private static func write(_ bytes: [UInt8], descriptor: Int32) -> Bool {
    var at = 0
    while at < bytes.count {
      let written = bytes.withUnsafeBytes {
        Glibc.write(descriptor, $0.baseAddress! + at, bytes.count - at)
      }
      if written > 0 { at += written } else if errno != EINTR { return false }
    }
    return true
  }

  /// The content of a file, or nil, and errno says why.
  static func read(_ path: String) -> [UInt8]? {
    do throws(Errno) {
      return try WholeFile.read(path)
    } catch {
      errno = error.code
      return nil
    }
  }
}
