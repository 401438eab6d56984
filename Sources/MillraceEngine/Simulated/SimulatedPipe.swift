// A pipe of a simulated world: what is written to one end is read from the other.

import CLinux
import Glibc

final class SimulatedPipe {
  var bytes = ByteQueue()
  let capacity: Int
  private(set) var hasWriter = true
  private(set) var hasReader = true
  private var writerListens: () -> Void = {}
  private var readerListens: () -> Void = {}

  init(capacity: Int) { self.capacity = capacity }

  var room: Int { capacity - bytes.count }

  func listen(isInput: Bool, _ body: @escaping () -> Void) {
    if isInput { writerListens = body } else { readerListens = body }
  }

  func close(isInput: Bool) {
    if isInput { hasWriter = false } else { hasReader = false }
    changed()
  }

  /// Both ends look again.
  func changed() {
    writerListens()
    readerListens()
  }
}
