// Messages between engines: from ring to ring by the kernel (IORING_OP_MSG_RING), else through the
// memory of the mailbox and a wake. And where connections are placed.

import CLinux
import Glibc

extension Uring {
  /// Set in the flags of a completion that another ring sent; a buffer's number ends below it.
  static let messageMark: UInt32 = 1 << 31
  /// IORING_MSG_RING_FLAGS_PASS (6.3): the sender chooses the flags of the completion.
  private static let passFlags: UInt32 = 2

  public var mailbox: Mailbox { box }

  public mutating func post(
    _ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token
  ) {
    precondition(!isMakingChain, "a message cannot be a step of a chain")
    let byRing = use.contains(.ringMessages) && mailbox.ringDescriptor >= 0
    // A ring does not send to itself, and nobody reads a ring whose engine has ended.
    guard byRing, mailbox !== box, !mailbox.isClosed else {
      let code = mailbox.put(value, remoteToken)
      return submit(.message, token) { $0.pointee.second = code }
    }
    guard let index = control.take(.message, token) else {
      return later.append(Completion(token: token, result: -ENOBUFS))
    }
    control.slots[Int(index)].started = true
    control.slots[Int(index)].second = 0
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_MSG_RING)
    entry.pointee.fd = mailbox.ringDescriptor
    entry.pointee.len = UInt32(bitPattern: value)
    entry.pointee.off = remoteToken.rawValue
    entry.pointee.op_flags = Self.passFlags
    entry.pointee.file_index = Int32(bitPattern: Self.messageMark)
    entry.pointee.user_data = Self.userData(
      .control, control.slots[Int(index)].generation, index)
  }

  @inline(never)
  mutating func messageCame(_ completion: clinux_cqe) {
    statistics.messages += 1
    queue.append(
      Completion(token: Token(rawValue: completion.user_data), result: completion.res))
  }

  mutating func takeMessages() {
    box.takeAll(&messages)
    for message in messages {
      statistics.messages += 1
      queue.append(Completion(token: message.token, result: message.value))
    }
    messages.removeAll(keepingCapacity: true)
  }

  // MARK: Placement

  public mutating func placeByCPU(_ listener: Descriptor, count: Int) -> Int32 {
    Sockets.placeByCPU(listener.rawValue, count: count)
  }
  public mutating func preferCPU(_ listener: Descriptor, cpu: Int) -> Int32 {
    Sockets.preferCPU(listener.rawValue, cpu: cpu)
  }
  public func incomingCPU(_ socket: Descriptor) -> Int? {
    socket.isDirect ? nil : Sockets.incomingCPU(socket.rawValue)
  }
  public func incomingQueue(_ socket: Descriptor) -> Int? {
    socket.isDirect ? nil : Sockets.incomingQueue(socket.rawValue)
  }
}
