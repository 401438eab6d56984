// SegmentReserve owns the segments behind the ready one: empty, with their disk space reserved, oldest
// first. It refuses more than it was made for; who makes and removes them is PrepareLane.

struct SegmentReserve: ~Copyable {
  private let batchSize: Int
  private var queue: FixedQueue<OpenSegment>
  /// What promises may count on in them.
  private(set) var dependableDisk = 0

  /// - Parameter capacity: segments at most.
  init(capacity: Int, batchSize: Int) {
    self.batchSize = batchSize
    queue = FixedQueue(capacity: capacity, filler: .none)
  }

  var isEmpty: Bool { queue.isEmpty }
  var isFull: Bool { queue.isFull }
  var oldest: OpenSegment? { queue.peek() }

  mutating func push(_ segment: OpenSegment) {
    guard queue.push(segment) else { return }
    dependableDisk += segment.dependableBytes(batchSize: batchSize)
  }

  mutating func pop() -> OpenSegment? {
    guard let segment = queue.pop() else { return nil }
    dependableDisk -= segment.dependableBytes(batchSize: batchSize)
    return segment
  }
}
