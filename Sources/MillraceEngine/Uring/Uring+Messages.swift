// Messages between engines. What is said lies in the mailbox, which bounds it; the rings carry only
// the wake (IORING_OP_MSG_RING, 5.18), which costs neither side a system call of its own. A token has 64
// bits and a completion of the kernel's no room for more, so a message in it could not be told from
// a completion of ours.
//
// TRAP: (file) the caller's order of calls, which no event changes: chains are made and closed by
// code in one go.

import CLinux
import Glibc

extension Uring {
  public var mailbox: Mailbox { box }

  public mutating func post(
    _ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token
  ) {
    precondition(!chainIsOpen, "a message cannot be a step of a chain")
    guard let index = control.take(.message, token) else {
      return later.append(Completion(token: token, result: -ENOBUFS))
    }
    // Kept before it is known whether the kernel is needed: what is kept serves the next message.
    let place = use.contains(.ringMessages) ? correspondents.keep(mailbox) : -1
    let (code, wake) = mailbox.insert(value, remoteToken, byRing: place >= 0)
    if case .ring(let ring) = wake {
      let slot = control.slots + Int(index)
      slot.pointee.started = true
      slot.pointee.correspondent = place
      correspondents.begin(place)
      let entry = self.entry()
      entry.pointee.opcode = UInt8(CLINUX_OP_MSG_RING)
      entry.pointee.fd = ring
      entry.pointee.off = Self.userData(.message, 0, 0)
      entry.pointee.user_data = controlUserData(index)
    } else {
      if case .putter = wake { mailbox.wake() }
      if code == -ESHUTDOWN && place >= 0 { correspondents.forgetIfOver(place) }
      control.release(index)
      later.append(Completion(token: token, result: code))
    }
  }

  /// The ring of the other engine may be full, disabled, or this one: then it is woken as any
  /// thread wakes it.
  mutating func messageCarried(_ index: UInt32, _ result: Int32) {
    correspondents.end(control.slots[Int(index)].correspondent, succeeded: result >= 0)
    endControl(index, 0)
  }

  mutating func takeMessages() {
    let count = box.takeAll(&messages)
    guard count > 0 else { return }
    statistics.messages += count
    for i in 0..<count {
      queue.append(Completion(token: messages[i].token, result: messages[i].value))
    }
    messages.removeAll(keepingCapacity: true)
  }
}
