// A frame is one send in the making: bytes written inline and slices of buffers, in order, that
// leave in a single gathered send. It is consumed by `send`; the terminal completion of that send
// recycles it. Frames live in a bounded slab with stable addresses, because the kernel reads
// their message header and vectors while the send is in flight.

import CLinux
import Glibc

/// The fixed part of a frame, at the start of its cell.
struct FrameState {
  var token: Token
  var descriptor: Int32
  var index: UInt32
  /// Position in the list of sends whose success is reported without a completion of the kernel.
  var quietIndex: Int32
  var segmentCount: Int32
  /// Segments that have left entirely.
  var segmentsSent: Int32
  var sliceCount: Int32
  /// True while the last segment ends where the next inline byte goes.
  var inlineOpen: Bool
  var inlineUsed: Int
  var total: Int
  var sent: Int
  var slab: UnsafeMutablePointer<FrameSlabState>
  /// The chain that the send is a step of, or -1.
  var chain: Int32
  /// What kind of send it is, and how far a zero-copy one has got.
  var mode: FrameMode
  /// Notifications of the kernel that are still to come.
  var notices: Int16
  /// Of a zero-copy send: its bytes were copied, by the engine or as a notification said.
  var wasCopied: Bool
  /// A send that was cancelled ends at its next word from the kernel.
  var cancelled: Bool
  /// The next frame of a datagram socket's queue, and the one before.
  var next: UnsafeMutableRawPointer?
  var previous: UnsafeMutableRawPointer?
  /// How a zero-copy send failed that waits for its notifications, or 0.
  var failure: Int32
}

enum FrameMode: UInt8 {
  case stream, zeroCopy, datagram
}

struct FrameSlabState {
  var base: UnsafeMutableRawPointer
  var free: UnsafeMutablePointer<UInt32>
  var freeCount: Int
  var capacity: Int
  var refusals: Int
  /// Bytes of frames that the kernel copied out of them, in all.
  var copied: Int
  /// The kernel may still read from the slab when it ends, so it stays mapped.
  var abandoned: Bool
  var ledger: UnsafeMutablePointer<PoolState>
}

/// The layout of a frame's cell: state, vectors, slices, then inline bytes to its end.
enum FrameLayout {
  /// One page: a typical head with its rewritten fields and a small body fit inline.
  static let cellBytes = 4096
  /// Segments of one send; the kernel's limit is IOV_MAX = 1024, sendmsg(2).
  static let segmentLimit = 24
  static let sliceLimit = 20
  /// The message header of a gathered send; all but its vectors stays zero.
  static let messageOffset = 128
  static let vectorsOffset = 192
  static let slicesOffset = vectorsOffset + segmentLimit * 16
  /// Of a datagram: its address (28 bytes of sockaddr_in6) and the control data for its segments.
  static let nameOffset = slicesOffset + sliceLimit * MemoryLayout<BufferSlice>.stride
  static let controlOffset = nameOffset + 32
  static let inlineOffset = controlOffset + 32
  static let inlineBytes = cellBytes - inlineOffset
  /// A slice of at most this many bytes is copied inline: its buffer goes back at once and the
  /// send stays a single segment. Copying 2 KiB costs 42 ns (memcpy in a loop, hot); where a second
  /// segment becomes cheaper was not measured.
  static let copyLimit = 2048

  /// Leaves the message header as a stream's send expects it.
  static func clearMessage(_ cell: UnsafeMutableRawPointer) {
    (cell + messageOffset).assumingMemoryBound(to: msghdr.self).initialize(to: msghdr())
  }
}

/// One send in the making, owned.
public struct SendFrame: ~Copyable {
  let cell: UnsafeMutableRawPointer

  @inline(__always)
  init(cell: UnsafeMutableRawPointer) { self.cell = cell }

  deinit { Self.recycle(cell) }

  @inline(__always)
  var state: UnsafeMutablePointer<FrameState> {
    cell.assumingMemoryBound(to: FrameState.self)
  }
  @inline(__always)
  var vectors: UnsafeMutablePointer<iovec> {
    (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self)
  }
  @inline(__always)
  var slices: UnsafeMutablePointer<BufferSlice> {
    (cell + FrameLayout.slicesOffset).assumingMemoryBound(to: BufferSlice.self)
  }

  /// Bytes in the frame.
  @inline(__always) public var count: Int { state.pointee.total }
  /// True while nothing has been written into it.
  @inline(__always) public var isEmpty: Bool { state.pointee.total == 0 }

  /// True while another piece of a chunked message fits, in the worst case: chunk header, content
  /// and chunk end each in memory of their own, and the last chunk behind them.
  @inline(__always)
  public var hasRoom: Bool {
    Int(state.pointee.sliceCount) < FrameLayout.sliceLimit - 3
      && Int(state.pointee.segmentCount) < FrameLayout.segmentLimit - 3
  }

  /// Bytes that still fit inline.
  @inline(__always)
  public var inlineRemaining: Int { FrameLayout.inlineBytes - state.pointee.inlineUsed }

  /// Writes at least `capacity` contiguous bytes through `body`, which returns how many it wrote.
  ///
  /// Inline when they fit, else in cold memory of exactly that capacity.
  /// - Returns: what `body` returned; negative means "nothing written".
  @inline(__always)
  public mutating func write(
    capacity: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int
  ) -> Int {
    if capacity <= inlineRemaining {
      let start = cell + FrameLayout.inlineOffset + state.pointee.inlineUsed
      let written = body(
        UnsafeMutableRawBufferPointer(start: start, count: inlineRemaining))
      if written > 0 { commitInline(written) }
      return written
    }
    return writeCold(capacity: capacity, body)
  }

  @inline(never)
  private mutating func writeCold(
    capacity: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int
  ) -> Int {
    var slice = ColdMemory.allocate(capacity, ledger: state.pointee.slab.pointee.ledger)
    let written = body(slice.mutableBytes)
    if written > 0 {
      slice.truncate(to: written)
      appendSegment(slice)
    }
    return written
  }

  @inline(__always)
  private mutating func commitInline(_ length: Int) {
    let s = state
    if s.pointee.inlineOpen {
      vectors[Int(s.pointee.segmentCount) - 1].iov_len += length
    } else {
      // TRAP: how much arrives decides how many pieces there are, so every caller asks first:
      // `hasRoom` before content, `canTakeOne` before what a TLS session says, and a fresh frame
      // takes a head.
      precondition(Int(s.pointee.segmentCount) < FrameLayout.segmentLimit, "frame is full")
      vectors[Int(s.pointee.segmentCount)] = iovec(
        iov_base: cell + FrameLayout.inlineOffset + s.pointee.inlineUsed, iov_len: length)
      s.pointee.segmentCount += 1
      s.pointee.inlineOpen = true
    }
    s.pointee.inlineUsed += length
    s.pointee.total += length
  }

  /// Copies bytes into the frame.
  @inline(__always)
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 0 else { return }
    _ = write(capacity: bytes.count) { room in
      // TRAP: the bytes are not empty, and a capacity above 0 was given memory.
      memcpy(room.baseAddress!, bytes.baseAddress!, bytes.count)
      return bytes.count
    }
  }

  /// Copies a literal into the frame.
  @inline(__always)
  public mutating func append(_ text: StaticString) {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Appends a slice: small ones are copied and end here, others travel as they are.
  @inline(__always)
  public mutating func append(_ slice: consuming BufferSlice) {
    if slice.count <= FrameLayout.copyLimit && slice.count <= inlineRemaining {
      append(slice.bytes)
    } else {
      appendSegment(slice)
    }
  }

  private mutating func appendSegment(_ slice: consuming BufferSlice) {
    let s = state
    // TRAP: how much arrives decides how many pieces there are, so every caller asks first:
    // `hasRoom` before content, `canTakeOne` before what a TLS session says, and a fresh frame
    // takes a head.
    precondition(
      Int(s.pointee.segmentCount) < FrameLayout.segmentLimit
        && Int(s.pointee.sliceCount) < FrameLayout.sliceLimit, "frame is full")
    vectors[Int(s.pointee.segmentCount)] = iovec(iov_base: slice.base, iov_len: slice.count)
    s.pointee.segmentCount += 1
    s.pointee.inlineOpen = false
    s.pointee.total += slice.count
    (slices + Int(s.pointee.sliceCount)).initialize(to: slice)
    s.pointee.sliceCount += 1
  }

  /// Copies every hot slice into cold memory, so that the frame may wait for as long as it must.
  public mutating func evacuate() { Self.evacuate(cell) }

  /// Copies all that the frame holds into one piece of cold memory, so that it has room for more
  /// pieces. Nothing happens to a frame of one piece or none.
  public mutating func compact() {
    let s = state
    guard s.pointee.segmentCount > 1 else { return }
    let slice = ColdMemory.allocate(s.pointee.total, ledger: s.pointee.slab.pointee.ledger)
    // TRAP: a frame of two segments holds bytes, and so does their copy.
    var at = slice.mutableBytes.baseAddress!
    for segment in 0..<Int(s.pointee.segmentCount) {
      memcpy(at, vectors[segment].iov_base, vectors[segment].iov_len)
      at += vectors[segment].iov_len
    }
    for i in 0..<Int(s.pointee.sliceCount) { _ = (slices + i).move() }
    s.pointee.segmentCount = 0
    s.pointee.sliceCount = 0
    s.pointee.inlineUsed = 0
    s.pointee.total = 0
    appendSegment(slice)
  }

  /// True when the frame holds buffers of a pool.
  public var holdsHotBuffers: Bool {
    for i in 0..<Int(state.pointee.sliceCount) where !slices[i].isCold { return true }
    return false
  }

  /// Gives the frame's memory to an operation; from here on the engine owns it.
  @inline(__always)
  consuming func surrender() -> UnsafeMutableRawPointer {
    let cell = self.cell
    discard self
    return cell
  }

  static func evacuate(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let slices = (cell + FrameLayout.slicesOffset).assumingMemoryBound(to: BufferSlice.self)
    let vectors = (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self)
    var slice = 0
    for segment in 0..<Int(state.pointee.segmentCount) {
      guard slice < Int(state.pointee.sliceCount) else { break }
      // Segments and slices are in the same order; inline segments have no slice.
      // TRAP: a vector below `segmentCount` was filled.
      let base = vectors[segment].iov_base!
      if isInline(base, cell) { continue }
      if !slices[slice].isCold {
        let length = vectors[segment].iov_len
        let cold = ColdMemory.allocate(
          max(length, 1), ledger: state.pointee.slab.pointee.ledger)
        memcpy(cold.base, base, length)
        vectors[segment].iov_base = cold.base
        _ = (slices + slice).move()
        (slices + slice).initialize(to: cold)
      }
      slice += 1
    }
  }

  private static func isInline(
    _ base: UnsafeMutableRawPointer, _ cell: UnsafeMutableRawPointer
  ) -> Bool {
    base >= cell && base < cell + FrameLayout.cellBytes
  }

  /// Ends the frame's slices and puts its cell back.
  static func recycle(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let count = Int(state.pointee.sliceCount)
    if count > 0 {
      let slices = (cell + FrameLayout.slicesOffset).assumingMemoryBound(to: BufferSlice.self)
      for i in 0..<count { _ = (slices + i).move() }
    }
    if state.pointee.mode == .datagram { FrameLayout.clearMessage(cell) }
    state.pointee.cancelled = false
    let slab = state.pointee.slab
    if state.pointee.mode != .zeroCopy || state.pointee.wasCopied {
      slab.pointee.copied &+= state.pointee.sent
    }
    slab.pointee.free[slab.pointee.freeCount] = state.pointee.index
    slab.pointee.freeCount += 1
  }
}

/// The slab that frames come from: bounded, last in first out.
struct FrameSlab: ~Copyable {
  let state: UnsafeMutablePointer<FrameSlabState>

  /// - Parameters:
  ///   - capacity: frames; memory is touched only as frames are used.
  ///   - ledger: the pool whose ledger counts the cold memory of frames.
  init(capacity: Int, ledger: UnsafeMutablePointer<PoolState>) {
    let base = mmap(
      nil, capacity * FrameLayout.cellBytes, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let base, base != MAP_FAILED else {
      // TRAP: address space is reserved when an engine is made, before the first connection.
      preconditionFailure("no address space for \(capacity) frames")
    }
    // TRAP: the layout is known at compile time.
    precondition(MemoryLayout<FrameState>.size <= FrameLayout.messageOffset)
    precondition(
      FrameLayout.messageOffset + MemoryLayout<msghdr>.size <= FrameLayout.vectorsOffset)
    let free = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity)
    for i in 0..<capacity { (free + i).initialize(to: UInt32(capacity - 1 - i)) }
    state = .allocate(capacity: 1)
    state.initialize(
      to: FrameSlabState(
        base: base, free: free, freeCount: capacity, capacity: capacity, refusals: 0,
        copied: 0, abandoned: false, ledger: ledger))
  }

  deinit {
    if state.pointee.abandoned { return }
    if state.pointee.freeCount != state.pointee.capacity {
      engineBug("frames were in use when their slab was torn down")
      return
    }
    munmap(state.pointee.base, state.pointee.capacity * FrameLayout.cellBytes)
    state.pointee.free.deallocate()
    state.deallocate()
  }

  @inline(__always) var inUse: Int { state.pointee.capacity - state.pointee.freeCount }

  /// An empty frame, or nil when all are in use (counted).
  @inline(__always)
  func take() -> SendFrame? {
    guard state.pointee.freeCount > 0 else {
      state.pointee.refusals += 1
      return nil
    }
    state.pointee.freeCount -= 1
    let index = state.pointee.free[state.pointee.freeCount]
    let cell = state.pointee.base + Int(index) * FrameLayout.cellBytes
    let frame = cell.assumingMemoryBound(to: FrameState.self)
    frame.pointee.token = Token(rawValue: 0)
    frame.pointee.descriptor = -1
    frame.pointee.index = index
    frame.pointee.quietIndex = -1
    frame.pointee.segmentCount = 0
    frame.pointee.segmentsSent = 0
    frame.pointee.sliceCount = 0
    frame.pointee.inlineOpen = false
    frame.pointee.inlineUsed = 0
    frame.pointee.total = 0
    frame.pointee.sent = 0
    frame.pointee.slab = state
    frame.pointee.chain = -1
    frame.pointee.mode = .stream
    frame.pointee.notices = 0
    frame.pointee.wasCopied = false
    frame.pointee.cancelled = false
    frame.pointee.next = nil
    frame.pointee.previous = nil
    frame.pointee.failure = 0
    return SendFrame(cell: cell)
  }

  @inline(__always)
  func cell(_ index: UInt32) -> UnsafeMutableRawPointer {
    state.pointee.base + Int(index) * FrameLayout.cellBytes
  }
}

/// Moves a frame's position by `length` sent bytes; returns true when all has left.
@inline(__always)
func advanceFrame(_ cell: UnsafeMutableRawPointer, by length: Int) -> Bool {
  let state = cell.assumingMemoryBound(to: FrameState.self)
  state.pointee.sent += length
  if state.pointee.sent >= state.pointee.total { return true }
  let vectors = (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self)
  var left = length
  while left > 0 {
    let i = Int(state.pointee.segmentsSent)
    if left < vectors[i].iov_len {
      vectors[i].iov_base += left
      vectors[i].iov_len -= left
      return false
    }
    left -= vectors[i].iov_len
    vectors[i].iov_len = 0
    state.pointee.segmentsSent += 1
  }
  return false
}
