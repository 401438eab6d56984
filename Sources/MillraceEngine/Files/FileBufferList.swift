// Several file buffers that travel together through one vectored operation.

import CLinux
import Glibc

/// Up to `limit` buffers with the number of bytes to use of each, for preadv(2) and pwritev2(2).
public struct FileBufferList: ~Copyable, @unchecked Sendable {
  // Sendable: owns its memory as FileBuffer does.
  /// Buffers that a list can hold.
  public static let limit = 8

  /// What an operation reads: vectors of `count` entries, and behind them the buffers themselves.
  let vectors: UnsafeMutablePointer<iovec>
  private let buffers: UnsafeMutablePointer<FileBuffer>
  public private(set) var count = 0

  public init() {
    vectors = .allocate(capacity: Self.limit)
    vectors.initialize(repeating: iovec(), count: Self.limit)
    buffers = .allocate(capacity: Self.limit)
  }

  deinit {
    for i in 0..<count { (buffers + i).deinitialize(count: 1) }
    buffers.deallocate()
    vectors.deallocate()
  }

  /// Bytes in all.
  public var byteCount: Int {
    var sum = 0
    for i in 0..<count { sum += vectors[i].iov_len }
    return sum
  }

  /// Adds a buffer, of which the first `bytes` are read or written.
  public mutating func append(_ buffer: consuming FileBuffer, bytes: Int) {
    precondition(count < Self.limit, "a list of file buffers is full")
    precondition(bytes >= 0 && bytes <= buffer.capacity)
    vectors[count] = iovec(iov_base: buffer.base, iov_len: bytes)
    (buffers + count).initialize(to: buffer)
    count += 1
  }

  /// The bytes that are used of one buffer. - Parameter index: 0..<count.
  public func bytes(_ index: Int) -> UnsafeMutableRawBufferPointer {
    precondition(index >= 0 && index < count)
    return UnsafeMutableRawBufferPointer(
      start: vectors[index].iov_base, count: vectors[index].iov_len)
  }

  /// Takes the last buffer out.
  public mutating func popLast() -> FileBuffer? {
    guard count > 0 else { return nil }
    count -= 1
    return (buffers + count).move()
  }
}
