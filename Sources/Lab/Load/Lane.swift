// The connections of a load thread to one server, and the moments that are theirs. A moment waits for
// a connection of its own lane only, so that a slow server does not delay what is meant for another.

import MillraceEngine
import TLS

/// A ring of fixed size.
struct SlotRing<Element: BitwiseCopyable> {
  private let base: UnsafeMutablePointer<Element>
  private let capacity: Int
  private var first = 0
  private(set) var count = 0

  init(capacity: Int) {
    self.capacity = max(1, capacity)
    base = .allocate(capacity: self.capacity)
  }

  func deallocate() { base.deallocate() }

  @inline(__always) var isEmpty: Bool { count == 0 }

  /// - Precondition: fewer than `capacity` are in it.
  @inline(__always)
  mutating func append(_ element: Element) {
    precondition(count < capacity, "a ring of connections is full")
    var place = first + count
    if place >= capacity { place -= capacity }
    (base + place).initialize(to: element)
    count += 1
  }

  @inline(__always)
  mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let element = base[first]
    first = first + 1 == capacity ? 0 : first + 1
    count -= 1
    return element
  }
}

extension Flight: BitwiseCopyable {}

struct Lane {
  let server: Int
  /// Its connections, as slots.
  let slots: Range<Int>
  /// Its own pace: requests follow responses, and are not counted among the plan's.
  let isSlow: Bool
  /// nil in a closed loop.
  var pacer: Pacer?
  /// In a closed loop: which template is next.
  var chooser: RequestChooser?
  var sequence: UInt64 = 0
  /// Monotonic nanoseconds of the next moment that is this lane's; .max: there is none.
  var nextSendTime = Int64.max
  var nextTemplate: UInt32 = 0
  /// Connections that can take a request, the one that has waited longest first.
  var idle: SlotRing<UInt32>
  /// Requests that the server left unanswered when it announced the connection's end: it did not
  /// process them (RFC 9112, section 9.6), so they are sent again.
  var resend: SlotRing<Flight>
  var context: TLSClientContext?
  var ticket: ClientTicket?
  /// Responses of late have been so large that they are read in large buffers.
  var prefersLarge = false
  /// Connections that can be used, now.
  var openCount = 0

  init(server: Int, slots: Range<Int>, isSlow: Bool, inFlight: Int) {
    self.server = server
    self.slots = slots
    self.isSlow = isSlow
    idle = SlotRing(capacity: slots.count)
    resend = SlotRing(capacity: slots.count * inFlight)
  }
}
