// Lines that have left the rings and are on their way to a file, some of them perhaps written in part.

import Glibc

struct LineBatch: ~Copyable {
  /// Also where messages of syslog are made: then no lines are in it.
  let memory: UnsafeMutableRawBufferPointer
  private var filled = 0
  /// Bytes of it that are where they should be.
  private(set) var written = 0
  /// Lines that are not all written.
  private(set) var lines = 0

  init(capacity: Int) { memory = .allocate(byteCount: capacity, alignment: 64) }

  deinit { memory.deallocate() }

  var isEmpty: Bool { filled == 0 }
  var unwritten: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: memory[written..<filled])
  }

  /// - Returns: false if there is no room.
  mutating func append(_ line: UnsafeRawBufferPointer) -> Bool {
    guard line.count <= memory.count - filled else { return false }
    UnsafeMutableRawBufferPointer(rebasing: memory[filled...]).copyMemory(from: line)
    filled += line.count
    lines += 1
    return true
  }

  /// So many bytes more are written.
  mutating func advance(_ count: Int) {
    for byte in memory[written..<(written + count)] where byte == 0x0A { lines -= 1 }
    written += count
    if written == filled { clear() }
  }

  mutating func clear() { (filled, written, lines) = (0, 0, 0) }
}
