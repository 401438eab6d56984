// Which CPU and which queue: placement of connections, direct slots, busy polling, and what is used
// of the kernel by name.
//
// TRAP: (file) slots of the direct table are taken and returned by the caller; nothing that arrives
// names one.

import CLinux
import Glibc

extension Epoll {
  public var features: [ProbeFeature] { use.report(.epoll) }

  static let concerned = EngineFeatures.all.reduce(into: EngineFeatures()) {
    if $1.engine == .epoll || $1.engine == nil { $0.formUnion($1.feature) }
  }

  /// Tries what was asked for on a fresh instance.
  static func judge(_ epoll: Int32, _ options: EngineOptions, _ use: inout FeatureUse) {
    var event = epoll_event()
    if use.contains(.preciseWait) {
      let code = clinux_epoll_wait(epoll, &event, 1, 0)
      if code < 0 { use.refuse(.preciseWait, errno: -code) }
    }
    guard use.contains(.busyPoll) else { return }
    // What the kernel polls for an epoll instance is said here alone: SO_BUSY_POLL and
    // SO_PREFER_BUSY_POLL of a socket concern calls that wait on that one socket.
    var wanted = clinux_epoll_params(
      busy_poll_usecs: UInt32(clamping: options.busyPollMicroseconds),
      busy_poll_budget: UInt16(clamping: options.busyPollBudget), prefer_busy_poll: 1, pad: 0)
    let code = clinux_epoll_set(epoll, &wanted)
    guard code == 0 else {
      return use.refuse(
        .busyPoll,
        code == -EPERM
          ? "\(ErrorText.full(EPERM)): a budget of more than 64 needs CAP_NET_ADMIN"
          : FeatureUse.words(.busyPoll, -code))
    }
    var found = clinux_epoll_params()
    if clinux_epoll_get(epoll, &found) != 0
      || found.busy_poll_usecs != wanted.busy_poll_usecs || found.prefer_busy_poll != 1
    {
      use.refuse(.busyPoll, "the kernel accepted the setting but did not apply it")
    }
  }

  public mutating func takeSlot() -> Descriptor? {
    guard let slot = direct.take() else { return nil }
    sockets[slot.rawValue].pointee.state.insert(.reserved)
    return slot
  }

  public mutating func returnSlot(_ slot: Descriptor) {
    let record = sockets[slot.rawValue]
    precondition(
      slot.isDirect && record.pointee.state.contains(.reserved), "not a slot in use")
    precondition(target(slot.rawValue) < 0, "release of a slot with an open descriptor")
    record.pointee.state.remove(.reserved)
    direct.giveBack(slot)
  }

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
