// Buffers that the kernel fills bit by bit (IOU_PBUF_RING_INC): several completions name the same
// buffer, each with its own offset, while the kernel goes on filling the rest. A buffer is leased
// while pieces of it are reported or held, and free when in addition the kernel is done with it.
//
// TRAP: (file) sizes are options of the start. Which piece is reported is computed from what the
// kernel says it received, within a buffer that it was lent.

import CLinux
import Glibc

extension BufferPool {
  /// Makes room to note pieces. - Precondition: the size of a buffer is a multiple of 64.
  func preparePieces() {
    precondition(state.pointee.bufferSize % 64 == 0 && state.pointee.bufferSize <= 1 << 24)
    let bytes = state.pointee.bufferSize * state.pointee.count / 8
    let memory = mmap(
      nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory, memory != MAP_FAILED else {
      preconditionFailure("no address space for the table of buffer pieces")
    }
    state.pointee.pieces = memory.bindMemory(to: UInt64.self, capacity: bytes / 8)
  }

  /// Marks bytes from `offset` on as named by a completion.
  /// - Parameter done: the kernel will not fill this buffer any further.
  /// - Returns: what the completion says to redeem them, but for the offset.
  func reportPiece(_ index: UInt32, at offset: Int, _ bytes: Int, done: Bool) -> UInt32 {
    state.pointee.received &+= bytes
    let owner = state.pointee.owners + Int(index)
    if !owner.pointee.kernelHolds && offset == 0 {
      // A new use of the buffer: completions of the one before are not redeemed any more.
      owner.pointee.generation = (owner.pointee.generation &+ 1) & 0xFFFF
    }
    owner.pointee.kernelHolds = !done
    if owner.pointee.slices == 0 { state.pointee.leased += 1 }
    owner.pointee.slices += 1
    let (word, bit) = place(of: index, offset)
    word.pointee |= bit
    return index | owner.pointee.generation << 16
  }

  /// The kernel is done with a buffer without a last piece.
  func retire(_ index: UInt32) {
    let owner = state.pointee.owners + Int(index)
    owner.pointee.kernelHolds = false
    if owner.pointee.slices == 0 { putBack(index) }
  }

  /// The slice of a piece. Once.
  func redeemPiece(_ completion: Completion) -> BufferSlice {
    let index = completion.bufferIndex
    let offset = completion.pieceOffset
    precondition(
      state.pointee.pieces != nil && Int(index) < state.pointee.count
        && offset < state.pointee.bufferSize, "a completion of another engine was redeemed")
    let owner = state.pointee.owners + Int(index)
    let (word, bit) = place(of: index, offset)
    precondition(
      word.pointee & bit != 0 && owner.pointee.generation == completion.bufferGeneration,
      "received bytes were redeemed twice")
    word.pointee &= ~bit
    return BufferSlice(
      base: address(of: index) + offset, count: Int(completion.result), owner: owner)
  }

  private func place(
    of index: UInt32, _ offset: Int
  ) -> (word: UnsafeMutablePointer<UInt64>, bit: UInt64) {
    let number = Int(index) * state.pointee.bufferSize + offset
    return (state.pointee.pieces! + number / 64, 1 << UInt64(number % 64))
  }
}
