// Deadlines of connections, lazily kept. A connection writes its deadline into its own record,
// which costs a store; the wheel only promises to look at every armed node often enough. When it
// looks and the deadline has moved on, the node is put back. So the request path never touches
// the wheel.

/// A wheel of nodes, one per connection slot.
public struct TimerWheel: ~Copyable {
  /// Resolution: 50 ms late at most. An idle proxy with many connections wakes at most 20 times
  /// a second for them.
  public static let tickNanoseconds: Int64 = 50_000_000
  private static let buckets = 512
  private static let none: Int32 = -1

  private struct Node {
    var next: Int32
    var previous: Int32
    /// Bucket that the node is in, or -1.
    var bucket: Int32
  }

  private let nodes: UnsafeMutablePointer<Node>
  private let heads: UnsafeMutablePointer<Int32>
  private let capacity: Int
  private var currentTick: Int64
  /// Nodes in the wheel.
  public private(set) var armed = 0

  /// - Parameter capacity: nodes, numbered from 0.
  public init(capacity: Int, now: Int64) {
    self.capacity = capacity
    nodes = .allocate(capacity: capacity)
    for i in 0..<capacity {
      (nodes + i).initialize(to: Node(next: Self.none, previous: Self.none, bucket: -1))
    }
    heads = .allocate(capacity: Self.buckets)
    heads.initialize(repeating: Self.none, count: Self.buckets)
    currentTick = now / Self.tickNanoseconds
  }

  deinit {
    nodes.deallocate()
    heads.deallocate()
  }

  /// Has a node looked at when `deadline` (monotonic nanoseconds) has passed, or earlier.
  public mutating func arm(_ node: Int, at deadline: Int64) {
    if nodes[node].bucket >= 0 { disarm(node) }
    let wanted = (deadline + Self.tickNanoseconds - 1) / Self.tickNanoseconds
    let tick = min(max(wanted, currentTick + 1), currentTick + Int64(Self.buckets) - 1)
    let bucket = Int32(tick % Int64(Self.buckets))
    let head = heads[Int(bucket)]
    nodes[node] = Node(next: head, previous: Self.none, bucket: bucket)
    if head != Self.none { nodes[Int(head)].previous = Int32(node) }
    heads[Int(bucket)] = Int32(node)
    armed += 1
  }

  /// Takes a node out of the wheel, if it is in it.
  public mutating func disarm(_ node: Int) {
    let bucket = nodes[node].bucket
    guard bucket >= 0 else { return }
    let next = nodes[node].next
    let previous = nodes[node].previous
    if next != Self.none { nodes[Int(next)].previous = previous }
    if previous != Self.none {
      nodes[Int(previous)].next = next
    } else {
      heads[Int(bucket)] = next
    }
    nodes[node].bucket = -1
    armed -= 1
  }

  /// Takes the next node whose time to be looked at has come, or nil.
  public mutating func takeDue(now: Int64) -> Int? {
    let tick = now / Self.tickNanoseconds
    while currentTick <= tick {
      let head = heads[Int(currentTick % Int64(Self.buckets))]
      if head != Self.none {
        disarm(Int(head))
        return Int(head)
      }
      if currentTick == tick { return nil }
      if armed == 0 {
        currentTick = tick
        return nil
      }
      currentTick += 1
    }
    return nil
  }

  /// When the wheel wants to be asked next, or nil when nothing is armed.
  public var nextDeadline: Int64? {
    guard armed > 0 else { return nil }
    for offset in 0..<Int64(Self.buckets) {
      let tick = currentTick + offset
      if heads[Int(tick % Int64(Self.buckets))] != Self.none {
        return tick * Self.tickNanoseconds
      }
    }
    return nil
  }
}
