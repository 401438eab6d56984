// Reads what a person named on the command line from its beginning to its end: a file, or what comes
// through a pipe (/dev/stdin, <(command), a FIFO). It never waits for ever.

import CLinux
import Glibc

/// The whole content of a file or of a pipe.
public enum WholeFile {
  /// How long nothing may come through a pipe.
  public static let silenceSeconds = 5

  /// Reads to the end, or one byte past `limit`.
  /// - Throws: `Errno`: EISDIR for a directory, ETIMEDOUT where nothing came for `silenceSeconds`.
  public static func read(_ path: String, atMost limit: Int = .max - 1) throws(Errno) -> [UInt8] {
    // O_NONBLOCK: opening a FIFO would wait for a writer, open(2).
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw Errno(code: errno, operation: "open", path: path) }
    defer { close(descriptor) }
    var facts = stat()
    guard fstat(descriptor, &facts) == 0 else {
      throw Errno(code: errno, operation: "fstat", path: path)
    }
    let isPipe = facts.st_mode & S_IFMT == S_IFIFO
    var bytes: [UInt8] = []
    var room = [UInt8](repeating: 0, count: 1 << 16)
    var mayLackWriter = isPipe
    while bytes.count <= limit {
      let wanted = min(room.count, limit - bytes.count + 1)
      // TRAP: an array of a fixed size above 0 has an address.
      let got = room.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress!, wanted) }
      if got > 0 {
        bytes += room[..<got]
        mayLackWriter = false
        continue
      }
      if got < 0 && errno == EINTR { continue }
      guard got == 0 || errno == EAGAIN else {
        throw Errno(code: errno, operation: "read", path: path)
      }
      // A FIFO that no process has opened for writing yet reads as if it had ended, fifo(7).
      if got == 0 && !mayLackWriter { break }
      if got == 0 { mayLackWriter = false }
      var readable = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&readable, 1, Int32(silenceSeconds * 1000)) != 0 else {
        throw Errno(code: ETIMEDOUT, operation: "read", path: path)
      }
    }
    return bytes
  }

  /// Gives the content piece by piece, for files of any size and for pipes; `-` is standard input. It
  /// waits for as long as a pipe's writer does.
  /// - Throws: `Errno` of open(2) or read(2).
  public static func read(
    _ path: String, _ body: (UnsafeRawBufferPointer) -> Void
  ) throws(Errno) {
    let descriptor = path == "-" ? dup(0) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
    guard descriptor >= 0 else { throw Errno(code: errno, operation: "open", path: path) }
    defer { close(descriptor) }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { room.deallocate() }
    while true {
      let got = Glibc.read(descriptor, room.baseAddress, room.count)
      if got == 0 { return }
      if got > 0 {
        body(UnsafeRawBufferPointer(rebasing: room[..<got]))
      } else if errno != EINTR {
        throw Errno(code: errno, operation: "read", path: path)
      }
    }
  }

  /// A failure of `read` in words.
  public static func words(_ error: Errno) -> String {
    error.code == ETIMEDOUT
      ? "no data for \(silenceSeconds) s" : String(cString: strerror(error.code))
  }
}
