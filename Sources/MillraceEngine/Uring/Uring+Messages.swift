// Messages between engines. What is said lies in the mailbox, which bounds it; the rings carry only
// the wake (IORING_OP_MSG_RING, 5.18), which costs neither side a system call of its own. A token has 64
// bits and a completion of the kernel's no room for more, so a message in it could not be told from
// a completion of ours.

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
    let byRing = use.contains(.ringMessages) && mailbox.ringDescriptor >= 0
    let (code, mustWake) = mailbox.insert(value, remoteToken, byRing: byRing)
    if mustWake && byRing {
      let slot = control.slots + Int(index)
      slot.pointee.started = true
      // Until it is known that the wake worked, and longer: see `keep`.
      slot.pointee.mailbox = keep(mailbox)
      let entry = self.entry()
      entry.pointee.opcode = UInt8(CLINUX_OP_MSG_RING)
      entry.pointee.fd = mailbox.ringDescriptor
      entry.pointee.off = Self.userData(.message, 0, 0)
      entry.pointee.user_data = controlUserData(index)
    } else {
      if mustWake { mailbox.wake() }
      control.release(index)
      later.append(Completion(token: token, result: code))
    }
  }

  /// The ring of the other engine may be full, disabled, or this one: then it is woken as any
  /// thread wakes it.
  mutating func messageCarried(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    if result < 0 { slot.pointee.mailbox?.takeUnretainedValue().wake() }
    slot.pointee.mailbox = nil
    endControl(index, 0)
  }

  /// Keeps a mailbox for as long as this engine lives: there are few, and each message would
  /// otherwise retain one.
  private mutating func keep(_ mailbox: Mailbox) -> Unmanaged<Mailbox> {
    let known = Unmanaged.passUnretained(mailbox)
    for i in 0..<correspondents.count where correspondents[i].toOpaque() == known.toOpaque() {
      return known
    }
    correspondents.append(Unmanaged.passRetained(mailbox))
    return known
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
