// OpenSegment and RetiredSegment are what the lanes of a journal hand to each other: plain values
// that own nothing. A descriptor has one place at a time, and whoever has it closes it.

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

  /// Bytes that promises may count on: a batch never straddles segments, so up to one batch is lost at
  /// its end, and its header may cost a block.
  func dependableBytes(batchSize: Int) -> Int {
    if !isOpen { return 0 }
    return max(0, size - used - batchSize - SegmentName.blockSize)
  }
}

/// A segment that is to be cut at `used` and closed, or removed if that is 0.
struct RetiredSegment {
  var file: Int32
  var number: UInt64
  var used: Int
  /// Its directory or its name has gone: it is only closed.
  var isLost = false

  init(_ segment: OpenSegment, isLost: Bool = false) {
    file = segment.file
    number = segment.number
    used = segment.used
    self.isLost = isLost
  }
}
