// The plain values that a journal keeps per lane: which step each lane is at, and the segments that
// it holds. They own nothing; Journal and its extensions move them from step to step.

/// An open, prefilled segment.
struct OpenSegment {
  static let none = OpenSegment(file: -1, number: 0, size: 0)

  var file: Int32
  var number: UInt64
  var size: Int
  /// Bytes of committed batches.
  var used = 0
  /// Opened with O_DIRECT.
  var isDirect = false
  /// Monotonic time after which it is rotated, once it holds something.
  var rotateAt: Int64 = 0

  var isOpen: Bool { file >= 0 }
}

/// A segment that is to be cut at `used` and closed, or removed if that is 0.
struct RetiredSegment {
  var file: Int32
  var number: UInt64
  var used: Int
}

struct CommitState {
  enum Step { case idle, write, sync, reopen, closeOld }

  var step = Step.idle
  var submitted = false
  /// The batch in flight.
  var batch = -1
  /// Its bytes with seal and padding, and how many of them are written.
  var count = 0
  var written = 0
  var padding = 0
  var seal = SealHash.zero
  var opensSegment = false
  var attempts = 0
  /// Monotonic time before which the step is not tried again.
  var retryAt: Int64 = 0
  var startedAt: Int64 = Int64.min / 2
  var previousRecords: UInt64 = 0
  /// The descriptor that `closeOld` closes.
  var oldFile: Int32 = -1
}

struct PrepareState {
  enum Step {
    case idle, openDirectory, openFile, allocate, prefill, sync, rename, syncDirectory
    case closeFailed, unlinkFailed, closeDirectory
  }

  var step = Step.idle
  var submitted = false
  var file: Int32 = -1
  var size = 0
  var written = 0
  /// Prefill writes of less than a block since the last one that took more.
  var fruitless = 0
  var renamed = false
  var isDirect = false
  var retryAt: Int64 = 0
  var directory: Int32 = -1
}

struct RetireState {
  enum Step { case idle, syncContent, truncate, syncLength, close, unlink }

  var step = Step.idle
  var submitted = false
  var current = RetiredSegment(file: -1, number: 0, used: 0)
}

/// A first-in first-out queue of few plain values in fixed memory.
struct FixedQueue<Element>: ~Copyable {
  private let memory: UnsafeMutablePointer<Element>
  private let capacity: Int
  private var head = 0
  private(set) var count = 0

  /// - Parameter filler: a value for slots that hold nothing.
  init(capacity: Int, filler: Element) {
    self.capacity = capacity
    memory = .allocate(capacity: capacity)
    memory.initialize(repeating: filler, count: capacity)
  }

  deinit {
    memory.deinitialize(count: capacity)
    memory.deallocate()
  }

  var isFull: Bool { count == capacity }

  /// False if there is no room.
  @discardableResult
  mutating func push(_ element: Element) -> Bool {
    if isFull { return false }
    memory[(head + count) % capacity] = element
    count += 1
    return true
  }

  mutating func pop() -> Element? {
    if count == 0 { return nil }
    defer {
      head = (head + 1) % capacity
      count -= 1
    }
    return memory[head]
  }
}
