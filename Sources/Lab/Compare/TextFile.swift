// Small text files of the comparison: those under /proc and /sys, configurations that it writes, and
// logs that it reads back. Whatever cannot be read is empty; whoever needs more asks for the cause.

import Glibc

enum TextFile {
  /// A log of a proxy is cut to its last part: nothing that is looked for is older.
  private static let readMaximum = 8 << 20

  /// The text of a file; empty if it cannot be read.
  static func read(_ path: String) -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return "" }
    defer { close(file) }
    let size = lseek(file, 0, SEEK_END)
    // Files of /proc tell no size and are read from their start.
    _ = lseek(file, size > readMaximum ? size - readMaximum : 0, SEEK_SET)
    var bytes: [UInt8] = []
    var room = [UInt8](repeating: 0, count: 65_536)
    while bytes.count < readMaximum {
      let got = Glibc.read(file, &room, room.count)
      if got < 0 && errno == EINTR { continue }
      guard got > 0 else { break }
      bytes += room[..<got]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Writes a file anew, mode 0644 (0600 where nobody else may read it).
  static func write(
    _ path: String, _ text: String, isPrivate: Bool = false
  ) throws(CompareFailure) {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, isPrivate ? 0o600 : 0o644)
    let bytes = Array(text.utf8)
    var done = 0
    while file >= 0 && done < bytes.count {
      let put = bytes.withUnsafeBytes {
        Glibc.write(file, $0.baseAddress! + done, bytes.count - done)
      }
      if put < 0 && errno == EINTR { continue }
      if put <= 0 { break }
      done += put
    }
    let code = errno
    if file >= 0 { close(file) }
    guard file >= 0 && done == bytes.count else {
      throw CompareFailure(
        "cannot write \(path): \(String(cString: strerror(code)))",
        hint: "free some space, or choose another directory")
    }
  }
}
