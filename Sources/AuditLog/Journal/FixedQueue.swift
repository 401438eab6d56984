// FixedQueue is a first-in first-out queue in memory that is taken once. It refuses what it has no
// room for.

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

  var isEmpty: Bool { count == 0 }
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
