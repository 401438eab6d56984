// FilePrefill owns the block of newlines that new segments are filled with. It is lent to one write
// at a time and refuses to be anything else.

internal import Glibc
internal import MillraceEngine

struct FilePrefill: ~Copyable {
  /// Writes of less than a block, one after the other, after which a lane gives up.
  static var zeroProgressWritesMaximum: Int { 3 }

  private let slot: UnsafeMutablePointer<FileBuffer?>
  let capacity: Int

  init(capacity: Int) {
    let buffer = FileBuffer(capacity: capacity, alignment: SegmentName.blockSize)
    memset(buffer.base, 0x0A, capacity)
    self.capacity = capacity
    slot = .allocate(capacity: 1)
    slot.initialize(to: consume buffer)
  }

  deinit {
    slot.deinitialize(count: 1)
    slot.deallocate()
  }

  // TRAP: one lane prefills at a time, and its buffer has come back.
  func lend() -> FileBuffer { slot.pointee.take()! }

  func giveBack(_ buffer: consuming FileBuffer) { slot.pointee = consume buffer }
}
