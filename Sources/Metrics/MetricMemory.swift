// The memory of metrics: the process's own, or a sealed file in memory (memfd_create(2)) that
// another process reads. Such a file has no name and lies in no directory: only who was given the
// descriptor reaches it, a sandbox needs no path for it, and no disk writes it back.

import CLinux
import Glibc

/// Why memory could not be shared.
package struct MetricMemoryFailure: Error, CustomStringConvertible {
  package let description: String
}

/// Zeroed memory; freed with the last reference.
package final class MetricMemory: Sendable {
  nonisolated(unsafe) let start: UnsafeMutableRawPointer
  package let count: Int

  private init(_ start: UnsafeMutableRawPointer, _ count: Int) {
    self.start = start
    self.count = count
  }

  deinit { munmap(start, count) }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

  /// The process's own. Pages that nothing is written to take no memory.
  package static func own(_ count: Int) throws(MetricMemoryFailure) -> MetricMemory {
    guard
      let start = mmap(
        nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      start != MAP_FAILED
    else { throw failure("made") }
    return MetricMemory(start, count)
  }

  /// Sizes an inherited file in memory, maps it, and seals it: its size cannot change any more, and
  /// no other process can write to it (Linux 5.1 for the latter). Closes the descriptor.
  package static func shared(
    _ descriptor: Int32, _ count: Int
  ) throws(MetricMemoryFailure) -> MetricMemory {
    // Only a file in memory has seals: nothing else is cut to size by a number that was mistaken.
    guard descriptor > 2, clinux_is_unsealed(descriptor) != 0 else {
      throw MetricMemoryFailure(
        description: "descriptor \(descriptor) is not an unsealed memfd (memfd_create)")
    }
    defer { close(descriptor) }
    guard fchmod(descriptor, 0o600) == 0, ftruncate(descriptor, 0) == 0,
      ftruncate(descriptor, count) == 0
    else { throw failure("sized") }
    guard
      let start = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
      start != MAP_FAILED
    else { throw failure("mapped") }
    let memory = MetricMemory(start, count)
    guard clinux_seal(descriptor) == 0 else { throw failure("sealed") }
    return memory
  }

  /// A file that its owner has sealed, for reading. - Returns: nil while it is not ready.
  package static func reading(_ descriptor: Int32) -> MetricMemory? {
    // Without the seal its owner could shrink it, and reading beyond its end would be a SIGBUS.
    guard clinux_is_sealed(descriptor) != 0 else { return nil }
    var facts = stat()
    guard fstat(descriptor, &facts) == 0, facts.st_size > 0,
      let start = mmap(nil, Int(facts.st_size), PROT_READ, MAP_SHARED, descriptor, 0),
      start != MAP_FAILED
    else { return nil }
    return MetricMemory(start, Int(facts.st_size))
  }

  private static func failure(_ what: String) -> MetricMemoryFailure {
    MetricMemoryFailure(
      description: "metrics memory cannot be \(what): \(String(cString: strerror(errno)))")
  }
}
