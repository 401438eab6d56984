// Waking a simulated engine. A waker is a number; a negative one that is not -1 names an engine of a
// simulated world, and what is kept for it is one mark. Any thread may leave it, but a run repeats
// only if whoever wakes lives in the world.

import CLinux
import Glibc
import Synchronization

/// The marks of all simulated engines of the process.
private let marks = Mutex<[Int32: Bool]>([:])
private let lastNumber = Mutex<Int32>(-1)

/// The mark of one engine.
struct SimulatedWake: Sendable {
  let number: Int32

  init() {
    let number = lastNumber.withLock {
      $0 -= 1
      return $0
    }
    self.number = number
    marks.withLock { $0[number] = false }
  }

  /// Sets the mark of the engine with this number, if it still lives.
  static func leave(_ number: Int32) {
    marks.withLock { if $0[number] != nil { $0[number] = true } }
  }

  func take() -> Bool {
    marks.withLock { marks in
      let isSet = marks[number] == true
      if isSet { marks[number] = false }
      return isSet
    }
  }

  func end() { marks.withLock { _ = $0.removeValue(forKey: number) } }
}
