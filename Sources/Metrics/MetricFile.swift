// The other side of shared metrics: who starts a process makes a file in memory, gives it the
// descriptor, and reads what the process counts, for as long as it likes and without being noticed.

import CLinux
import Glibc

/// A file in memory for the metrics of one process.
package final class MetricFile {
  /// Closed at exec(2), but for the moment of `handingOver`.
  package let descriptor: Int32
  private var reader: MetricReader?

  /// The environment variable in which a process is told the number of the descriptor.
  package static let variable = "MILLRACE_METRICS_DESCRIPTOR"

  /// nil where the kernel has no such files.
  package init?() {
    descriptor = clinux_memory_file("millrace-metrics")
    guard descriptor >= 0 else { return nil }
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// Lets a process that `start` starts inherit the descriptor.
  package func handingOver<R, E: Error>(_ start: () throws(E) -> R) throws(E) -> R {
    _ = fcntl(descriptor, F_SETFD, 0)
    defer { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    return try start()
  }

  /// The figures now; nil before there are any, and where they are of another version.
  package func reading() -> MetricReading? {
    if reader == nil, let memory = MetricMemory.reading(descriptor) {
      reader = try? MetricReader(memory)
    }
    return reader?.read()
  }
}
