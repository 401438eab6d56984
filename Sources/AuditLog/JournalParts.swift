// The plain values that a journal keeps per lane: which step each lane is at, and the segments that
// it holds. They own nothing; Journal and its extensions move them from step to step.

/// An open segment whose space is reserved and whose front is prefilled.
struct OpenSegment {
  static let none = OpenSegment(file: -1, number: 0, size: 0, filled: 0)

  var file: Int32
  var number: UInt64
  var size: Int
  /// Bytes from the start that are written, with batches or with newlines: the file's visible size.
  var filled: Int
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
  /// Its directory or its name has gone: it is only closed.
  var isLost = false
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
    /// From a name for work in progress to a segment in reserve.
    case openDirectory, openFile, allocate, prefill, sync, rename, syncDirectory
    /// From the oldest in reserve to the ready one.
    case fillFront, syncFront
    case idle, closeFailed, unlinkFailed, closeDirectory
  }

  var step = Step.idle
  var submitted = false
  var file: Int32 = -1
  var number: UInt64 = 0
  var size = 0
  /// Where the newlines end that are being written.
  var fillEnd = 0
  var written = 0
  /// Prefill writes of less than a block since the last one that took more.
  var fruitless = 0
  var renamed = false
  /// The name was taken, and what had it was removed.
  var collided = false
  var isDirect = false
  var retryAt: Int64 = 0
  var directory: Int32 = -1
}

/// Prefilling the active segment ahead of the writer.
struct FillState {
  enum Step { case idle, write, sync }

  var step = Step.idle
  var submitted = false
  /// The segment that it fills.
  var number: UInt64 = 0
  var end = 0
  var written = 0
  /// Writes of less than a block since the last one that took more.
  var fruitless = 0
  var retryAt: Int64 = 0
}

/// Looking whether the directory and the live segment are still there.
struct WatchState {
  enum Step { case idle, directory, segment }

  var step = Step.idle
  var submitted = false
  /// Monotonic time of the next look.
  var nextAt: Int64 = 0
  /// The directory's inode as first seen, or 0.
  var directoryInode: UInt64 = 0
  /// The segment that is looked at, and its inode as first seen.
  var number: UInt64 = 0
  var segmentInode: UInt64 = 0
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

  func peek() -> Element? { count == 0 ? nil : memory[head] }

  mutating func pop() -> Element? {
    if count == 0 { return nil }
    defer {
      head = (head + 1) % capacity
      count -= 1
    }
    return memory[head]
  }
}
