// Slots for what is neither a transfer on a socket nor a file operation: timeouts, polls, splices,
// reported shutdowns and closes. What the kernel reads of them stays at one address until the
// terminal completion. Bounded; an operation that finds no slot ends with ENOBUFS.
//
// TRAP: (file) the capacity is the caller's option, checked when the engine is made.

import CLinux
import Glibc

enum ControlKind: UInt8 {
  case nop, timeout, poll, shutdown, close, splice, acceptOne, message
  /// io_uring: a receive that is a step of a chain.
  case receive
}

struct ControlOperation {
  var token: Token
  var kind: ControlKind
  var inUse: Bool
  /// True once the kernel, or the engine, works on it; a step of a chain waits before that.
  var started: Bool
  /// The caller, or the end of something it needs, has asked for its end.
  var cancelled: Bool
  /// Counts the operations of this slot, 16 bits of it.
  var generation: UInt32
  /// The chain that it is a step of, or -1.
  var chain: Int32
  /// What it is about: a socket, a listener, a splice's input, a foreign descriptor.
  var descriptor: Int32
  /// A splice's output, an accept's slot, a shutdown's direction.
  var second: Int32
  var events: UInt32
  /// io_uring: what a splice waited for before it last moved bytes.
  var after: UInt32
  var count: Int
  /// Monotonic nanoseconds, and the same as the kernel wants it.
  var deadline: Int64
  var time: clinux_timespec64
  /// io_uring: whom a message wakes, by place; see Correspondents.
  var correspondent = 0
  /// epoll, a splice with a file on one side: true while a thread has it; what system calls take
  /// for both sides, and what came of it.
  var onThread = false
  var realInput: Int32 = -1
  var realOutput: Int32 = -1
  var result: Int32 = 0
}

struct ControlSlab: ~Copyable {
  let slots: UnsafeMutablePointer<ControlOperation>
  let capacity: Int
  /// Tokens of no-operations outside chains, which use nothing else of their slot: eight bytes each,
  /// where a slot is two cache lines.
  private let nops: UnsafeMutablePointer<Token>
  private let free: UnsafeMutablePointer<UInt32>
  private var freeCount: Int
  private(set) var refusals = 0

  /// - Parameter capacity: 1...65535.
  init(capacity: Int) {
    precondition(capacity >= 1 && capacity <= 0xFFFF)
    self.capacity = capacity
    slots = .allocate(capacity: capacity)
    free = .allocate(capacity: capacity)
    nops = .allocate(capacity: capacity)
    nops.initialize(repeating: Token(rawValue: 0), count: capacity)
    freeCount = capacity
    for i in 0..<capacity {
      (free + i).initialize(to: UInt32(capacity - 1 - i))
      (slots + i).initialize(
        to: ControlOperation(
          token: Token(rawValue: 0), kind: .nop, inUse: false, started: false, cancelled: false,
          generation: 0, chain: -1, descriptor: -1, second: -1, events: 0, after: 0, count: 0,
          deadline: 0,
          time: clinux_timespec64()))
    }
  }

  deinit {
    if freeCount != capacity {
      engineBug("control operations were in flight when their slots were torn down")
      return
    }
    slots.deallocate()
    nops.deallocate()
    free.deallocate()
  }

  @inline(__always) var inUse: Int { capacity - freeCount }

  /// Takes a slot, or nil (counted) when all are in use.
  @inline(__always)
  mutating func take(_ kind: ControlKind, _ token: Token) -> UInt32? {
    guard freeCount > 0 else {
      refusals += 1
      return nil
    }
    freeCount -= 1
    let index = free[freeCount]
    let slot = slots + Int(index)
    slot.pointee.token = token
    slot.pointee.kind = kind
    slot.pointee.inUse = true
    slot.pointee.started = false
    slot.pointee.cancelled = false
    slot.pointee.generation = (slot.pointee.generation &+ 1) & 0xFFFF
    slot.pointee.chain = -1
    slot.pointee.descriptor = -1
    slot.pointee.second = -1
    slot.pointee.onThread = false
    return index
  }

  @inline(__always)
  mutating func release(_ index: UInt32) {
    slots[Int(index)].inUse = false
    free[freeCount] = index
    freeCount += 1
  }

  @inline(__always) var hasRoom: Bool { freeCount > 0 }

  /// A slot for a no-operation. - Precondition: `hasRoom`.
  @inline(__always)
  mutating func takeNop(_ token: Token) -> UInt32 {
    freeCount &-= 1
    let index = free[freeCount]
    nops[Int(index)] = token
    return index
  }

  @inline(__always)
  mutating func endNop(_ index: UInt32) -> Token {
    free[freeCount] = index
    freeCount &+= 1
    return nops[Int(index)]
  }
}
