// Who listens where, and how connections come about: a handshake with a latency each way, a
// backlog that can be full, groups that share an address, and addresses that refuse or never answer.

import CLinux
import Glibc

/// What an address does with those who connect to it.
public enum SimulatedConnectBehaviour: Sendable {
  /// What a listener there, or nobody, makes of it.
  case normal
  /// ECONNREFUSED, whoever listens.
  case refuse
  /// Nobody answers: a black hole, until the connect is given up.
  case hang
  /// Answers late, by so many nanoseconds.
  case delay(Int64)
}

/// The tables of a network.
struct SimulatedNetwork {
  /// By what a person reads; those of one address are a SO_REUSEPORT group, in the order of binding.
  var listeners: [String: [SimulatedListener]] = [:]
  var behaviours: [String: SimulatedConnectBehaviour] = [:]
  /// Paths of UNIX sockets, which stay when their listener has gone.
  var paths: Set<String> = []
  /// Numbers of descriptors in use, as one process has them; 0...2 are the standard streams.
  private var numbers: [Bool] = [true, true, true]
  private var lowestFree = 3
  private var nextPort: UInt16 = 32_768
  private var ends: [SimulatedEnd] = []
  /// What an engine gave up and no other has taken over, by number.
  var ownerless: [Int32: SimulatedHandle] = [:]
  /// Pairs of addresses that connections of engines have.
  private var pairs: Set<String> = []
  var datagramSockets: [String: [SimulatedDatagramSocket]] = [:]
  var foreign: [Int32: SimulatedForeign] = [:]
  private var tidyAt = 256

  /// The lowest free number, as POSIX wants it.
  mutating func takeNumber() -> Int32 {
    while lowestFree < numbers.count && numbers[lowestFree] { lowestFree += 1 }
    if lowestFree == numbers.count { numbers.append(false) }
    numbers[lowestFree] = true
    return Int32(lowestFree)
  }

  mutating func giveNumberBack(_ number: Int32) {
    numbers[Int(number)] = false
    lowestFree = min(lowestFree, Int(number))
  }

  /// The next port of the ephemeral range, ip_local_port_range(7).
  mutating func takePort() -> UInt16 {
    defer { nextPort = nextPort == 60_999 ? 32_768 : nextPort + 1 }
    return nextPort
  }

  /// Whether an engine's host has the address: 10.0.0.0/8 and 127.0.0.0/8, and every other than IPv4.
  func isOurs(_ address: SocketAddress) -> Bool {
    guard address.family == AF_INET else { return true }
    return withUnsafeBytes(of: address.storage) { $0[4] == 10 || $0[4] == 127 || $0[4] == 0 }
  }

  private func pair(_ local: SocketAddress, _ remote: SocketAddress) -> String {
    "\(local) \(remote)"
  }

  mutating func occupy(_ local: SocketAddress, to remote: SocketAddress) {
    pairs.insert(pair(local, remote))
  }

  mutating func vacate(_ local: SocketAddress, to remote: SocketAddress) {
    pairs.remove(pair(local, remote))
  }

  /// The address with a port of the range that no connection to `remote` has; nil: all are taken.
  func freePort(
    _ local: SocketAddress, _ ports: ClosedRange<UInt16>, to remote: SocketAddress,
    _ dice: inout SimulatedDice
  ) -> SocketAddress? {
    let count = Int(ports.upperBound - ports.lowerBound) + 1
    let first = dice.roll(count)
    for i in 0..<count {
      let port = ports.lowerBound + UInt16((first + i) % count)
      let candidate = local.with(port: port)
      if !pairs.contains(pair(candidate, remote)) { return candidate }
    }
    return nil
  }

  /// Ends refer to each other; the world unties those that never said goodbye when it ends.
  mutating func enlist(_ end: SimulatedEnd) {
    if ends.count >= tidyAt {
      ends.removeAll { $0.other == nil && ($0.isClosed || $0.isDead) }
      tidyAt = max(256, ends.count * 2)
    }
    ends.append(end)
  }

  mutating func dissolve() {
    for end in ends {
      end.other = nil
      end.owner = nil
    }
    ends = []
    ownerless = [:]
    listeners = [:]
    datagramSockets = [:]
  }

  /// The listener that answers for an address, its own or a wildcard.
  func group(_ address: SocketAddress) -> [SimulatedListener] {
    if let group = listeners["\(address)"], !group.isEmpty { return group }
    guard !address.isUnix else { return [] }
    for any in ["0.0.0.0", "[::]"] {
      if let group = listeners["\(any):\(address.port)"], !group.isEmpty { return group }
    }
    return []
  }
}

/// A bound, listening socket of an engine or of an outside server.
final class SimulatedListener {
  let address: SocketAddress
  let sharesAddress: Bool
  private let backlog: Int
  /// Connections that nobody has accepted yet.
  var waiting: [SimulatedEnd] = []
  /// Called for each connection that arrives.
  var arrived: () -> Void

  init(_ address: SocketAddress, backlog: Int, sharesAddress: Bool, _ arrived: @escaping () -> Void)
  {
    self.address = address
    self.backlog = backlog
    self.sharesAddress = sharesAddress
    self.arrived = arrived
  }

  /// A backlog of n holds n + 1, sk_acceptq_is_full.
  var isFull: Bool { waiting.count > backlog }
}

/// A connect under way.
final class SimulatedAttempt {
  let near: SimulatedEnd
  private let ended: (Int32) -> Void
  private(set) var isOver = false
  private var tries = 0

  init(_ near: SimulatedEnd, _ ended: @escaping (Int32) -> Void) {
    self.near = near
    self.ended = ended
  }

  func end(_ result: Int32) {
    guard !isOver else { return }
    isOver = true
    ended(result)
  }

  /// Gives up. The other machine sees a reset, if it saw anything.
  func cancel() {
    isOver = true
    near.abandon()
  }

  /// SYN retransmissions wait 1, 2, 4, … s and give up after 6 (tcp_syn_retries).
  func nextTry() -> Int64? {
    guard tries < 6 else { return nil }
    tries += 1
    return Int64(1_000_000_000) << (tries - 1)
  }
}

extension SimulatedWorld {
  /// What an address does with those who connect to it, from now on.
  public func setConnectBehaviour(
    _ address: SocketAddress, _ behaviour: SimulatedConnectBehaviour
  ) {
    network.behaviours["\(address)"] = behaviour
  }

  func bind(
    _ address: SocketAddress, backlog: Int, reusePort: Bool, _ arrived: @escaping () -> Void
  ) throws(SystemFailure) -> SimulatedListener {
    var bound = address
    if !address.isUnix && address.port == 0 {
      repeat { bound = address.with(port: network.takePort()) } while !network.group(bound).isEmpty
    }
    let name = "\(bound)"
    let group = network.listeners[name] ?? []
    let isTaken =
      address.isUnix
      ? network.paths.contains(name)
      : !group.isEmpty && !(reusePort && group.allSatisfy { $0.sharesAddress })
    if isTaken { throw SystemFailure(code: EADDRINUSE, operation: "bind \(name)") }
    let listener = SimulatedListener(
      bound, backlog: backlog, sharesAddress: reusePort && !address.isUnix, arrived)
    network.listeners[name] = group + [listener]
    if address.isUnix { network.paths.insert(name) }
    return listener
  }

  /// Ends a listener. Connections that nobody accepted are reset.
  func unbind(_ listener: SimulatedListener) {
    let name = "\(listener.address)"
    network.listeners[name]?.removeAll { $0 === listener }
    if network.listeners[name]?.isEmpty == true { network.listeners[name] = nil }
    for end in listener.waiting { end.abandon() }
    listener.waiting = []
    listener.arrived = {}
  }

  /// Starts a connect.
  func dial(_ attempt: SimulatedAttempt) {
    var delay = attempt.near.remote.isUnix ? 1 : latency()
    switch network.behaviours["\(attempt.near.remote)"] ?? .normal {
    case .normal: break
    case .refuse: return after(2 * delay) { attempt.end(-ECONNREFUSED) }
    case .hang: return retryDial(attempt)
    case .delay(let time): delay += time
    }
    if dice.chance(conditions.refusals) {
      return after(2 * delay) { attempt.end(-ECONNREFUSED) }
    }
    after(delay) { [self] in handshakeArrives(attempt) }
  }

  private func handshakeArrives(_ attempt: SimulatedAttempt) {
    guard !attempt.isOver else { return }
    let near = attempt.near
    let back = near.remote.isUnix ? 0 : latency()
    let group = network.group(near.remote)
    guard !group.isEmpty else {
      let isMissing = near.remote.isUnix && !network.paths.contains("\(near.remote)")
      let code = near.remote.isBroadcast ? ENETUNREACH : isMissing ? ENOENT : ECONNREFUSED
      return after(back) { attempt.end(-code) }
    }
    let listener = group[group.count == 1 ? 0 : dice.roll(group.count)]
    if listener.isFull {
      // A full UNIX listener is a refusal; TCP lets the handshake go unanswered.
      if near.remote.isUnix { return attempt.end(-ECONNREFUSED) }
      return retryDial(attempt)
    }
    let far = SimulatedEnd(self, local: near.remote, remote: near.local)
    SimulatedEnd.join(near, far)
    let established = now + back
    // The far side may speak at once; what it says comes after the handshake.
    far.lastArrival = established
    listener.waiting.append(far)
    schedule(established) { attempt.end(0) }
    listener.arrived()
  }

  private func retryDial(_ attempt: SimulatedAttempt) {
    guard let delay = attempt.nextTry() else {
      return after(64_000_000_000) { attempt.end(-ETIMEDOUT) }
    }
    after(delay) { [self] in
      guard !attempt.isOver else { return }
      if case .hang = network.behaviours["\(attempt.near.remote)"] ?? .normal {
        retryDial(attempt)
      } else {
        handshakeArrives(attempt)
      }
    }
  }

  /// A local address for a connection to `remote` that nobody chose one for.
  func localAddress(for remote: SocketAddress) -> SocketAddress {
    remote.isUnix ? remote.unnamed : remote.with(port: network.takePort())
  }
}

extension SocketAddress {
  /// The address of an IPv4 socket, without asking anybody: octets and port.
  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, port: UInt16) {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr =
      (UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)).bigEndian
    var storage = sockaddr_storage()
    withUnsafeMutableBytes(of: &storage) { target in
      withUnsafeBytes(of: address) { target.copyMemory(from: $0) }
    }
    self.init(storage: storage, length: socklen_t(MemoryLayout<sockaddr_in>.size))
  }

  /// The same host with another port. - Precondition: an IP address.
  func with(port: UInt16) -> SocketAddress {
    var copy = self
    withUnsafeMutableBytes(of: &copy.storage) { bytes in
      // sin_port and sin6_port lie at the same place.
      bytes.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
    }
    return copy
  }

  /// What a UNIX socket has that was never bound.
  var unnamed: SocketAddress {
    var storage = sockaddr_storage()
    storage.ss_family = sa_family_t(AF_UNIX)
    return SocketAddress(storage: storage, length: socklen_t(MemoryLayout<sa_family_t>.size))
  }

  var isBroadcast: Bool {
    guard family == AF_INET else { return false }
    return withUnsafeBytes(of: storage) { $0[4..<8].allSatisfy { $0 == 255 } }
  }
}
