// Output that waits to leave: one send frame in the making and the number of bytes in it. A frame has
// room for a bounded number of pieces; how many there will be is up to the peers, so every call that
// adds a piece refuses when there is no room or no frame, and adds nothing then.
//
// TRAP: (file) each unwrap follows a look at the same frame in the same function.

public import MillraceEngine

/// One send in the making.
public struct SendBuffer: ~Copyable {
  @usableFromInline var frame: SendFrame?
  @usableFromInline var storedCount = 0

  @inlinable
  public init() { frame = nil }

  /// Bytes that wait.
  @inlinable @inline(__always)
  public var count: Int { storedCount }
  @inlinable @inline(__always)
  public var isEmpty: Bool { storedCount == 0 }

  /// Makes sure that there is a frame to be filled; false when the engine has none left.
  @inlinable @inline(__always)
  public mutating func prepare<E: Engine & ~Copyable>(_ engine: inout E) -> Bool {
    if frame != nil { return true }
    guard let made = engine.frame() else { return false }
    frame = consume made
    return true
  }

  // MARK: Room

  /// Whether one more piece fits, of whatever kind and size.
  @inlinable @inline(__always)
  public mutating func hasRoomForOne() -> Bool { frame != nil && frame!.canTakeOne() }

  /// Whether another piece of a chunked message fits in the worst case: chunk header, content and
  /// chunk end each in memory of their own, and the last chunk behind them.
  @inlinable @inline(__always)
  public mutating func hasRoomForChunk() -> Bool { frame != nil && frame!.canTakeMore() }

  /// Whether there is a frame that has no room for one more piece: it must leave first.
  @inlinable @inline(__always)
  public mutating func isFull() -> Bool { frame != nil && !frame!.canTakeOne() }

  /// Bytes that fit into the frame itself; 0 without one.
  @inlinable @inline(__always)
  public mutating func inlineRoom() -> Int { frame == nil ? 0 : frame!.inlineRoom() }

  // MARK: Filling

  /// Copies bytes behind what waits. - Returns: false if there is no room; nothing is added then.
  @inlinable @inline(__always)
  public mutating func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard hasRoomForOne() else { return false }
    frame!.append(bytes)
    storedCount += bytes.count
    return true
  }

  /// Copies a literal behind what waits. - Returns: false if there is no room; nothing is added then.
  @inlinable @inline(__always)
  public mutating func append(_ text: StaticString) -> Bool {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Puts a slice behind what waits: a small one is copied, another one travels as it is.
  /// - Returns: false if there is no room; the slice ends then and nothing is added.
  @inlinable @inline(__always)
  public mutating func append(_ slice: consuming BufferSlice) -> Bool {
    guard hasRoomForOne() else { return false }
    storedCount += slice.count
    frame!.append(slice)
    return true
  }

  /// Writes at least `capacity` contiguous bytes through `body`, which returns how many it wrote.
  /// - Returns: what `body` returned, or -1 without calling it if there is no room. Nothing is added
  ///   unless it is above 0.
  @inlinable @inline(__always)
  public mutating func write(
    capacity: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int
  ) -> Int {
    guard hasRoomForOne() else { return -1 }
    let written = frame!.write(capacity: capacity, body)
    if written > 0 { storedCount += written }
    return written
  }

  /// Copies every hot slice into cold memory, so that the bytes may wait for as long as they must.
  public mutating func evacuate() {
    if frame != nil { frame!.evacuate() }
  }

  /// Copies all that waits into one piece of cold memory, so that there is room for more pieces.
  public mutating func compact() {
    if frame != nil { frame!.compact() }
  }

  // MARK: Giving and taking

  /// Gives the frame away; nothing waits afterwards. nil if nothing was ever prepared.
  @inlinable @inline(__always)
  public mutating func take() -> SendFrame? {
    storedCount = 0
    return frame.take()
  }

  /// Replaces what waits by what waits in another buffer, which is empty afterwards.
  @inlinable @inline(__always)
  public mutating func replace(with other: inout SendBuffer) {
    storedCount = other.storedCount
    frame = other.take()
  }

  /// Replaces what waits by a frame that was filled elsewhere.
  @inlinable @inline(__always)
  public mutating func put(_ made: consuming SendFrame) {
    storedCount = made.count
    frame = consume made
  }

  /// Forgets what waits, and gives the frame back.
  public mutating func clear() {
    storedCount = 0
    frame = nil
  }
}

extension SendFrame {
  /// `inlineRemaining` for a frame that is stored in an optional, which can only be mutated in place.
  @usableFromInline
  mutating func inlineRoom() -> Int { inlineRemaining }
}
