// JournalPaths owns the path texts that a journal's operations point to, one set per lane, so that
// a path stays unchanged until the operation that uses it has completed. It refuses to allocate
// after its creation.

internal import Glibc
internal import Text

struct JournalPaths: ~Copyable {
  private let memory: UnsafeMutablePointer<CChar>
  private let stride: Int
  private let directoryLength: Int
  private let worker: Int

  enum Slot: Int, CaseIterable {
    case directory, preparing, prepared, commit, retire, watch
  }

  init(directory: String, worker: Int) {
    self.worker = worker
    // "/", a name of 15, a companion of at most 20, and a NUL.
    directoryLength = directory.utf8.count
    stride = directoryLength + 40
    memory = .allocate(capacity: stride * Slot.allCases.count)
    memory.initialize(repeating: 0, count: stride * Slot.allCases.count)
    for slot in Slot.allCases {
      for (index, byte) in directory.utf8.enumerated() {
        memory[slot.rawValue * stride + index] = CChar(bitPattern: byte)
      }
    }
  }

  deinit {
    memory.deallocate()
  }

  var directory: UnsafePointer<CChar> {
    UnsafePointer(memory + Slot.directory.rawValue * stride)
  }

  /// Writes the path of a segment, or of its preparation, into a lane's slot.
  func segment(_ slot: Slot, number: UInt64) -> UnsafePointer<CChar> {
    let start = memory + slot.rawValue * stride
    var cursor = ByteCursor(
      base: UnsafeMutableRawPointer(start + directoryLength), capacity: stride - directoryLength)
    cursor.literal("/w")
    cursor.padded(worker, 3)
    cursor.byte(0x2D)
    cursor.padded(Int(number), 10)
    if slot == .preparing { cursor.literal(".prepare") } else { cursor.literal(".jsonl") }
    cursor.byte(0)
    // TRAP: the directory's path is the operator's, measured when the paths were made; numbers have
    // ten digits.
    precondition(!cursor.overflowed)
    return UnsafePointer(start)
  }
}
