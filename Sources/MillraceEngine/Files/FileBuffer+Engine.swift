// How a file buffer's memory passes to an operation and back. Only the engines use it: between
// the two calls the memory has no owner that could free it.

extension FileBuffer {
  /// Takes over memory that `surrender` gave up.
  init(
    adopting base: UnsafeMutableRawPointer, capacity: Int,
    owner: UnsafeMutablePointer<RegisteredBufferState>? = nil
  ) {
    self.base = base
    self.capacity = capacity
    self.owner = owner
  }

  /// Gives the memory to an operation.
  consuming func surrender() -> UnsafeMutableRawPointer {
    let base = self.base
    discard self
    return base
  }
}
