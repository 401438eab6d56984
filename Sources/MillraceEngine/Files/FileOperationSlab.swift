// Slots for file operations and connects: what must stay at one address until the kernel, or a
// thread of ours, is done with it. Bounded; the caller keeps fewer in flight than there are.

import CLinux
import Glibc

enum FileOperationKind: UInt8 {
  case open, read, write, synchronize, synchronizeData, allocate, truncate, rename, unlink, close
}

struct FileOperation {
  var token: Token
  var kind: FileOperationKind
  var durable: Bool
  var inUse: Bool
  /// Counts the operations of this slot, 16 bits of it: a buffer is redeemed by its own
  /// completion only.
  var generation: UInt32
  var descriptor: Int32
  var flags: Int32
  var mode: UInt32
  var count: Int
  var offset: Int64
  var result: Int32
  var buffer: UnsafeMutableRawPointer?
  var bufferCapacity: Int
  /// The pool of `buffer`, or nil.
  var bufferOwner: UnsafeMutablePointer<RegisteredBufferState>?
  var path: UnsafeMutablePointer<CChar>?
  var secondPath: UnsafeMutablePointer<CChar>?
}

struct FileOperationSlab: ~Copyable {
  let slots: UnsafeMutablePointer<FileOperation>
  let capacity: Int
  private let free: UnsafeMutablePointer<UInt32>
  private var freeCount: Int

  init(capacity: Int) {
    precondition(capacity >= 1 && capacity < 0xFFFF)
    self.capacity = capacity
    slots = .allocate(capacity: capacity)
    free = .allocate(capacity: capacity)
    freeCount = capacity
    for i in 0..<capacity {
      (free + i).initialize(to: UInt32(capacity - 1 - i))
      (slots + i).initialize(
        to: FileOperation(
          token: Token(rawValue: 0), kind: .open, durable: false, inUse: false, generation: 0,
          descriptor: -1,
          flags: 0, mode: 0, count: 0, offset: 0, result: 0, buffer: nil, bufferCapacity: 0,
          bufferOwner: nil, path: nil, secondPath: nil))
    }
  }

  deinit {
    if freeCount != capacity {
      engineBug("file operations were in flight when their slots were torn down")
      return
    }
    slots.deallocate()
    free.deallocate()
  }

  var inUse: Int { capacity - freeCount }

  /// Takes a slot. - Precondition: fewer than `capacity` operations are in flight.
  mutating func take(_ kind: FileOperationKind, _ token: Token) -> UInt32 {
    precondition(freeCount > 0, "more file operations in flight than the engine's limit")
    freeCount -= 1
    let index = free[freeCount]
    let slot = slots + Int(index)
    slot.pointee.token = token
    slot.pointee.kind = kind
    slot.pointee.inUse = true
    slot.pointee.generation = (slot.pointee.generation &+ 1) & 0xFFFF
    slot.pointee.durable = false
    slot.pointee.buffer = nil
    slot.pointee.path = nil
    slot.pointee.secondPath = nil
    return index
  }

  /// Ends an operation and returns its completion. A read's or write's slot lives on until its
  /// buffer is taken.
  mutating func finish(_ index: UInt32, _ result: Int32) -> Completion {
    let slot = slots + Int(index)
    free(path: &slot.pointee.path)
    free(path: &slot.pointee.secondPath)
    var completion = Completion(token: slot.pointee.token, result: result)
    if slot.pointee.buffer == nil {
      release(index)
    } else {
      completion.buffer = index | slot.pointee.generation << 16
      completion.flags |= Completion.fileFlag
    }
    return completion
  }

  mutating func takeBuffer(_ completion: Completion) -> FileBuffer {
    precondition(completion.hasFileBuffer, "a completion without a file buffer was redeemed")
    let index = completion.bufferIndex
    precondition(Int(index) < capacity, "a completion of another engine was redeemed")
    let slot = slots + Int(index)
    guard slot.pointee.inUse, slot.pointee.generation == completion.bufferGeneration,
      let base = slot.pointee.buffer
    else { preconditionFailure("a file buffer was redeemed twice") }
    slot.pointee.buffer = nil
    let capacity = slot.pointee.bufferCapacity
    let owner = slot.pointee.bufferOwner
    release(index)
    return FileBuffer(adopting: base, capacity: capacity, owner: owner)
  }

  private mutating func release(_ index: UInt32) {
    slots[Int(index)].inUse = false
    free[freeCount] = index
    freeCount += 1
  }

  private func free(path: inout UnsafeMutablePointer<CChar>?) {
    guard let text = path else { return }
    Glibc.free(text)
    path = nil
  }
}
