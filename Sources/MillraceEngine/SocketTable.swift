// One record per descriptor, indexed by its number: what is in flight on it, and under which
// token. Descriptor numbers are small and dense, so the table is a plain array, touched only
// where descriptors exist.

import CLinux
import Glibc

struct SocketRecord {
  var receiveToken: Token
  /// Token of an accept or of a connect.
  var setupToken: Token
  /// The frame that is being sent, or nil.
  var sendCell: UnsafeMutableRawPointer?
  /// Counts the owners of this number, so that a late completion of an earlier one is noticed.
  var generation: UInt32
  var state: SocketState
}

struct SocketState: OptionSet {
  let rawValue: UInt32
  static let open = SocketState(rawValue: 1 << 0)
  static let receivingStream = SocketState(rawValue: 1 << 1)
  static let receivingOnce = SocketState(rawValue: 1 << 2)
  /// `stopReceiving` was called; the terminal completion is still to come.
  static let stoppingReceive = SocketState(rawValue: 1 << 3)
  /// The receive waits for a free buffer.
  static let starved = SocketState(rawValue: 1 << 4)
  static let accepting = SocketState(rawValue: 1 << 5)
  static let stoppingAccept = SocketState(rawValue: 1 << 6)
  static let connecting = SocketState(rawValue: 1 << 7)
  static let stoppingConnect = SocketState(rawValue: 1 << 8)
  /// epoll: an edge was seen and not yet used up by EAGAIN or a short read.
  static let readable = SocketState(rawValue: 1 << 9)
  /// A send took the socket's pending error (ECONNRESET), after which the kernel shows a
  /// receive a plain end of stream: the receive reports the reset all the same.
  static let errorTaken = SocketState(rawValue: 1 << 10)
  /// epoll: the descriptor is in the list of sockets to serve before the next wait.
  static let queued = SocketState(rawValue: 1 << 11)
  /// epoll: the send in flight waits for an edge.
  static let sendParked = SocketState(rawValue: 1 << 12)
  /// epoll: the peer has closed or reset, so a short read is not the end of what can be read.
  static let hangup = SocketState(rawValue: 1 << 13)

  /// The descriptor is in the list of receives that wait for a small, or a large, buffer.
  static let listedSmall = SocketState(rawValue: 1 << 14)
  static let listedLarge = SocketState(rawValue: 1 << 15)
  static let listening = SocketState(rawValue: 1 << 16)
  /// The accept in flight is for one connection; its control slot stands in `setupToken`.
  static let acceptingOne = SocketState(rawValue: 1 << 17)
  static let receivingDatagrams = SocketState(rawValue: 1 << 18)
  /// The receive, or the accept, in flight is a step of a chain.
  static let receiveChained = SocketState(rawValue: 1 << 19)
  static let acceptChained = SocketState(rawValue: 1 << 20)
  /// A relay reads from it, whose slot stands in `receiveToken`; or writes to it, whose slot stands
  /// in `sendCell`.
  static let relaySource = SocketState(rawValue: 1 << 21)
  static let relaySink = SocketState(rawValue: 1 << 25)
  /// epoll: a splice waits for an edge.
  static let splicing = SocketState(rawValue: 1 << 22)
  /// A datagram socket, whose `sendCell` is the first of a queue.
  static let datagrams = SocketState(rawValue: 1 << 23)
  /// A slot that a caller has taken.
  static let reserved = SocketState(rawValue: 1 << 24)

  /// io_uring: a UNIX socket, see `Uring.armReceive`.
  static let local = SocketState(rawValue: 1 << 26)
  /// io_uring: bytes came since the last look at suspects, see Uring+Suspects.swift.
  static let heard = SocketState(rawValue: 1 << 27)
  static let listedSuspect = SocketState(rawValue: 1 << 28)
  /// io_uring: the receive was cancelled by the engine, to be armed again.
  static let reviving = SocketState(rawValue: 1 << 29)
  /// epoll: a file is in the slot, for which there are no edges.
  static let file = SocketState(rawValue: 1 << 30)
  /// io_uring: the receive into a large buffer is not tried before there is something to read.
  static let pollsFirst = SocketState(rawValue: 1 << 31)

  /// io_uring: a chain that the kernel runs closes it. The number may be somebody else's before
  /// the completion has been seen.
  static let closingStep = SocketState(rawValue: 1 << 30)

  /// What says where the *number* is, whoever owns it now, and so outlives its owner.
  static let ofTheNumber: SocketState = [.queued, .listedSmall, .listedLarge, .listedSuspect]
  static let receiving: SocketState = [.receivingStream, .receivingOnce, .receivingDatagrams]
  static let inFlight: SocketState = [
    .receivingStream, .receivingOnce, .receivingDatagrams, .accepting, .connecting, .relaySource,
  ]
}

struct SocketTable: ~Copyable {
  let records: UnsafeMutablePointer<SocketRecord>
  let limit: Int
  /// Direct slots, whose records follow those of descriptors.
  let slots: Int
  /// Highest descriptor so far, plus one: where a look at all may stop.
  let highest: UnsafeMutablePointer<Int>

  init(limit: Int, slots: Int = 0) {
    self.limit = limit
    self.slots = slots
    highest = .allocate(capacity: 1)
    highest.initialize(to: 0)
    let bytes = (limit + slots) * MemoryLayout<SocketRecord>.stride
    let memory = mmap(
      nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory, memory != MAP_FAILED else {
      // TRAP: address space is reserved when an engine is made, before the first connection.
      preconditionFailure("no address space for \(limit) descriptors")
    }
    // SAFETY: fresh zero pages; an all-zero record is a valid closed one.
    records = memory.bindMemory(to: SocketRecord.self, capacity: limit + slots)
  }

  deinit {
    munmap(records, (limit + slots) * MemoryLayout<SocketRecord>.stride)
    highest.deallocate()
  }

  @inline(__always)
  subscript(_ descriptor: Int32) -> UnsafeMutablePointer<SocketRecord> {
    if Int(descriptor) < limit && descriptor >= 0 { return records + Int(descriptor) }
    return directRecord(descriptor)
  }

  @inline(never)
  private func directRecord(_ descriptor: Int32) -> UnsafeMutablePointer<SocketRecord> {
    let slot = Int(descriptor & ~Descriptor.directBit)
    // TRAP: a number that the kernel gives beyond the limit is refused before it is used; what is left
    // are numbers that the caller makes up.
    precondition(descriptor >= Descriptor.directBit && slot < slots, "descriptor out of range")
    return records + limit + slot
  }

  /// Whether there is a record for a number, or a slot: for what comes from a caller who may name
  /// anything.
  func covers(_ descriptor: Int32) -> Bool {
    if descriptor >= Descriptor.directBit { return descriptor & ~Descriptor.directBit < slots }
    return descriptor >= 0 && Int(descriptor) < limit
  }

  /// Whether a close may be made: of an open number, or of a slot, which is thereby given back.
  func mayClose(_ descriptor: Int32) -> Bool {
    guard covers(descriptor) else { return false }
    return descriptor >= Descriptor.directBit || self[descriptor].pointee.state.contains(.open)
  }

  /// The number of a record.
  func descriptor(of record: UnsafeMutablePointer<SocketRecord>) -> Int32 {
    let index = record - records
    return index < limit ? Int32(index) : Descriptor.directBit | Int32(index - limit)
  }

  /// Makes a fresh record for a descriptor that was just opened.
  @inline(__always)
  func open(_ descriptor: Int32) -> UnsafeMutablePointer<SocketRecord> {
    let record = self[descriptor]
    record.pointee.generation = (record.pointee.generation &+ 1) & 0xFF_FFFF
    record.pointee.state = record.pointee.state.intersection(.ofTheNumber).union(.open)
    record.pointee.sendCell = nil
    if descriptor < Descriptor.directBit && Int(descriptor) >= highest.pointee {
      highest.pointee = Int(descriptor) + 1
    }
    return record
  }

  /// - Precondition: nothing of this engine's is open under the number. A socket that the kernel's
  /// chain closes may be closed and its number somebody else's, before that has been seen.
  func requireForeign(_ number: Int32) {
    guard number >= 0 && Int(number) < limit else { return }
    let record = records + Int(number)
    let mayBeGone =
      record.pointee.state.contains(.closingStep)
      && record.pointee.state.isDisjoint(with: .inFlight) && record.pointee.sendCell == nil
    // TRAP: which numbers are adopted is the caller's choice.
    precondition(
      !record.pointee.state.contains(.open) || mayBeGone,
      "adopt of a descriptor that is open in this engine")
  }

  /// Ends the record of a descriptor that is about to be closed.
  @inline(__always)
  func retire(_ descriptor: Int32) {
    let record = self[descriptor]
    // A second close would be that of whoever has the number by then. Of an empty slot it is how
    // the slot is given back.
    // TRAP: the caller closes what it opened, once, when its own flags say that nothing is in flight.
    precondition(
      record.pointee.state.contains(.open) || descriptor >= Descriptor.directBit,
      "close of a descriptor that is not open, or of a file: closeFile")
    precondition(
      record.pointee.state.isDisjoint(with: .inFlight) && record.pointee.sendCell == nil,
      "close with an operation in flight")
    record.pointee.generation = (record.pointee.generation &+ 1) & 0xFF_FFFF
    record.pointee.state.formIntersection(.ofTheNumber)
  }
}
