// What a trial works with in the child: small rings, pairs of sockets, rings of buffers in memory that was
// mapped once, and checks that throw a number instead of a sentence.

import CLinux
import Glibc

/// What the trials are told.
struct TrialSettings {
  /// Those of the rings that the trials use; the first two trials decide.
  var ringFlags = UInt32(CLINUX_SETUP_CQSIZE | CLINUX_SETUP_CLAMP)
  var busyPollMicroseconds: UInt32
  var busyPollBudget: UInt16
  var submissionThreadCPU: Int?
  /// In tests: a trial that must not pass, and what befalls it.
  var fault: TrialFault?

  init(_ options: EngineOptions) {
    busyPollMicroseconds = UInt32(clamping: options.busyPollMicroseconds)
    busyPollBudget = UInt16(clamping: options.busyPollBudget)
    submissionThreadCPU = options.submissionThreadCPU
  }
}

/// A trial that fails on purpose: proves that its failure is noticed and costs this feature only.
struct TrialFault {
  enum Kind {
    /// The kernel's answers come out by one.
    case lies
    /// The process dies of this signal.
    case death(Int32)
    case silence
    /// In the first pass over the trials only.
    case silenceOnce

    var isOfFirstPass: Bool {
      if case .silenceOnce = self { true } else { false }
    }
  }
  var trial: FeatureTrial
  var kind: Kind
}

struct TrialBench {
  let settings: TrialSettings
  /// Page aligned.
  let memory: UnsafeMutableRawPointer
  let lies: Bool
  static let memoryBytes = 65_536
  /// How long one completion may take: far more than any needs on a busy machine.
  static let timeoutNanoseconds: Int64 = 200_000_000
  /// Long enough to be told from no wait at all, short enough for every start of the proxy.
  static let shortWaitNanoseconds: Int64 = 200_000

  /// Memory for the trials of one child, which ends with it.
  init?(_ settings: TrialSettings, lies: Bool) {
    let memory = mmap(
      nil, Self.memoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let memory, memory != MAP_FAILED else { return nil }
    self.settings = settings
    self.memory = memory
    self.lies = lies
  }

  func bytes(_ offset: Int) -> UnsafeMutablePointer<UInt8> {
    // SAFETY: within the mapping, whose bytes are nobody else's.
    (memory + offset).assumingMemoryBound(to: UInt8.self)
  }

  /// An answer of the kernel's as the trial gets to see it.
  func seen(_ answer: Int32) -> Int32 { lies ? answer &+ 1 : answer }

  func makeRing(
    _ flags: UInt32? = nil, completions: Int = 32, threadIdle: Int = 0
  ) throws(TrialFailure) -> TrialRing {
    do throws(SystemFailure) {
      let ring = try Ring(
        entries: 8, completions: completions, flags: flags ?? settings.ringFlags,
        threadIdle: threadIdle, threadCPU: settings.submissionThreadCPU ?? 0)
      return TrialRing(ring, lies: lies)
    } catch {
      throw TrialFailure(code: -error.code, place: .setup)
    }
  }

  func bufferRing(
    _ ring: borrowing TrialRing, buffers: Int, of size: Int, flags: UInt16 = 0
  ) throws(TrialFailure) -> TrialBuffers {
    // The addresses in the first page, the buffers in the second.
    let entries = memory.bindMemory(to: clinux_buf.self, capacity: buffers)
    var registration = clinux_buf_reg()
    registration.ring_addr = UInt64(UInt(bitPattern: memory))
    registration.ring_entries = UInt32(buffers)
    registration.flags = flags
    memset(memory, 0, 8192)
    try ring.register(CLINUX_REGISTER_PBUF_RING, &registration, 1)
    for i in 0..<buffers {
      entries[i].addr = UInt64(UInt(bitPattern: memory + 4096 + i * size))
      entries[i].len = UInt32(size)
      entries[i].bid = UInt16(i)
    }
    // SAFETY: the ring's tail lies in the reserved half-word of entry 0, as the UAPI says.
    let tail = (memory + 14).assumingMemoryBound(to: UInt16.self)
    clinux_store_release16(tail, UInt16(buffers))
    return TrialBuffers(first: bytes(4096), size: size)
  }
}

/// Buffers that a ring draws from.
struct TrialBuffers {
  let first: UnsafeMutablePointer<UInt8>
  let size: Int

  func check(_ buffer: Int, at offset: Int = 0, is text: StaticString) throws(TrialFailure) {
    let same = memcmp(first + buffer * size + offset, text.utf8Start, text.utf8CodeUnitCount) == 0
    try require(.content, same)
  }
}

func expect(_ place: TrialPlace, _ got: Int64, is wanted: Int64) throws(TrialFailure) {
  if got == wanted { return }
  throw TrialFailure(code: ProbeOutcome.wrong, place: place, got: got, wanted: wanted)
}

func require(_ place: TrialPlace, _ isSo: Bool) throws(TrialFailure) {
  if !isSo { throw TrialFailure(code: ProbeOutcome.wrong, place: place) }
}

/// An answer that is a number or a negated errno.
func expect(_ place: TrialPlace, _ got: Int32, is wanted: Int32) throws(TrialFailure) {
  if got == wanted { return }
  if got < 0 { throw TrialFailure(code: got, place: place) }
  try expect(place, Int64(got), is: Int64(wanted))
}

/// A ring of eight entries, one operation after the other.
struct TrialRing: ~Copyable {
  var ring: Ring
  private let lies: Bool
  private var serial: UInt64 = 0

  init(_ ring: consuming Ring, lies: Bool) {
    self.ring = ring
    self.lies = lies
  }

  /// The next entry. Its user data counts up from one.
  mutating func entry(_ opcode: Int, _ descriptor: Int32 = -1) throws(TrialFailure)
    -> UnsafeMutablePointer<clinux_sqe>
  {
    guard let entry = ring.nextEntry() else {
      throw TrialFailure(code: -EBUSY, place: .submission)
    }
    serial += 1
    entry.pointee.opcode = UInt8(opcode)
    entry.pointee.fd = descriptor
    entry.pointee.user_data = serial
    return entry
  }

  /// Submits what there is, without waiting.
  mutating func submit() throws(TrialFailure) {
    let count = Int32(ring.pending)
    try expect(.submission, ring.enter(wait: 0, timeoutNanoseconds: -1), is: count)
  }

  /// Submits what there is and waits for a completion.
  mutating func next(_ place: TrialPlace, extra: UInt32 = 0) throws(TrialFailure) -> clinux_cqe {
    if ring.ready == 0 || ring.pending > 0 {
      let end = SystemClock.monotonicNanoseconds() + TrialBench.timeoutNanoseconds
      var (code, left): (Int32, Int64) = (0, TrialBench.timeoutNanoseconds)
      repeat {
        code = ring.enter(wait: 1, timeoutNanoseconds: left, extra: extra)
        left = end - SystemClock.monotonicNanoseconds()
      } while ring.ready == 0 && (code >= 0 || code == -EINTR) && left > 0
      if code < 0 && ring.ready == 0 { throw TrialFailure(code: code, place: place) }
    }
    guard ring.ready > 0 else { throw TrialFailure(code: -ETIME, place: place) }
    var completion = ring.take()
    ring.commitTaken()
    if lies { completion.res &+= 1 }
    return completion
  }

  /// Waits for a completion that must have this result.
  @discardableResult
  mutating func expectNext(_ place: TrialPlace, is wanted: Int32) throws(TrialFailure)
    -> clinux_cqe
  {
    let completion = try next(place)
    try expect(place, completion.res, is: wanted)
    return completion
  }

  /// A bare round trip.
  mutating func nop(_ place: TrialPlace, flags: Int = 0) throws(TrialFailure) {
    try entry(CLINUX_OP_NOP).pointee.flags = UInt8(flags)
    try expectNext(place, is: 0)
  }

  mutating func receive(
    _ socket: Int32, into room: UnsafeMutableRawPointer, _ count: UInt32, flags: Int = 0
  ) throws(TrialFailure) {
    let entry = try entry(CLINUX_OP_RECV, socket)
    entry.pointee.addr = UInt64(UInt(bitPattern: room))
    entry.pointee.len = count
    entry.pointee.flags = UInt8(flags)
  }

  /// A multishot receive into the buffers of group 0.
  mutating func receiveAll(_ socket: Int32, flags: Int = 0) throws(TrialFailure) {
    let entry = try entry(CLINUX_OP_RECV, socket)
    entry.pointee.ioprio = UInt16(CLINUX_RECV_MULTISHOT | flags)
    entry.pointee.flags = UInt8(CLINUX_SQE_BUFFER_SELECT)
  }

  func register<T>(_ operation: Int, _ argument: inout T, _ count: UInt32) throws(TrialFailure) {
    let code = withUnsafeMutablePointer(to: &argument) {
      clinux_uring_ask(ring.descriptor, UInt32(operation), $0, count)
    }
    if code < 0 { throw TrialFailure(code: code, place: .registration) }
  }
}

extension clinux_cqe {
  func expectFlag(_ flag: Int, _ isSet: Bool = true) throws(TrialFailure) {
    try require(.flags, (flags & UInt32(flag) != 0) == isSet)
  }
  var buffer: Int { Int(flags >> UInt32(CLINUX_CQE_BUFFER_SHIFT)) }
}

/// Two ends of a connection.
struct TrialPair: ~Copyable {
  let near: Int32
  let far: Int32

  /// A UNIX pair.
  init() throws(TrialFailure) {
    var ends: (Int32, Int32) = (-1, -1)
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let code = withUnsafeMutableBytes(of: &ends) {
      socketpair(AF_UNIX, type, 0, $0.assumingMemoryBound(to: Int32.self).baseAddress!)
    }
    guard code == 0 else { throw TrialFailure(code: -errno, place: .socket) }
    (near, far) = ends
    Self.limitWaits(far)
  }

  init(near: Int32, far: Int32) {
    self.near = near
    self.far = far
    Self.limitWaits(far)
  }

  deinit {
    Glibc.close(near)
    Glibc.close(far)
  }

  /// A receive of the far end must not wait for ever for what the kernel under trial does not send.
  private static func limitWaits(_ socket: Int32) {
    var limit = timeval(tv_sec: 0, tv_usec: Int(TrialBench.timeoutNanoseconds / 1000))
    setsockopt(
      socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  func send(_ text: StaticString) throws(TrialFailure) {
    let sent = Glibc.send(far, text.utf8Start, text.utf8CodeUnitCount, Int32(MSG_NOSIGNAL))
    guard sent == text.utf8CodeUnitCount else { throw TrialFailure(code: -errno, place: .socket) }
  }

  /// Receives exactly these bytes at the far end.
  func expectArrival(of wanted: UnsafeRawPointer, _ count: Int, room: UnsafeMutableRawPointer)
    throws(TrialFailure)
  {
    var got: Int
    // A receive with a limit on its wait is not restarted by the kernel, signal(7).
    repeat { got = recv(far, room, count, Int32(MSG_WAITALL)) } while got < 0 && errno == EINTR
    try expect(.content, Int64(got), is: Int64(count))
    try require(.content, memcmp(room, wanted, count) == 0)
  }
}

/// A listener, by a UNIX name of the kernel's choosing or on a port of the loopback interface.
struct TrialListener: ~Copyable {
  let descriptor: Int32
  private var address: sockaddr_storage
  private let length: socklen_t

  init(overLoopback: Bool = false) throws(TrialFailure) {
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sa_family_t>.size)
    address.ss_family = sa_family_t(overLoopback ? AF_INET : AF_UNIX)
    if overLoopback {
      length = socklen_t(MemoryLayout<sockaddr_in>.size)
      withUnsafeMutableBytes(of: &address) {
        $0.storeBytes(of: UInt32(0x7F00_0001).bigEndian, toByteOffset: 4, as: UInt32.self)
      }
    }
    let socket = Self.openSocket(Int32(address.ss_family))
    guard socket >= 0 else { throw TrialFailure(code: -errno, place: .socket) }
    let bound = Self.withAddress(&address) { Glibc.bind(socket, $0, length) }
    let listens = bound == 0 && Glibc.listen(socket, 4) == 0
    length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    guard listens, Self.withAddress(&address, { getsockname(socket, $0, &length) }) == 0 else {
      let code = -errno
      Glibc.close(socket)
      throw TrialFailure(code: code, place: .socket)
    }
    descriptor = socket
    self.address = address
    self.length = length
  }

  deinit { Glibc.close(descriptor) }

  private static func openSocket(_ family: Int32) -> Int32 {
    Glibc.socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  }

  private static func withAddress(
    _ address: inout sockaddr_storage, _ body: (UnsafeMutablePointer<sockaddr>) -> Int32
  ) -> Int32 {
    withUnsafeMutablePointer(to: &address) {
      // SAFETY: a storage is large enough for every family and begins as each does.
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1, body)
    }
  }

  /// A connection that nobody has accepted yet.
  mutating func connect() throws(TrialFailure) -> Int32 {
    let far = Self.openSocket(Int32(address.ss_family))
    guard far >= 0 else { throw TrialFailure(code: -errno, place: .socket) }
    let bytes = length
    guard Self.withAddress(&address, { Glibc.connect(far, $0, bytes) }) == 0 else {
      let code = -errno
      Glibc.close(far)
      throw TrialFailure(code: code, place: .socket)
    }
    return far
  }
}
