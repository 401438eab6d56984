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
    let (code, isFirst) = mailbox.insert(value, remoteToken)
    if isFirst && use.contains(.ringMessages) && mailbox.ringDescriptor >= 0 {
      let slot = control.slots + Int(index)
      slot.pointee.started = true
      // Until it is known that the wake worked.
      slot.pointee.mailbox = Unmanaged.passRetained(mailbox)
      let entry = self.entry()
      entry.pointee.opcode = UInt8(CLINUX_OP_MSG_RING)
      entry.pointee.fd = mailbox.ringDescriptor
      entry.pointee.off = Self.userData(.message, 0, 0)
      entry.pointee.user_data = controlUserData(index)
    } else {
      if isFirst { mailbox.wake() }
      control.release(index)
      later.append(Completion(token: token, result: code))
    }
  }

  /// The ring of the other engine may be full, disabled, or this one: then it is woken as any
  /// thread wakes it.
  mutating func messageCarried(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    let mailbox = slot.pointee.mailbox?.takeRetainedValue()
    slot.pointee.mailbox = nil
    if result < 0 { mailbox?.wake() }
    endControl(index, 0)
  }

  mutating func takeMessages() {
    box.takeAll(&messages)
    for message in messages {
      statistics.messages += 1
      queue.append(Completion(token: message.token, result: message.value))
    }
    messages.removeAll(keepingCapacity: true)
  }
}
