// What the relay keeps of one exchange beside its state: who takes part, what is known of the two
// messages, what is prepared of the response, and what its record needs.

import AuditLog
import Exchange
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

struct ExchangeSlot: ~Copyable {
  var state: ExchangeState
  let slot: UInt32
  let id: UInt64
  let downstream: StreamReference
  /// Slot of the upstream connection, or -1.
  var upstream: Int32 = -1
  /// Index of the upstream in `LivePlan`, and the server's place in it; -1 before they are chosen.
  var group: Int32 = -1
  var server: Int32 = -1
  /// Where its route's figures are in the worker's block of metrics; -1: no route has been asked.
  var route: Int32 = -1
  let method: HTTPMethod
  var request: ServerStream
  var response = HTTP1ClientStream()
  /// The request was written as frames of HTTP/2, and so is the copy.
  var isFramed = false
  /// Bytes of the copy of the request in the exchange's scratch memory; 0: there is none.
  var copyLength = 0
  /// What the proxy's own reply says where it is not the failure's label: the rule that is broken.
  var replyLabel: StaticString?
  /// The reply is one in HTTP/2: the client speaks it unasked.
  var repliesInHTTP2 = false
  /// The response, or its part that waits for the audit or for the client.
  var held = SendBuffer()
  var record = ExchangeRecord()
  var times: ExchangeTimes
  var upgrade = UpgradeOffer()
  var bulk = TunnelBulk()

  @inline(__always)
  init(
    _ state: ExchangeState, slot: UInt32, id: UInt64, downstream: StreamReference,
    method: HTTPMethod, framing: BodyFraming, version: HTTPVersion, started: Int64,
    waited: Int64
  ) {
    self.state = state
    self.slot = slot
    self.id = id
    self.downstream = downstream
    self.method = method
    request = ServerStream(framing: framing, version: version)
    times = ExchangeTimes(started: started, waited: waited)
  }
}

/// What is kept of an exchange for the audit log and the access log.
struct ExchangeRecord: ~Copyable {
  var access = ExchangeAccess()
  /// Bytes of the request's part of the record in the exchange's scratch memory.
  var requestPartLength = 0
  /// The request part when it does not fit the scratch memory.
  var requestPartCold: BufferSlice?
  var reservation = Reservation()
  /// Of the record that the response waits for.
  var gateSequence: UInt64 = 0
  /// True once a record was written that says how the exchange was to end.
  var isComplete = false
  /// It is in the queue of those that wait for room.
  var isQueued = false
  /// Since when the request waits for room, in monotonic nanoseconds; 0: it does not.
  var waitingSince: Int64 = 0
  /// The request's head while it waits, for room or for its server's protocol, and its memory.
  var head: OwnedHead?
  var headMemory: BufferSlice?
}

/// An offer to switch to another protocol that went to a server.
struct UpgradeOffer: BitwiseCopyable {
  /// Of the protocol among those that the upstream allows; -1: nothing was offered.
  var place: Int16 = -1
  /// Nothing was: the connection is a tunnel from its beginning.
  var isConnection = false
  /// The server speaks HTTP/2 and takes no tunnel over it, or none that this request can ask for: it is
  /// asked by HTTP/1.1.
  var needsHTTP1 = false
  /// The request has content, which is written once only: its head is not kept to be written anew.
  var hasContent = false
  /// Whether one side of a handshake of WebSocket is this proxy's own, with `key`.
  var hasKey = false
  var key = WebSocketKey()
}

/// Moments in monotonic nanoseconds; 0: not reached.
struct ExchangeTimes {
  let started: Int64
  /// Nanoseconds that the worker had waited for more until then (`Coalescing.waited`).
  let waited: Int64
  /// The exchange has got a connection to a server.
  var connected: Int64 = 0
  /// The head of the final response has come.
  var firstByte: Int64 = 0
  /// How long the connect took; -1: the connection was there.
  var connectMicroseconds: Int64 = -1

  init(started: Int64, waited: Int64) {
    self.started = started
    self.waited = waited
  }
}

typealias ExchangePointer = UnsafeMutablePointer<ExchangeSlot>

/// The exchanges of a worker, with scratch memory beside the slab so that an exchange itself stays
/// small.
struct Exchanges: ~Copyable {
  private var slab: Slab<ExchangeSlot>
  private let scratch: UnsafeMutableRawPointer
  private var nextID: UInt64

  /// The request's part of its audit record; longer ones go to cold memory.
  static var requestPartBytes: Int { 1024 }
  /// The request as it was sent, for another try; longer ones are not tried again.
  static var copyBytes: Int { 3072 }
  private static var scratchBytes: Int { requestPartBytes + copyBytes }

  /// - Parameter worker: ids are unique within a run: the worker in the high bits, a count in the low
  ///   ones.
  init(capacity: Int, worker: Int) {
    slab = Slab(capacity: capacity)
    scratch = .allocate(byteCount: capacity * Self.scratchBytes, alignment: 64)
    nextID = UInt64(worker) << 48
  }

  deinit { scratch.deallocate() }

  @inline(__always)
  subscript(slot: UInt32) -> ExchangePointer { slab[slot] }
  var capacity: Int { slab.capacity }
  var inUse: Int { slab.inUse }
  @inline(__always)
  func generation(_ slot: UInt32) -> UInt32 { slab.generation(slot) }
  func isActive(_ slot: UInt32) -> Bool { slot < slab.touched && slab.isTaken(slot) }

  /// - Returns: nil when `limits.streams` are in progress.
  @inline(__always)
  mutating func make(
    _ state: ExchangeState, _ downstream: StreamReference, method: HTTPMethod,
    framing: BodyFraming, version: HTTPVersion, started: Int64, waited: Int64
  ) -> ExchangePointer? {
    guard let slot = slab.take() else { return nil }
    nextID &+= 1
    let x = slab[slot]
    x.initialize(
      to: ExchangeSlot(
        state, slot: slot, id: nextID, downstream: downstream, method: method, framing: framing,
        version: version, started: started, waited: waited))
    return x
  }

  @inline(__always)
  mutating func end(_ x: ExchangePointer) {
    let slot = x.pointee.slot
    x.deinitialize(count: 1)
    slab.release(slot)
  }

  @inline(__always)
  func requestPart(_ x: ExchangePointer) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(
      start: scratch + Int(x.pointee.slot) * Self.scratchBytes, count: Self.requestPartBytes)
  }

  @inline(__always)
  func copy(_ x: ExchangePointer) -> UnsafeMutableRawPointer {
    scratch + Int(x.pointee.slot) * Self.scratchBytes + Self.requestPartBytes
  }
}
