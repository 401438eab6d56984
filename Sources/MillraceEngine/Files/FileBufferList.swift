// Several file buffers that travel together through one vectored operation.
//
// TRAP: (file) a list is filled by its caller, with as many buffers as its own constants say.

import CLinux
import Glibc

/// Up to `limit` buffers with the number of bytes to use of each, for preadv(2) and pwritev2(2).
public struct FileBufferList: ~Copyable, @unchecked Sendable {
  // Sendable: owns its memory as FileBuffer does.
  /// Buffers that a list can hold.
  public static let limit = 8

  /// The memory of a list: what the kernel reads, and the buffers that it points to.
  struct Storage {
    var count = 0
    let vectors: UnsafeMutablePointer<iovec>
    let buffers: UnsafeMutablePointer<FileBuffer>
  }

  private let storage: UnsafeMutablePointer<Storage>

  /// An empty list.
  public init() {
    let vectors = UnsafeMutablePointer<iovec>.allocate(capacity: Self.limit)
    vectors.initialize(repeating: iovec(), count: Self.limit)
    storage = .allocate(capacity: 1)
    storage.initialize(
      to: Storage(vectors: vectors, buffers: .allocate(capacity: Self.limit)))
  }

  /// Takes over memory that `surrender` gave up.
  init(adopting storage: UnsafeMutablePointer<Storage>) { self.storage = storage }

  /// Gives the memory to an operation.
  consuming func surrender() -> UnsafeMutablePointer<Storage> {
    let storage = self.storage
    discard self
    return storage
  }

  deinit {
    for i in 0..<storage.pointee.count {
      (storage.pointee.buffers + i).deinitialize(count: 1)
    }
    storage.pointee.buffers.deallocate()
    storage.pointee.vectors.deallocate()
    storage.deallocate()
  }

  /// Buffers in the list.
  public var count: Int { storage.pointee.count }

  /// Bytes in all.
  public var byteCount: Int {
    var sum = 0
    for i in 0..<count { sum += storage.pointee.vectors[i].iov_len }
    return sum
  }

  /// Adds a buffer, of which the first `bytes` are read or written.
  /// - Precondition: fewer than `limit` are in the list, and `bytes` is at most the capacity.
  public mutating func append(_ buffer: consuming FileBuffer, bytes: Int) {
    precondition(count < Self.limit, "a list of file buffers is full")
    precondition(bytes >= 0 && bytes <= buffer.capacity)
    storage.pointee.vectors[count] = iovec(iov_base: buffer.base, iov_len: bytes)
    (storage.pointee.buffers + count).initialize(to: buffer)
    storage.pointee.count += 1
  }

  /// The bytes that are used of one buffer. - Parameter index: 0..<count.
  public func bytes(_ index: Int) -> UnsafeMutableRawBufferPointer {
    precondition(index >= 0 && index < count)
    let vector = storage.pointee.vectors[index]
    return UnsafeMutableRawBufferPointer(start: vector.iov_base, count: vector.iov_len)
  }

  /// Takes the last buffer out, or nil if there is none.
  public mutating func popLast() -> FileBuffer? {
    guard count > 0 else { return nil }
    storage.pointee.count -= 1
    return (storage.pointee.buffers + storage.pointee.count).move()
  }
}
