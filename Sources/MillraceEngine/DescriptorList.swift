// Descriptors that wait for the loop's attention, first in, first out. It refuses to hold a number
// twice: a mark in the record of the number says that it is in the list, and outlives the owner of
// the number, so that closing a descriptor never has to search. Hence its fixed size.

/// A queue of descriptor numbers, each in it at most once. It may hold numbers whose owner no
/// longer waits: whoever takes one looks at its record.
struct DescriptorList: ~Copyable {
  private let places: UnsafeMutablePointer<Int32>
  private let mask: Int
  private let mark: SocketState
  private var head = 0
  private var tail = 0

  /// - Parameters:
  ///   - limit: highest descriptor number plus one; memory is touched only as it is used.
  ///   - mark: the bit, of `SocketState.ofTheNumber`, that belongs to this list.
  init(limit: Int, mark: SocketState) {
    var capacity = 1
    while capacity < limit { capacity *= 2 }
    places = .allocate(capacity: capacity)
    mask = capacity - 1
    self.mark = mark
  }

  deinit { places.deallocate() }

  @inline(__always) var isEmpty: Bool { head == tail }
  @inline(__always) var count: Int { tail - head }

  @inline(__always)
  mutating func append(_ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>) {
    guard !record.pointee.state.contains(mark) else { return }
    record.pointee.state.insert(mark)
    (places + (tail & mask)).initialize(to: descriptor)
    tail += 1
  }

  @inline(__always)
  mutating func popFirst(_ sockets: borrowing SocketTable) -> Int32? {
    guard head != tail else { return nil }
    let descriptor = places[head & mask]
    head += 1
    if head == tail {
      head = 0
      tail = 0
    }
    sockets[descriptor].pointee.state.remove(mark)
    return descriptor
  }
}
