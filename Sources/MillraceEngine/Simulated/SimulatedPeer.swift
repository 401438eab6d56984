// The outside end of a connection: a client of the engine's listeners, or a server that the engine
// connects to. It lives in the world, has no engine, and acts when its events come.

import CLinux
import Glibc

/// The outside end of one connection.
public final class SimulatedPeer: SimulatedOwner {
  /// What a peer is told of.
  public enum Event: Sendable {
    /// The connection stands: bytes may be sent.
    case connected
    /// Nobody listens there, or nobody answered.
    case refused
    /// Bytes have arrived.
    case readable
    /// There is room again, after a `send` that took fewer bytes than it was given.
    case writable
    /// The other side has finished and every byte was received.
    case ended
    /// The connection was reset.
    case reset
  }

  private unowned let world: SimulatedWorld
  private let end: SimulatedEnd
  private var attempt: SimulatedAttempt?
  /// Told in virtual time, from inside the engine's wait; never from inside a call of this object.
  public var onEvent: ((SimulatedPeer, Event) -> Void)?

  /// True once the connection is there.
  public private(set) var isConnected = false
  /// The last event of the peer has come, or it has closed itself.
  public private(set) var isOpen = true
  /// Why it was not connected: an errno.
  public private(set) var refusal: Int32 = 0
  private var wantsRoom = false
  private var endIsTold = false

  /// The address of its own side.
  public var local: SocketAddress { end.local }
  /// The address of the other side.
  public var remote: SocketAddress { end.remote }
  /// Whether the other side has reset the connection.
  public private(set) var wasReset = false
  /// Whether the other side has finished and every byte was received.
  public private(set) var hasEnded = false
  /// Whether the other side has closed, or finished sending: what still comes was sent before that.
  public var remoteHasClosed: Bool { end.other.map { $0.isClosed || $0.hasFinished } ?? true }
  /// Bytes that have arrived and wait to be received.
  public var available: Int { end.arrived.count }
  /// Bytes that were sent and are not yet with the other side.
  public var unacknowledged: Int { end.unacknowledged }

  init(_ world: SimulatedWorld, _ end: SimulatedEnd) {
    self.world = world
    self.end = end
    end.owner = self
  }

  /// Starts to connect.
  func dial() {
    let attempt = SimulatedAttempt(end) { [self] result in connectEnded(result) }
    self.attempt = attempt
    world.dial(attempt)
  }

  func accepted() {
    isConnected = true
    // What has arrived already is told as an event of its own.
    if end.isReadable { world.after(0) { [self] in look() } }
  }

  private func connectEnded(_ result: Int32) {
    attempt = nil
    guard isOpen else { return }
    if result == 0 {
      isConnected = true
      tell(.connected)
      look()
    } else {
      refusal = -result
      isOpen = false
      tell(.refused)
    }
  }

  // MARK: What the peer does

  /// Takes as many bytes as there is room for.
  /// - Returns: how many; 0 also before `.connected` and after the end.
  @discardableResult
  public func send(_ bytes: [UInt8]) -> Int {
    guard isOpen, isConnected, !bytes.isEmpty else { return 0 }
    let count = bytes.withUnsafeBytes { end.write($0) }
    if count < bytes.count { wantsRoom = true }
    if count < 0 && count != -Int(EAGAIN) {
      wasReset = true
      world.after(0) { [self] in lost() }
    }
    return max(0, count)
  }

  /// Bytes that have arrived, in order; empty when there are none.
  public func receive(atMost limit: Int = 1 << 20) -> [UInt8] {
    guard isOpen, isConnected, end.arrived.count > 0 else { return [] }
    let bytes = [UInt8](unsafeUninitializedCapacity: min(limit, end.arrived.count)) { room, count in
      count = max(0, end.read(into: UnsafeMutableRawBufferPointer(room)))
    }
    if end.arrived.isEmpty && end.isReadable { world.after(0) { [self] in look() } }
    return bytes
  }

  /// No more bytes will be sent; what was taken still leaves.
  public func finishSending() {
    guard isOpen, isConnected else { return }
    end.shutdown(.send)
  }

  /// Closes; the other side sees an end of stream, or a reset if bytes were unread.
  public func close() {
    guard isOpen else { return }
    isOpen = false
    if let attempt { attempt.cancel() } else { end.close() }
    attempt = nil
    onEvent = nil
  }

  /// Closes with a reset.
  public func reset() {
    guard isOpen else { return }
    end.resetsOnClose = true
    close()
  }

  /// Goes without a word: nothing comes from here any more, no answer, no end.
  public func vanish() {
    guard isOpen else { return }
    isOpen = false
    attempt?.cancel()
    attempt = nil
    end.vanish()
    onEvent = nil
  }

  // MARK: What happens to it

  func changed(_ end: SimulatedEnd, readable: Bool, writable: Bool) {
    guard isOpen, isConnected else { return }
    if readable { look() }
    if writable && wantsRoom && end.isWritable && isOpen {
      wantsRoom = false
      tell(.writable)
    }
  }

  /// Tells what can be read.
  private func look() {
    guard isOpen, isConnected else { return }
    if !end.arrived.isEmpty { return tell(.readable) }
    if end.finHasCome && !endIsTold {
      endIsTold = true
      hasEnded = true
      return tell(.ended)
    }
    if end.error != 0 || (end.isDead && !end.isClosed) { lost() }
  }

  private func lost() {
    guard isOpen else { return }
    wasReset = true
    isOpen = false
    end.close()
    tell(.reset)
    onEvent = nil
  }

  private func tell(_ event: Event) { onEvent?(self, event) }
}

extension SimulatedWorld {
  /// A client from outside. It is refused or connected in virtual time.
  public func connect(to address: SocketAddress, from: SocketAddress? = nil) -> SimulatedPeer {
    let local = from ?? localAddress(for: address)
    let peer = SimulatedPeer(self, SimulatedEnd(self, local: local, remote: address))
    peer.dial()
    return peer
  }

  /// A server outside, which an engine can connect to. It accepts at once; the peer of each
  /// connection is given to `accepted`.
  public func listen(_ address: SocketAddress, _ accepted: @escaping (SimulatedPeer) -> Void) {
    do throws(SystemFailure) {
      let listener = try bind(address, backlog: .max, reusePort: false) {}
      listener.arrived = { [unowned self, unowned listener] in
        for end in listener.waiting {
          let peer = SimulatedPeer(self, end)
          accepted(peer)
          peer.accepted()
        }
        listener.waiting = []
      }
    } catch {
      preconditionFailure("a server of the simulated world: \(error)")
    }
  }

  /// Ends an outside server; its connections go on.
  public func stopListening(_ address: SocketAddress) {
    for listener in network.listeners["\(address)"] ?? [] { unbind(listener) }
  }
}
