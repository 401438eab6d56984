// Slots for file operations and connects: what must stay at one address until the kernel, or a
// thread of ours, is done with it. Bounded; the caller keeps fewer in flight than there are.
//
// TRAP: (file) all of it is the caller's use: how many operations it has in flight, and that it
// redeems a completion of this engine once, as what it is. Results of the kernel are values.

import CLinux
import Glibc

enum FileOperationKind: UInt8 {
  case open, read, write, synchronize, synchronizeData, allocate, truncate, rename, unlink, close
  /// Into a direct slot, whose number stands in `count`.
  case openDirect
  case status, readVector, writeVector
}

struct FileOperation {
  var token: Token
  var kind: FileOperationKind
  var durable: Bool
  var inUse: Bool
  /// True once it has its completion: what it brings has not been taken yet.
  var hasEnded = false
  /// The caller has asked for its end.
  var cancelled = false
  /// Of the io_uring engine: a thread makes the call.
  var isThreaded = false
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
  /// Of a vectored operation.
  var list: UnsafeMutablePointer<FileBufferList.Storage>?
  /// Where statx(2) writes; made when the slot is first used for it.
  var status: UnsafeMutablePointer<clinux_statx>?
  /// The chain that it is a step of, or -1.
  var chain: Int32 = -1
  var path: UnsafeMutablePointer<CChar>?
  var secondPath: UnsafeMutablePointer<CChar>?
}

extension FileOperation {
  /// Whether a result lets a chain go on: a transfer must be whole.
  func isWhole(_ result: Int32) -> Bool {
    switch kind {
    case .read, .write, .readVector, .writeVector: Int(result) == count
    default: result >= 0
    }
  }
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
    for i in 0..<capacity { slots[i].status?.deallocate() }
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
    slot.pointee.hasEnded = false
    slot.pointee.cancelled = false
    slot.pointee.isThreaded = false
    slot.pointee.generation = (slot.pointee.generation &+ 1) & 0xFFFF
    slot.pointee.durable = false
    slot.pointee.descriptor = -1
    slot.pointee.buffer = nil
    slot.pointee.list = nil
    slot.pointee.chain = -1
    slot.pointee.path = nil
    slot.pointee.secondPath = nil
    return index
  }

  /// Ends an operation and returns its completion. A read's or write's slot lives on until its
  /// buffer is taken.
  mutating func finish(_ index: UInt32, _ result: Int32) -> Completion {
    let slot = slots + Int(index)
    slot.pointee.hasEnded = true
    free(path: &slot.pointee.path)
    free(path: &slot.pointee.secondPath)
    var completion = Completion(token: slot.pointee.token, result: result)
    let brings: UInt32 =
      slot.pointee.buffer != nil
      ? Completion.fileFlag
      : slot.pointee.list != nil
        ? Completion.listFlag
        : slot.pointee.kind == .status && result >= 0 ? Completion.statusFlag : 0
    if brings == 0 {
      release(index)
    } else {
      completion.buffer = index | slot.pointee.generation << 16
      completion.flags |= brings
    }
    return completion
  }

  /// The slot that a completion names, once. What it held is the caller's to take.
  private func redeem(_ completion: Completion) -> UnsafeMutablePointer<FileOperation> {
    let index = completion.bufferIndex
    precondition(Int(index) < capacity, "a completion of another engine was redeemed")
    let slot = slots + Int(index)
    precondition(
      slot.pointee.inUse && slot.pointee.generation == completion.bufferGeneration,
      "a completion of a file operation was redeemed twice")
    return slot
  }

  mutating func takeList(_ completion: Completion) -> FileBufferList {
    precondition(completion.hasFileBuffers, "a completion without file buffers was redeemed")
    let slot = redeem(completion)
    guard let list = slot.pointee.list else {
      preconditionFailure("file buffers were redeemed twice")
    }
    slot.pointee.list = nil
    release(completion.bufferIndex)
    return FileBufferList(adopting: list)
  }

  mutating func takeStatus(_ completion: Completion) -> FileStatus {
    precondition(completion.hasStatus, "a completion without a file's status was redeemed")
    let slot = redeem(completion)
    guard slot.pointee.kind == .status, let s = slot.pointee.status?.pointee else {
      preconditionFailure("a file's status was redeemed twice")
    }
    release(completion.bufferIndex)
    return FileStatus(
      mode: s.mode, size: Int64(bitPattern: s.size), blocks: Int64(bitPattern: s.blocks),
      links: s.nlink, inode: s.ino,
      modifiedNanoseconds: s.mtime.tv_sec * 1_000_000_000 + Int64(s.mtime.tv_nsec),
      directAlignment: s.dio_offset_align)
  }

  /// Memory for statx(2) of a slot.
  func prepareStatus(_ index: UInt32) -> UnsafeMutablePointer<clinux_statx> {
    let slot = slots + Int(index)
    if let status = slot.pointee.status { return status }
    let status = UnsafeMutablePointer<clinux_statx>.allocate(capacity: 1)
    status.initialize(to: clinux_statx())
    slot.pointee.status = status
    return status
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
