// What an engine reports: a plain value, with no reference and no memory of its own. Received
// bytes are redeemed from it once, through the engine (`takeSlice`).

/// The outcome of an operation, or one of several outcomes of a multishot operation.
///
/// Every operation has exactly one *terminal* completion, the one with `isTerminal` set. Only it
/// ends the engine's use of whatever the operation held.
public struct Completion: Sendable {
  /// The token that the operation was submitted with.
  public var token: Token
  /// What the system call of the same name returns, or a negated errno.
  public var result: Int32
  /// Index (16 bits) and generation (16 bits) of the engine's memory that comes with it;
  /// `noBuffer` without any. The generation makes a second redemption trap, however late.
  var buffer: UInt32
  var flags: UInt32

  static let noBuffer = UInt32.max
  static let moreFlag: UInt32 = 1
  static let largeFlag: UInt32 = 2
  static let fileFlag: UInt32 = 4
  static let statusFlag: UInt32 = 8
  static let datagramFlag: UInt32 = 16
  static let listFlag: UInt32 = 32
  /// Of a relay: it was the sink that failed.
  static let sinkFlag: UInt32 = 64
  /// The bytes are a piece of a buffer, which begins at `pieceOffset`.
  static let pieceFlag: UInt32 = 128
  /// The offset's place in the flags: the upper 24 bits.
  static let pieceShift: UInt32 = 8
  private static let notBytes = fileFlag | statusFlag | datagramFlag | listFlag

  @inline(__always)
  init(token: Token, result: Int32, more: Bool = false, buffer: UInt32 = noBuffer) {
    self.token = token
    self.result = result
    self.buffer = buffer
    flags = more ? Self.moreFlag : 0
  }

  /// True when the operation has ended: nothing more will be reported under this token.
  @inline(__always) public var isTerminal: Bool { flags & Self.moreFlag == 0 }

  /// True when the completion carries received bytes. They must be redeemed with `takeSlice`,
  /// once, even by a caller who no longer wants them: until then their buffer counts as leased.
  @inline(__always) public var hasBytes: Bool {
    buffer != Self.noBuffer && flags & Self.notBytes == 0
  }

  /// True when the completion carries a datagram. It must be redeemed with `takeDatagram`, once.
  @inline(__always) public var hasDatagram: Bool { flags & Self.datagramFlag != 0 }

  /// True when the completion carries what statx(2) said. It must be redeemed with `takeStatus`,
  /// once.
  @inline(__always) public var hasStatus: Bool { flags & Self.statusFlag != 0 }

  /// True when the completion gives several file buffers back. It must be redeemed with
  /// `takeFileBuffers`, once.
  @inline(__always) public var hasFileBuffers: Bool { flags & Self.listFlag != 0 }

  /// True when the completion gives a file buffer back. It must be redeemed with
  /// `takeFileBuffer`, once.
  @inline(__always) public var hasFileBuffer: Bool {
    buffer != Self.noBuffer && flags & Self.fileFlag != 0
  }

  /// True when a relay has ended because nothing more could be written, not for its input's sake.
  @inline(__always) public var isOfSink: Bool { flags & Self.sinkFlag != 0 }

  @inline(__always) var bufferIndex: UInt32 { buffer & 0xFFFF }
  @inline(__always) var bufferGeneration: UInt32 { buffer >> 16 }
  @inline(__always) var pieceOffset: Int { Int(flags >> Self.pieceShift) }
}

/// Completions that wait for the loop to take them: a ring that grows by doubling at set-up
/// speed, never in steady state (its first size holds a full completion queue of the kernel).
@usableFromInline
struct CompletionQueue: ~Copyable {
  @usableFromInline var storage: UnsafeMutablePointer<Completion>
  @usableFromInline var mask: Int
  @usableFromInline var head = 0
  @usableFromInline var tail = 0

  /// - Parameter capacity: entries, a power of two.
  init(capacity: Int) {
    // TRAP: the engines' own constants.
    precondition(capacity > 0 && capacity & (capacity - 1) == 0)
    storage = .allocate(capacity: capacity)
    mask = capacity - 1
  }

  // Inlinable for the compiler's sake: 6.3 asserts where an inlinable property's setter, which ends
  // the old value, would call it.
  @inlinable deinit { storage.deallocate() }

  @inline(__always) var isEmpty: Bool { head == tail }
  @inline(__always) var count: Int { tail - head }

  @inline(__always)
  mutating func append(_ completion: Completion) {
    // Unchecked: neither end can overflow within the life of a machine.
    if tail &- head > mask { grow() }
    (storage + (tail & mask)).initialize(to: completion)
    tail &+= 1
  }

  /// Puts a completion in front of all that wait.
  @inline(__always)
  mutating func prepend(_ completion: Completion) {
    if tail - head > mask { grow() }
    head -= 1
    (storage + (head & mask)).initialize(to: completion)
  }

  /// Inlined into the caller's loop with the engines' `next`: a call and a result in memory per
  /// completion were 1 ns of the 25 of a no-operation.
  @inlinable @inline(__always)
  mutating func popFirst() -> Completion? {
    guard head != tail else { return nil }
    let completion = storage[head & mask]
    head &+= 1
    return completion
  }

  /// Starts again at the first place when empty, so that a busy loop stays on a few hot lines
  /// instead of walking through the whole ring.
  @inline(__always)
  mutating func rewind() {
    guard head == tail else { return }
    head = 0
    tail = 0
  }

  private mutating func grow() {
    let capacity = (mask + 1) * 2
    let larger = UnsafeMutablePointer<Completion>.allocate(capacity: capacity)
    let waiting = count
    for i in 0..<waiting { (larger + i).initialize(to: storage[(head + i) & mask]) }
    storage.deallocate()
    storage = larger
    mask = capacity - 1
    head = 0
    tail = waiting
  }
}
