// The datagram side of a simulated network: sockets with bounded queues, and a way between them on
// which datagrams are lost, come twice, or come late.

import CLinux
import Glibc

/// A datagram that has arrived, or what is remembered of one that was reported.
struct SimulatedDatagram {
  var bytes: [UInt8]
  let sender: SocketAddress
  var segmentSize = 0
  var isTruncated = false
}

/// A bound datagram socket.
final class SimulatedDatagramSocket {
  let address: SocketAddress
  let sharesAddress: Bool
  let coalesces: Bool
  var waiting: [SimulatedDatagram] = []
  private var waitingBytes = 0
  var arrived: () -> Void = {}
  /// When the last datagram from here arrives: those that are not delayed keep their order.
  var lastArrival: Int64 = 0
  /// Datagrams for which there was no room.
  private(set) var dropped = 0

  init(_ address: SocketAddress, sharesAddress: Bool, coalesces: Bool) {
    self.address = address
    self.sharesAddress = sharesAddress
    self.coalesces = coalesces
  }

  func deliver(_ datagram: SimulatedDatagram, room: Int) {
    guard waitingBytes + datagram.bytes.count <= room else {
      dropped += 1
      return
    }
    waitingBytes += datagram.bytes.count
    waiting.append(datagram)
    arrived()
  }

  func takeFirst() -> SimulatedDatagram {
    let first = waiting.removeFirst()
    waitingBytes -= first.bytes.count
    return first
  }
}

/// A datagram socket outside of every engine.
public final class SimulatedDatagramPeer {
  private unowned let world: SimulatedWorld
  private let socket: SimulatedDatagramSocket
  /// Told in virtual time when something has arrived.
  public var onArrival: ((SimulatedDatagramPeer) -> Void)?

  public var address: SocketAddress { socket.address }

  init(_ world: SimulatedWorld, _ socket: SimulatedDatagramSocket) {
    self.world = world
    self.socket = socket
    socket.arrived = { [weak self] in
      if let self { onArrival?(self) }
    }
  }

  /// - Returns: bytes taken, or a negated errno.
  @discardableResult
  public func send(_ bytes: [UInt8], to address: SocketAddress) -> Int {
    world.send(bytes, from: socket, to: address, segmentSize: 0)
  }

  /// The next datagram that has arrived, or nil.
  public func receive() -> (bytes: [UInt8], sender: SocketAddress)? {
    guard !socket.waiting.isEmpty else { return nil }
    let datagram = socket.takeFirst()
    return (datagram.bytes, datagram.sender)
  }

  public func close() { world.unbind(socket) }
}

extension SimulatedWorld {
  /// A datagram socket outside of every engine. - Precondition: the address is free.
  public func datagrams(at address: SocketAddress) -> SimulatedDatagramPeer {
    do throws(SystemFailure) {
      return SimulatedDatagramPeer(
        self, try bindDatagrams(address, reusePort: false, coalesces: false))
    } catch {
      preconditionFailure("a datagram socket of the simulated world: \(error)")
    }
  }

  func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesces: Bool
  ) throws(SystemFailure) -> SimulatedDatagramSocket {
    var bound = address
    if address.port == 0 {
      repeat {
        bound = address.with(port: network.takePort())
      } while network.datagramSockets["\(bound)"] != nil
    }
    let name = "\(bound)"
    let group = network.datagramSockets[name] ?? []
    guard group.isEmpty || (reusePort && group.allSatisfy { $0.sharesAddress }) else {
      throw SystemFailure(code: EADDRINUSE, operation: "bind \(name)")
    }
    let socket = SimulatedDatagramSocket(bound, sharesAddress: reusePort, coalesces: coalesces)
    network.datagramSockets[name] = group + [socket]
    return socket
  }

  func unbind(_ socket: SimulatedDatagramSocket) {
    let name = "\(socket.address)"
    network.datagramSockets[name]?.removeAll { $0 === socket }
    if network.datagramSockets[name]?.isEmpty == true { network.datagramSockets[name] = nil }
    socket.arrived = {}
  }

  /// Sends one datagram, or several. - Returns: bytes taken, or a negated errno.
  func send(
    _ bytes: [UInt8], from socket: SimulatedDatagramSocket, to address: SocketAddress,
    segmentSize: Int
  ) -> Int {
    if address.family != socket.address.family { return -Int(EAFNOSUPPORT) }
    if address.port == 0 { return -Int(EINVAL) }
    // 65,535 less the headers of IPv4 and UDP.
    if bytes.count > 65_507 { return -Int(EMSGSIZE) }
    let size = segmentSize > 0 ? segmentSize : max(1, bytes.count)
    // UDP_MAX_SEGMENTS.
    if segmentSize > 0 && bytes.count > 64 * segmentSize { return -Int(EINVAL) }
    var at = 0
    repeat {
      let part = Array(bytes[at..<min(at + size, bytes.count)])
      leave(part, from: socket, to: address)
      at += size
    } while at < bytes.count
    return bytes.count
  }

  private func leave(
    _ bytes: [UInt8], from socket: SimulatedDatagramSocket, to address: SocketAddress
  ) {
    if dice.chance(conditions.datagramLoss) { return }
    let copies = dice.chance(conditions.datagramDuplicates) ? 2 : 1
    for _ in 0..<copies {
      var arrival = now + latency()
      if dice.chance(conditions.datagramDelays) {
        arrival += Int64(dice.roll(conditions.latencySpike))
      } else {
        arrival = max(arrival, socket.lastArrival)
        socket.lastArrival = arrival
      }
      let sender = socket.address
      schedule(arrival) { [self] in
        let group = network.datagramSockets["\(address)"] ?? []
        guard !group.isEmpty else { return }
        group[group.count == 1 ? 0 : dice.roll(group.count)].deliver(
          SimulatedDatagram(bytes: bytes, sender: sender), room: conditions.datagramRoom)
      }
    }
  }
}
