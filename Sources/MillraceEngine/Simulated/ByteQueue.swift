// Bytes that wait, first in, first out: the buffers of simulated sockets and pipes.

import CLinux
import Glibc

struct ByteQueue {
  private var bytes: [UInt8] = []
  private var head = 0

  var count: Int { bytes.count - head }
  var isEmpty: Bool { head == bytes.count }

  mutating func append(_ more: UnsafeRawBufferPointer) {
    compact()
    bytes.append(contentsOf: more)
  }

  mutating func append(_ more: [UInt8]) {
    compact()
    bytes.append(contentsOf: more)
  }

  /// Takes the first bytes out. - Precondition: there are as many.
  mutating func take(_ length: Int) -> [UInt8] {
    precondition(length >= 0 && length <= count)
    let taken = Array(bytes[head..<(head + length)])
    head += length
    compact()
    return taken
  }

  /// Calls `body` with at most so many of the first bytes; drops as many as it says it used.
  /// - Returns: what `body` returned; negative drops nothing.
  mutating func consume(atMost limit: Int, _ body: (UnsafeRawBufferPointer) -> Int) -> Int {
    let length = min(limit, count)
    let used = bytes.withUnsafeBytes {
      body(UnsafeRawBufferPointer(rebasing: $0[head..<(head + length)]))
    }
    if used > 0 { head += used }
    compact()
    return used
  }

  /// Moves as many of the first bytes as there are, and as there is room for.
  mutating func move(to room: UnsafeMutableRawBufferPointer) -> Int {
    let length = min(room.count, count)
    guard length > 0 else { return 0 }
    bytes.withUnsafeBytes { _ = memcpy(room.baseAddress!, $0.baseAddress! + head, length) }
    head += length
    compact()
    return length
  }

  mutating func removeAll() {
    bytes.removeAll()
    head = 0
  }

  /// Drops what was taken once it is the larger part, so that each byte is moved at most once more.
  private mutating func compact() {
    if head == bytes.count {
      bytes.removeAll(keepingCapacity: bytes.capacity <= 65_536)
      head = 0
    } else if head > 4096 && head > bytes.count / 2 {
      bytes.removeFirst(head)
      head = 0
    }
  }
}
