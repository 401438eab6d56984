// Accepting one connection, into a number or into a direct slot; and what becomes of an accept whose
// number a chain has just closed.
//
// TRAP: (file) the caller arms each listener once, by its own flag.

import CLinux
import Glibc

extension Uring {
  public mutating func acceptOne(
    _ listener: Descriptor, into slot: Descriptor?, _ token: Token
  ) {
    submit(.acceptOne, token) {
      $0.pointee.descriptor = listener.rawValue
      $0.pointee.second = slot?.rawValue ?? -1
    }
  }

  func prepareAcceptOne(_ index: UInt32) {
    let slot = control.slots + Int(index)
    let record = sockets[slot.pointee.descriptor]
    precondition(!record.pointee.state.contains(.accepting), "two accepts on one listener")
    record.pointee.setupToken = Token(rawValue: UInt64(index))
    record.pointee.state.formUnion([.accepting, .acceptingOne])
    guard slot.pointee.second >= 0 else { return }
    beginFilling(slot.pointee.second)
    let family = record.pointee.state.intersection(.local)
    sockets[slot.pointee.second].pointee.state.formUnion(family)
  }

  func fillAcceptOne(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UnsafeMutablePointer<ControlOperation>
  ) {
    entry.pointee.opcode = UInt8(CLINUX_OP_ACCEPT)
    entry.pointee.fd = slot.pointee.descriptor
    let cloexec = Int32(SOCK_CLOEXEC.rawValue)
    if slot.pointee.second >= 0 {
      fill(slot.pointee.second, by: entry, flags: 0, cloexec: cloexec)
    } else {
      entry.pointee.op_flags = UInt32(bitPattern: cloexec)
    }
  }

  mutating func acceptedOne(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    let record = sockets[slot.pointee.descriptor]
    let isLinked = slot.pointee.chain == Self.linked
    var result = result
    if slot.pointee.second >= 0 {
      if mayAcceptAgain(slot, result) { return armControl(index) }
      result = endFilling(slot.pointee.second, result)
    } else if result >= 0 {
      if Int(result) >= sockets.limit {
        statistics.connectionsRefused += 1
        Glibc.close(result)
        // What the kernel runs has gone on already.
        if !isLinked && !slot.pointee.cancelled { return armControl(index) }
        result = slot.pointee.cancelled ? -ECANCELED : -EMFILE
      } else {
        settle(result)
        admit(result, from: record)
      }
    } else if mayAcceptAgain(slot, result) {
      return armControl(index)
    }
    if slot.pointee.cancelled && Sockets.isTransientAcceptError(result) { result = -ECANCELED }
    record.pointee.state.subtract([.accepting, .acceptingOne, .stoppingAccept])
    endControl(index, result)
  }

  private func mayAcceptAgain(
    _ slot: UnsafeMutablePointer<ControlOperation>, _ result: Int32
  ) -> Bool {
    Sockets.isTransientAcceptError(result) && slot.pointee.chain != Self.linked
      && !slot.pointee.cancelled
  }

  // MARK: Numbers that a chain has closed

  /// A number that the kernel gives out may be one that a chain has closed and whose completion still
  /// waits in the queue: takes what waits, so that the earlier owner's record ends first.
  @inline(__always)
  mutating func settle(_ number: Int32) {
    if sockets[number].pointee.state.contains(.closingStep) { takeCompletions() }
  }

  /// Accepts of such numbers, when everything else of the queue has been seen.
  @inline(never)
  mutating func acceptPostponed() {
    var waiting: [clinux_cqe] = []
    swap(&waiting, &postponed)
    for completion in waiting { dispatch(completion) }
  }
}
