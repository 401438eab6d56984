// Input that could not be used in the turn it came: an incomplete head, a pipelined request, body
// bytes whose receiver is full. Always in cold memory, so that it pins no hot buffer.
//
// TRAP: (file) memory that was made for at least one byte has an address, and so have bytes whose
// count was seen to be above 0.

import Glibc
import MillraceEngine

/// Bytes kept for later, in one growing piece of cold memory.
struct HeldBytes: ~Copyable {
  private var memory: BufferSlice?
  private(set) var count = 0
  private var capacity = 0

  /// First size: most heads that arrive in pieces fit.
  private static let smallest = 2048
  /// The most that is allocated beyond what is held.
  private static let slack = 65_536

  @inline(__always) var isEmpty: Bool { count == 0 }

  mutating func append<E: Engine & ~Copyable>(
    _ bytes: UnsafeRawBufferPointer, _ engine: inout E
  ) {
    guard bytes.count > 0 else { return }
    if count + bytes.count > capacity {
      let wanted = max(
        Self.smallest, count + bytes.count, min(capacity * 2, capacity + Self.slack))
      let larger = engine.coldMemory(wanted)
      if let old = memory.take() {
        memcpy(larger.mutableBytes.baseAddress!, old.bytes.baseAddress!, count)
      }
      memory = consume larger
      capacity = wanted
    }
    copyIn(bytes)
  }

  private mutating func copyIn(_ bytes: UnsafeRawBufferPointer) {
    if let slice = memory.take() {
      memcpy(slice.mutableBytes.baseAddress! + count, bytes.baseAddress!, bytes.count)
      count += bytes.count
      memory = consume slice
    }
  }

  /// The bytes, for looking at. Valid until the next mutation.
  mutating func peek() -> UnsafeRawBufferPointer {
    guard let slice = memory.take() else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let bytes = UnsafeRawBufferPointer(rebasing: slice.bytes[..<count])
    memory = consume slice
    return bytes
  }

  /// Gives all bytes away; nothing is held afterwards.
  mutating func takeAll() -> BufferSlice? {
    guard var slice = memory.take() else { return nil }
    slice.truncate(to: count)
    count = 0
    capacity = 0
    return slice
  }

  /// Puts back what `takeAll` gave, less what was used. What is cold already stays where it is.
  mutating func putBack<E: Engine & ~Copyable>(
    _ slice: consuming BufferSlice, _ engine: inout E
  ) {
    guard slice.count > 0 else { return }
    if memory == nil && slice.isCold {
      count = slice.count
      capacity = slice.count
      memory = consume slice
    } else {
      append(slice.bytes, &engine)
    }
  }
}
