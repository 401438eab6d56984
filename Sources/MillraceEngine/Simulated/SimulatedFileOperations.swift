// File operations in flight on a simulated engine: what stays at one place until the disk is done
// with it, and the buffers that wait to be redeemed.

import CLinux
import Glibc

/// One operation on a file.
final class SimulatedFileOperation {
  let token: Token
  /// The buffer of a read or write, until it is redeemed.
  private var buffer: FileBuffer?
  let base: UnsafeMutableRawPointer?
  var underWay: SimulatedWrite?
  /// What an open brought, until the engine gives it a number.
  var opened: SimulatedOpenFile?

  init(_ token: Token) {
    self.token = token
    base = nil
  }

  init(_ token: Token, _ buffer: consuming FileBuffer) {
    self.token = token
    base = buffer.base
    self.buffer = consume buffer
  }

  func takeBuffer() -> FileBuffer? { buffer.take() }
}

/// The operations of one engine, by index. A read's or write's place lives on until its buffer is
/// taken; the generation tells a second redemption.
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

  /// What a completion says to redeem the memory of an operation.
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
    else { preconditionFailure("a file buffer was redeemed twice") }
    remove(index)
    return operation
  }
}
