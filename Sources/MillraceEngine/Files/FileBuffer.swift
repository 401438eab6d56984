// FileBuffer owns one aligned block of memory that a file operation may read from. It is consumed
// by the submission and given back by the terminal completion, so nobody can change or free it
// while the kernel still uses it. It refuses to be copied and knows nothing of what it holds.
//
// TRAP: (file) sizes are constants of the log and of the caller.

/// Memory handed to a file operation: consumed by submission, given back by its terminal
/// completion.
public struct FileBuffer: ~Copyable, @unchecked Sendable {
  /// The first byte, aligned as asked at creation.
  public let base: UnsafeMutableRawPointer
  /// The size in bytes.
  public let capacity: Int

  /// The pool that it goes back to, or nil: the memory is its own.
  let owner: UnsafeMutablePointer<RegisteredBufferState>?

  /// Allocates `capacity` bytes. Untouched pages cost address space and no memory.
  /// - Parameters:
  ///   - capacity: 1 and up.
  ///   - alignment: a power of two; 4096 satisfies O_DIRECT on every common device.
  public init(capacity: Int, alignment: Int = 4096) {
    precondition(capacity > 0 && alignment.nonzeroBitCount == 1)
    self.base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: alignment)
    self.capacity = capacity
    owner = nil
  }

  deinit {
    if let owner { RegisteredBuffers.giveBack(base, owner) } else { base.deallocate() }
  }
}
