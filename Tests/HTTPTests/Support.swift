// What the tests share: bytes in allocations of exactly their size, so that a read past the end is
// seen by the address sanitizer.

/// Calls `body` with the bytes in an allocation of exactly their size.
func withExactBytes<R>(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R
{
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { memory.deallocate() }
  memory.copyBytes(from: bytes)
  return try body(UnsafeRawBufferPointer(memory))
}
