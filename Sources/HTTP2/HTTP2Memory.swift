// Memory of nghttp2 for the sessions of one thread: freed blocks are kept by size and given out
// again, so that a stream that opens and closes takes nothing from malloc. It also keeps what all
// sessions share and none changes: the table of callbacks.
//
// TRAP: (file) memory at the start, and the pointer that this file gave nghttp2 itself.

internal import CNghttp2
internal import Glibc

/// The blocks and callbacks that the sessions of one thread share. Belongs to that thread; a session
/// keeps it alive.
public final class HTTP2Memory {
  /// Blocks taken from the system so far: stands still in steady state.
  public var systemAllocations: Int { store.pointee.systemAllocations }
  /// Blocks that sessions hold, now.
  public var blocksInUse: Int { store.pointee.blocksInUse }

  let store: UnsafeMutablePointer<BlockStore>
  let callbacks: OpaquePointer
  private let seam: UnsafeMutablePointer<nghttp2_mem>

  /// Blocks that are free are kept up to `keptBytes` in all; what is freed beyond goes back to the
  /// system.
  public init(keptBytes: Int = 16_777_216) {
    store = .allocate(capacity: 1)
    store.initialize(to: BlockStore(keptBytesMaximum: keptBytes))
    var made: OpaquePointer?
    precondition(nghttp2_session_callbacks_new(&made) == 0, "no memory for a table of callbacks")
    callbacks = made!
    SessionCallbacks.install(in: callbacks)
    seam = .allocate(capacity: 1)
    seam.initialize(
      to: nghttp2_mem(
        mem_user_data: store,
        malloc: { size, store in BlockStore.of(store).pointee.take(size) },
        free: { block, store in BlockStore.of(store).pointee.giveBack(block) },
        calloc: { count, size, store in BlockStore.of(store).pointee.takeZeroed(count, size) },
        realloc: { block, size, store in BlockStore.of(store).pointee.resize(block, size) }))
  }

  deinit {
    nghttp2_session_callbacks_del(callbacks)
    store.pointee.releaseAll()
    store.deallocate()
    seam.deallocate()
  }

  /// What nghttp2 copies into each session.
  var allocator: UnsafeMutablePointer<nghttp2_mem> { seam }
}

/// Free blocks by power of two. Each block has its class in front of it.
struct BlockStore {
  /// Classes of 32 bytes to 128 KiB. A stream of nghttp2 is 232 bytes, a queued frame 152, a frame
  /// buffer 16 KiB and a little.
  private static let classes = 13
  private static let smallestShift = 5
  /// Keeps a block's alignment at what malloc(3) promises.
  private static let header = 16
  private static let unpooled = Int.max

  private var free = InlineArray<13, UnsafeMutableRawPointer?>(repeating: nil)
  private var keptBytes = 0
  private let keptBytesMaximum: Int
  private(set) var systemAllocations = 0
  private(set) var blocksInUse = 0

  init(keptBytesMaximum: Int) { self.keptBytesMaximum = keptBytesMaximum }

  @inline(__always)
  static func of(_ raw: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<BlockStore> {
    raw!.assumingMemoryBound(to: BlockStore.self)
  }

  @inline(__always)
  private static func index(of size: Int) -> Int {
    let rounded = max(size, 1 << smallestShift) - 1
    return Int.bitWidth - rounded.leadingZeroBitCount - smallestShift
  }

  @inline(__always)
  private static func bytes(in index: Int) -> Int { 1 << (index + smallestShift) }

  mutating func take(_ size: Int) -> UnsafeMutableRawPointer? {
    let index = Self.index(of: size)
    if index < Self.classes, let block = free[index] {
      free[index] = block.load(as: UnsafeMutableRawPointer?.self)
      keptBytes -= Self.bytes(in: index)
      blocksInUse += 1
      return block
    }
    let isPooled = index < Self.classes
    let wanted = isPooled ? Self.bytes(in: index) : size
    guard wanted <= Int.max - Self.header, let raw = Glibc.malloc(wanted + Self.header) else {
      return nil
    }
    systemAllocations += 1
    blocksInUse += 1
    raw.storeBytes(of: isPooled ? index : Self.unpooled, as: Int.self)
    (raw + 8).storeBytes(of: wanted, as: Int.self)
    return raw + Self.header
  }

  mutating func takeZeroed(_ count: Int, _ size: Int) -> UnsafeMutableRawPointer? {
    let (bytes, overflows) = count.multipliedReportingOverflow(by: size)
    guard !overflows, let block = take(bytes) else { return nil }
    memset(block, 0, bytes)
    return block
  }

  mutating func resize(
    _ block: UnsafeMutableRawPointer?, _ size: Int
  ) -> UnsafeMutableRawPointer? {
    guard let block else { return take(size) }
    let room = (block - 8).load(as: Int.self)
    if size <= room { return block }
    guard let larger = take(size) else { return nil }
    memcpy(larger, block, room)
    giveBack(block)
    return larger
  }

  mutating func giveBack(_ block: UnsafeMutableRawPointer?) {
    guard let block else { return }
    blocksInUse -= 1
    let index = (block - Self.header).load(as: Int.self)
    guard index != Self.unpooled, keptBytes + Self.bytes(in: index) <= keptBytesMaximum else {
      Glibc.free(block - Self.header)
      return
    }
    block.storeBytes(of: free[index], as: UnsafeMutableRawPointer?.self)
    free[index] = block
    keptBytes += Self.bytes(in: index)
  }

  mutating func releaseAll() {
    for index in 0..<Self.classes {
      while let block = free[index] {
        free[index] = block.load(as: UnsafeMutableRawPointer?.self)
        Glibc.free(block - Self.header)
      }
    }
  }
}
