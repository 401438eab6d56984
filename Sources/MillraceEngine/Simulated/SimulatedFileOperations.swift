// File operations in flight on a simulated engine: what stays at one place until the disk is done
// with it, and the memory that waits to be redeemed.

import CLinux
import Glibc

/// One operation on a file.
final class SimulatedFileOperation {
  let token: Token
  /// What a read or write used, until it is redeemed.
  private var buffer: FileBuffer?
  private var list: FileBufferList?
  /// The parts of memory that it reads or writes.
  let parts: [UnsafeMutableRawBufferPointer]
  /// The flag of a completion that brings something to redeem.
  private(set) var flag: UInt32 = 0
  var underWay: SimulatedWrite?
  /// What an open brought, until the engine gives it a number, or puts it in this slot.
  var opened: SimulatedOpenFile?
  var slot: Descriptor?
  var status: FileStatus?
  var chain: SimulatedChain?
  /// A result below this breaks a chain.
  private(set) var leastSuccess = 0

  init(_ token: Token) {
    self.token = token
    parts = []
  }

  init(_ token: Token, _ buffer: consuming FileBuffer, count: Int) {
    self.token = token
    parts = [UnsafeMutableRawBufferPointer(start: buffer.base, count: count)]
    leastSuccess = count
    flag = Completion.fileFlag
    self.buffer = consume buffer
  }

  init(_ token: Token, _ list: consuming FileBufferList) {
    self.token = token
    parts = (0..<list.count).map { list.bytes($0) }
    leastSuccess = list.byteCount
    flag = Completion.listFlag
    self.list = consume list
  }

  func takeBuffer() -> FileBuffer? { buffer.take() }
  func takeList() -> FileBufferList? { list.take() }

  func brings(_ status: FileStatus) {
    self.status = status
    flag = Completion.statusFlag
  }

  /// The bytes that a write takes, in order.
  var bytes: [UInt8] {
    var all: [UInt8] = []
    for part in parts { all.append(contentsOf: part) }
    return all
  }
}

/// The operations of one engine, by index. A place lives on until what it brought is taken; the
/// generation tells a second redemption.
struct SimulatedFileOperations {
  private var places: [SimulatedFileOperation?] = []
  private var generations: [UInt32] = []
  private let limit: Int
  private var inUse = 0

  init(limit: Int) { self.limit = limit }

  mutating func add(_ operation: SimulatedFileOperation) -> Int {
    precondition(inUse < limit, "more file operations in flight than the engine's limit")
    inUse += 1
    if let free = places.firstIndex(where: { $0 == nil }) {
      places[free] = operation
      generations[free] = (generations[free] &+ 1) & 0xFFFF
      return free
    }
    places.append(operation)
    generations.append(1)
    return places.count - 1
  }

  subscript(_ index: Int) -> SimulatedFileOperation? {
    index < places.count ? places[index] : nil
  }

  /// What a completion says to redeem what an operation brought.
  func name(_ index: Int) -> UInt32 { UInt32(index) | generations[index] << 16 }

  mutating func remove(_ index: Int) {
    places[index] = nil
    inUse -= 1
  }

  /// The operation that a completion names. Once.
  mutating func redeem(_ completion: Completion) -> SimulatedFileOperation {
    let index = Int(completion.bufferIndex)
    guard index < places.count, generations[index] == completion.bufferGeneration,
      let operation = places[index]
    else { preconditionFailure("the result of a file operation was redeemed twice") }
    remove(index)
    return operation
  }
}
