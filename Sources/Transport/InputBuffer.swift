// Input that could not be used in the turn it came: an incomplete head, a pipelined request, body
// bytes whose receiver is full, ciphertext for a session that waits. Always in cold memory, so that it
// pins no hot buffer. What is used up is left behind where it lies: nothing is copied twice but when
// the memory grows.
//
// TRAP: (file) memory that was made for at least one byte has an address, and so have bytes whose
// count was seen to be above 0.

import Glibc
public import MillraceEngine

/// Bytes kept for later, in one growing piece of cold memory.
public struct InputBuffer: ~Copyable {
  /// All of the memory; the bytes begin at `start`.
  @usableFromInline var memory: BufferSlice?
  @usableFromInline var start = 0
  @usableFromInline var storedCount = 0
  @usableFromInline var capacity = 0

  /// First size: most heads that arrive in pieces fit.
  @usableFromInline static var smallest: Int { 2048 }

  @inlinable
  public init() { memory = nil }

  /// Bytes held.
  @inlinable @inline(__always)
  public var count: Int { storedCount }
  @inlinable @inline(__always)
  public var isEmpty: Bool { storedCount == 0 }

  /// Copies bytes behind what is held.
  /// - Parameter slack: the most that is allocated beyond what is held, in bytes. Growth is by doubling
  ///   up to there; an unlimited one suits content that may have many mebibytes.
  @inlinable
  public mutating func append<E: Engine & ~Copyable>(
    _ bytes: UnsafeRawBufferPointer, _ engine: inout E, slack: Int = 65_536
  ) {
    guard bytes.count > 0 else { return }
    if start + storedCount + bytes.count > capacity {
      let wanted = max(
        Self.smallest, storedCount + bytes.count, storedCount + min(storedCount, slack))
      move(to: engine.coldMemory(wanted))
    }
    copyIn(bytes)
  }

  /// Puts the bytes into larger memory, at its beginning.
  @usableFromInline
  mutating func move(to larger: consuming BufferSlice) {
    capacity = larger.count
    if let old = memory.take() {
      memcpy(larger.mutableBytes.baseAddress!, old.bytes.baseAddress! + start, storedCount)
    }
    start = 0
    memory = consume larger
  }

  @usableFromInline
  mutating func copyIn(_ bytes: UnsafeRawBufferPointer) {
    guard let slice = memory.take() else { return }
    memcpy(
      slice.mutableBytes.baseAddress! + start + storedCount, bytes.baseAddress!, bytes.count)
    storedCount += bytes.count
    memory = consume slice
  }

  /// The bytes, for looking at. Valid until the next mutation.
  public mutating func peek() -> UnsafeRawBufferPointer {
    guard let slice = memory.take() else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let bytes = UnsafeRawBufferPointer(rebasing: slice.bytes[start..<start + storedCount])
    memory = consume slice
    return bytes
  }

  /// Forgets the first bytes; the memory goes with the last one. - Parameter used: 0...count.
  public mutating func drop(_ used: Int) {
    assert(used >= 0 && used <= storedCount)
    if used >= storedCount { return clear() }
    start += used
    storedCount -= used
  }

  /// A slice of the bytes that keeps their memory alive, or nil if nothing is held.
  /// - Parameters:
  ///   - from: the first byte, 0...count.
  ///   - length: bytes, 0...count - from.
  public mutating func share(_ from: Int, _ length: Int) -> BufferSlice? {
    guard let slice = memory.take() else { return nil }
    let part = slice.subslice(start: start + from, count: length)
    memory = consume slice
    return part
  }

  /// Gives all bytes away; nothing is held afterwards.
  public mutating func takeAll() -> BufferSlice? {
    guard var slice = memory.take() else { return nil }
    slice.dropPrefix(start)
    slice.truncate(to: storedCount)
    clear()
    return slice
  }

  /// Puts back what `takeAll` gave, less what was used. What is cold already stays where it is, unless little
  /// is left: it may be all that keeps a large piece of memory.
  @inlinable
  public mutating func putBack<E: Engine & ~Copyable>(
    _ slice: consuming BufferSlice, _ engine: inout E
  ) {
    guard slice.count > 0 else { return }
    if storedCount == 0 && slice.isCold && slice.count > Self.smallest {
      adopt(slice)
    } else {
      append(slice.bytes, &engine)
    }
  }

  @usableFromInline
  mutating func adopt(_ slice: consuming BufferSlice) {
    start = 0
    storedCount = slice.count
    capacity = slice.count
    memory = consume slice
  }

  /// Gives the memory back.
  public mutating func clear() {
    memory = nil
    start = 0
    storedCount = 0
    capacity = 0
  }
}
