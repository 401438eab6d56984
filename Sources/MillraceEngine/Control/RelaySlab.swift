// Relays: bytes from one socket to another that the caller never sees. The steps are plain system
// calls that do not wait, the same for both engines; when one would wait, the engine is told for
// which side. A relay by splice(2) has a pipe of a bounded pool.
//
// TRAP: (file) two numbers have an address; a relay with a buffer was given it when it was made.

import CLinux
import Glibc

struct Relay {
  var token: Token
  var inUse: Bool
  var source: Int32
  var sink: Int32
  /// What system calls take for the two.
  var sourceDescriptor: Int32
  var sinkDescriptor: Int32
  var bySplice: Bool
  /// Bytes that are still to be read, and those that were read and not yet written.
  var toRead: Int
  var held: Int
  /// Where in the buffer the held bytes begin, for a relay by copy.
  var offset: Int
  /// Bytes written since the caller was told.
  var unreported: Int
  /// Bytes written in all.
  var written: Int
  var sourceEnded: Bool
  var cancelled: Bool
  /// Nothing more is read; what was read still leaves.
  var finishing: Bool
  /// The side that the engine waits for.
  var waiting: RelayWait
  /// The pipe; -1: none yet. It stays with the slot.
  var pipeOutput: Int32
  var pipeInput: Int32
  var pipeCapacity: Int
  /// True while bytes that nobody wants lie in the pipe.
  var isDirty: Bool
  /// The buffer of a relay by copy.
  var buffer: UnsafeMutableRawPointer?
  /// fcntl(2) flags of the two before the relay, where it changes them.
  var sourceFlags: Int32
  var sinkFlags: Int32
}

enum RelayWait: UInt8 { case none, source, sink, turn }

/// What a run of a relay came to.
enum RelayOutcome {
  case waits(RelayWait)
  /// 0, or a negated errno of the source or of the sink.
  case ended(Int32)
  case sinkFailed(Int32)
}

struct RelaySlab: ~Copyable {
  let relays: UnsafeMutablePointer<Relay>
  let capacity: Int
  private let free: UnsafeMutablePointer<UInt32>
  private var freeCount: Int
  private let pipeBytes: Int
  /// The sockets of io_uring block, and a splice(2) from or to a socket that blocks waits whatever
  /// its own flags say (SPLICE_F_NONBLOCK is for pipes): while such a relay runs, they do not.
  private let socketsBlock: Bool
  private(set) var refusals = 0

  /// Bytes that one relay moves before others get their turn.
  static let turnBytes = 1 << 20
  /// The buffer of a relay by copy; see `EngineOptions.largeBufferSize` for the size.
  static let bufferBytes = 131_072
  /// From here on a relay by splice costs less than one by copy, by 12% with a pipe that is there
  /// already: docs/performance.md.
  static let spliceFrom = 16_384

  init(capacity: Int, pipeBytes: Int, socketsBlock: Bool = false) {
    self.capacity = capacity
    self.pipeBytes = pipeBytes
    self.socketsBlock = socketsBlock
    relays = .allocate(capacity: max(capacity, 1))
    free = .allocate(capacity: max(capacity, 1))
    freeCount = capacity
    for i in 0..<capacity {
      (free + i).initialize(to: UInt32(capacity - 1 - i))
      (relays + i).initialize(
        to: Relay(
          token: Token(rawValue: 0), inUse: false, source: -1, sink: -1, sourceDescriptor: -1,
          sinkDescriptor: -1, bySplice: false, toRead: 0, held: 0, offset: 0, unreported: 0,
          written: 0, sourceEnded: false, cancelled: false, finishing: false, waiting: .none,
          pipeOutput: -1,
          pipeInput: -1, pipeCapacity: 0, isDirty: false, buffer: nil, sourceFlags: 0, sinkFlags: 0)
      )
    }
  }

  deinit {
    if freeCount != capacity {
      engineBug("relays were in flight when their slots were torn down")
      return
    }
    for i in 0..<capacity {
      Self.closePipe(relays + i)
      relays[i].buffer?.deallocate()
    }
    relays.deallocate()
    free.deallocate()
  }

  var inUse: Int { capacity - freeCount }

  /// Takes a slot and prepares it.
  /// - Returns: the slot, or a negated errno: ENOBUFS when all are in use (counted), EMFILE.
  mutating func take(_ count: Int, _ method: RelayMethod, _ token: Token) -> (UInt32, Int32) {
    guard freeCount > 0 else {
      refusals += 1
      return (0, -ENOBUFS)
    }
    let index = free[freeCount - 1]
    let relay = relays + Int(index)
    let bySplice = method == .splice || (method == .automatic && count >= Self.spliceFrom)
    if bySplice {
      let code = openPipe(relay)
      if code < 0 { return (0, code) }
    } else if relay.pointee.buffer == nil {
      relay.pointee.buffer = .allocate(byteCount: Self.bufferBytes, alignment: 4096)
    }
    freeCount -= 1
    relay.pointee.token = token
    relay.pointee.inUse = true
    relay.pointee.bySplice = bySplice
    relay.pointee.toRead = count
    relay.pointee.held = 0
    relay.pointee.offset = 0
    relay.pointee.unreported = 0
    relay.pointee.written = 0
    relay.pointee.sourceEnded = false
    relay.pointee.cancelled = false
    relay.pointee.finishing = false
    relay.pointee.waiting = .none
    return (index, 0)
  }

  mutating func release(_ index: UInt32) {
    let relay = relays + Int(index)
    // What was left in the pipe must not come out of the next relay.
    if relay.pointee.bySplice && relay.pointee.held > 0 { Self.closePipe(relay) }
    relay.pointee.inUse = false
    free[freeCount] = index
    freeCount += 1
  }

  /// What has left since the last report, as a completion that is not terminal; nil: nothing.
  static func takeProgress(_ relay: UnsafeMutablePointer<Relay>) -> Completion? {
    let count = relay.pointee.unreported
    guard count > 0 else { return nil }
    relay.pointee.unreported = 0
    return Completion(token: relay.pointee.token, result: Int32(clamping: count), more: true)
  }

  /// The terminal completion of a relay that has ended with 0 or a negated errno.
  static func last(
    _ relay: UnsafeMutablePointer<Relay>, _ result: Int32, atSink: Bool
  ) -> Completion {
    var completion = Completion(
      token: relay.pointee.token,
      result: result < 0 ? result : Int32(clamping: relay.pointee.unreported))
    if atSink { completion.flags |= Completion.sinkFlag }
    return completion
  }

  private func openPipe(_ relay: UnsafeMutablePointer<Relay>) -> Int32 {
    guard relay.pointee.pipeOutput < 0 else { return 0 }
    var ends: (Int32, Int32) = (-1, -1)
    let code = withUnsafeMutableBytes(of: &ends) {
      clinux_pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress!, O_CLOEXEC | O_NONBLOCK)
    }
    guard code == 0 else { return -errno }
    relay.pointee.pipeOutput = ends.0
    relay.pointee.pipeInput = ends.1
    // Refused beyond /proc/sys/fs/pipe-max-size and the user's share: the default works, too.
    let size = clinux_set_pipe_size(ends.1, Int32(pipeBytes))
    relay.pointee.pipeCapacity = size > 0 ? Int(size) : 65_536
    return 0
  }

  private static func closePipe(_ relay: UnsafeMutablePointer<Relay>) {
    guard relay.pointee.pipeOutput >= 0 else { return }
    Glibc.close(relay.pointee.pipeOutput)
    Glibc.close(relay.pointee.pipeInput)
    relay.pointee.pipeOutput = -1
    relay.pointee.pipeInput = -1
  }

  /// Moves what can be moved without waiting.
  /// - Parameter counters: gets the system calls and the bytes copied.
  func run(_ index: UInt32, _ counters: inout EngineCounters) -> RelayOutcome {
    let relay = relays + Int(index)
    guard socketsBlock && relay.pointee.bySplice else { return move(relay, &counters) }
    counters.systemCalls += 4
    setFlags(relay, adding: O_NONBLOCK)
    let outcome = move(relay, &counters)
    setFlags(relay, adding: 0)
    return outcome
  }

  /// fcntl(2) flags of both sockets. Two file descriptions whose flags nobody else changes: the
  /// sockets are the engine's.
  private func setFlags(_ relay: UnsafeMutablePointer<Relay>, adding flag: Int32) {
    _ = fcntl(relay.pointee.sourceDescriptor, F_SETFL, relay.pointee.sourceFlags | flag)
    _ = fcntl(relay.pointee.sinkDescriptor, F_SETFL, relay.pointee.sinkFlags | flag)
  }

  private func move(
    _ relay: UnsafeMutablePointer<Relay>, _ counters: inout EngineCounters
  ) -> RelayOutcome {
    var budget = Self.turnBytes
    while true {
      if relay.pointee.held == 0 {
        if relay.pointee.toRead == 0 || relay.pointee.sourceEnded { return .ended(0) }
        if relay.pointee.finishing { return .ended(-ECANCELED) }
        if budget <= 0 { return .waits(.turn) }
        counters.systemCalls += 1
        let got = relay.pointee.bySplice ? spliceIn(relay) : copyIn(relay)
        if got == -EAGAIN { return .waits(.source) }
        if got == -EINTR { continue }
        if got < 0 { return .ended(Int32(got)) }
        if got == 0 {
          relay.pointee.sourceEnded = true
          continue
        }
        if !relay.pointee.bySplice { counters.bytesCopied += got }
        relay.pointee.held = got
        relay.pointee.offset = 0
        if relay.pointee.toRead != .max { relay.pointee.toRead -= got }
        budget -= got
      }
      counters.systemCalls += 1
      let put = relay.pointee.bySplice ? spliceOut(relay) : copyOut(relay)
      if put == -EAGAIN { return .waits(.sink) }
      if put == -EINTR { continue }
      if put < 0 { return .sinkFailed(Int32(put)) }
      if !relay.pointee.bySplice { counters.bytesCopied += put }
      relay.pointee.held -= put
      relay.pointee.offset += put
      relay.pointee.unreported += put
      relay.pointee.written += put
    }
  }

  private func spliceIn(_ relay: UnsafeMutablePointer<Relay>) -> Int {
    clinux_splice(
      relay.pointee.sourceDescriptor, relay.pointee.pipeInput,
      min(relay.pointee.toRead, relay.pointee.pipeCapacity),
      UInt32(CLINUX_SPLICE_MOVE | CLINUX_SPLICE_NONBLOCK))
  }

  private func spliceOut(_ relay: UnsafeMutablePointer<Relay>) -> Int {
    // Of what has no end it is not known whether more follows, and the kernel would keep a piece that is
    // smaller than a packet back for up to 200 ms.
    let isMore = relay.pointee.toRead > 0 && relay.pointee.toRead != .max
    let more = isMore ? CLINUX_SPLICE_MORE : 0
    return clinux_splice(
      relay.pointee.pipeOutput, relay.pointee.sinkDescriptor, relay.pointee.held,
      UInt32(CLINUX_SPLICE_MOVE | CLINUX_SPLICE_NONBLOCK | more))
  }

  private func copyIn(_ relay: UnsafeMutablePointer<Relay>) -> Int {
    let got = recv(
      relay.pointee.sourceDescriptor, relay.pointee.buffer,
      min(relay.pointee.toRead, Self.bufferBytes), Int32(MSG_DONTWAIT))
    return got < 0 ? -Int(errno) : got
  }

  private func copyOut(_ relay: UnsafeMutablePointer<Relay>) -> Int {
    let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
    let put = Glibc.send(
      relay.pointee.sinkDescriptor, relay.pointee.buffer! + relay.pointee.offset,
      relay.pointee.held, flags)
    return put < 0 ? -Int(errno) : put
  }

  /// A relay's slot as the sink's record keeps it, and back.
  @inline(__always)
  func pointer(_ index: UInt32) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(relays + Int(index))
  }
  @inline(__always)
  func index(_ pointer: UnsafeMutableRawPointer) -> UInt32 {
    UInt32(pointer.assumingMemoryBound(to: Relay.self) - relays)
  }

  /// splice(2) towards a socket whose peer has gone raises SIGPIPE, which no flag prevents: a
  /// process that has not said what it wants of it does not want to die of it. Asked once: what the
  /// process says later stands.
  @inline(__always)
  static func ignoreBrokenPipes() { _ = brokenPipesAreIgnored }

  private static let brokenPipesAreIgnored: Void = {
    var action = sigaction()
    guard sigaction(SIGPIPE, nil, &action) == 0 else { return }
    if action.__sigaction_handler.sa_handler == nil { signal(SIGPIPE, SIG_IGN) }
  }()
}
