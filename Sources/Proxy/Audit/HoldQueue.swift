// The exchanges whose response is held in the hope that it will be whole in a moment, in the order in
// which they were held: all are held for the same time, so the oldest is the next that is due. It
// counts the bytes held and refuses more than its limit; it knows nothing of what the bytes are.

import Glibc

/// A first-in first-out queue of exchange slots from which any may be removed.
struct HoldQueue: ~Copyable {
  private struct Node {
    /// Monotonic nanoseconds; 0: the slot is not in the queue.
    var deadline: Int64
    var bytes: Int
    var next: Int32
    var previous: Int32
  }

  /// By exchange slot. Zeroed by calloc, so that slots that are never used are never touched.
  private let nodes: UnsafeMutablePointer<Node>
  private let byteLimit: Int
  private var head: Int32 = -1
  private var tail: Int32 = -1
  /// Bytes of all responses in the queue, as last told.
  private(set) var bytes = 0
  private(set) var count = 0

  /// - Parameters:
  ///   - capacity: exchange slots, numbered from 0.
  ///   - byteLimit: bytes that all slots together may hold.
  init(capacity: Int, byteLimit: Int) {
    guard let memory = calloc(max(capacity, 1), MemoryLayout<Node>.stride) else {
      // TRAP: memory at start, sized by the configuration.
      preconditionFailure("no memory for \(capacity) exchanges")
    }
    nodes = memory.bindMemory(to: Node.self, capacity: max(capacity, 1))
    self.byteLimit = byteLimit
  }

  deinit { free(nodes) }

  @inline(__always)
  func contains(_ slot: UInt32) -> Bool { nodes[Int(slot)].deadline != 0 }

  /// Holds a slot, or tells how much it holds now.
  /// - Parameters:
  ///   - bytes: of its response so far.
  ///   - deadline: used where the slot is not in the queue yet; not before that of the slot held last.
  /// - Returns: false if all together would hold too much: the slot is not in the queue then.
  mutating func hold(_ slot: UInt32, bytes wanted: Int, until deadline: Int64) -> Bool {
    let node = nodes + Int(slot)
    let known = node.pointee.deadline != 0
    let growth = wanted - (known ? node.pointee.bytes : 0)
    guard bytes + growth <= byteLimit else {
      remove(slot)
      return false
    }
    bytes += growth
    if known {
      node.pointee.bytes = wanted
      return true
    }
    node.pointee = Node(deadline: deadline, bytes: wanted, next: -1, previous: tail)
    if tail >= 0 { nodes[Int(tail)].next = Int32(slot) } else { head = Int32(slot) }
    tail = Int32(slot)
    count += 1
    return true
  }

  /// Takes a slot out; nothing happens where it is not in the queue.
  @inline(__always)
  mutating func remove(_ slot: UInt32) {
    if contains(slot) { unlink(slot) }
  }

  private mutating func unlink(_ slot: UInt32) {
    let node = nodes[Int(slot)]
    if node.previous >= 0 { nodes[Int(node.previous)].next = node.next } else { head = node.next }
    if node.next >= 0 {
      nodes[Int(node.next)].previous = node.previous
    } else {
      tail = node.previous
    }
    nodes[Int(slot)].deadline = 0
    bytes -= node.bytes
    count -= 1
  }

  /// When the oldest is due, in monotonic nanoseconds; Int64.max where none is held.
  @inline(__always)
  var nextDeadline: Int64 { head < 0 ? .max : nodes[Int(head)].deadline }

  /// Takes out the oldest slot if it is due.
  mutating func takeDue(now: Int64) -> UInt32? {
    guard head >= 0, nodes[Int(head)].deadline <= now else { return nil }
    let slot = UInt32(head)
    unlink(slot)
    return slot
  }
}
