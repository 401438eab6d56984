// TLS over a transport: a session of either side, and the ciphertext that it cannot take yet. Sessions
// live in slots with stable addresses, and a transport with TLS points to its own, so that one that has
// none is not asked for it. The session works on memory that it is lent for a call.

public import MillraceEngine
public import TLS

/// A TLS session at work on a transport.
public struct TLSChannel: ~Copyable {
  /// The session, for what it has negotiated and why it has failed.
  public var session: TLSSession
  /// Ciphertext that came while the session waited, at most `heldMaximum` bytes.
  @usableFromInline var ciphertext = InputBuffer()
  /// True while the session waits for what it said to leave: nothing is read or decrypted. A peer that
  /// makes it speak and does not listen would otherwise fill memory with answers.
  @inlinable @inline(__always)
  public var isStalled: Bool { stalled }
  /// True once the handshake is complete.
  @inlinable @inline(__always)
  public var isEstablished: Bool { established }
  @usableFromInline var stalled = false
  @usableFromInline var established = false

  /// What is held at most: as much as a peer may send before a receive can be stopped.
  @usableFromInline static var heldMaximum: Int { 262_144 }

  init(_ session: consuming TLSSession) { self.session = session }

  /// Keeps ciphertext for later. - Returns: false if it is too much: the connection must end.
  @inlinable
  public mutating func hold<E: Engine & ~Copyable>(
    _ slice: consuming BufferSlice, _ engine: inout E
  ) -> Bool {
    guard slice.count > 0 else { return true }
    guard ciphertext.count + slice.count <= Self.heldMaximum else { return false }
    ciphertext.putBack(slice, &engine)
    return true
  }

  /// Ends a stall: decrypting goes on with the bytes that are returned, or with none: the session may
  /// still have output of its own to give.
  public mutating func resume() -> BufferSlice? {
    stalled = false
    return ciphertext.takeAll()
  }

  /// Lets go of what a connection that ends has held.
  public mutating func dropHeld() {
    stalled = false
    ciphertext.clear()
  }
}

/// The channels of one thread, and the memory in which sessions speak.
public struct TLSChannels: ~Copyable {
  private var slab: Slab<TLSChannel>
  /// What a session says in one call: handshake messages, answers, alerts.
  public let scratch: UnsafeMutableRawBufferPointer

  /// Two records, so that a whole flight of a handshake with a long chain needs few calls.
  private static var scratchBytes: Int { 32_768 }

  /// Reserves room for `capacity` sessions.
  public init(capacity: Int) {
    slab = Slab(capacity: capacity)
    scratch = .allocate(byteCount: Self.scratchBytes, alignment: 64)
  }

  deinit { scratch.deallocate() }

  /// Sessions in use.
  public var inUse: Int { slab.inUse }

  /// Gives a transport a session, of a server or of a client. A client's says its first words when it
  /// is given no input. - Returns: false if there is no slot; the session ends then.
  public mutating func open(
    _ session: consuming TLSSession, on transport: inout Transport
  ) -> Bool {
    guard transport.tls == nil, let slot = slab.take() else { return false }
    slab[slot].initialize(to: TLSChannel(session))
    transport.tls = slab[slot]
    return true
  }

  /// Ends the session of a transport, if it has one: what it sends from now on is plain.
  public mutating func close(_ transport: inout Transport) {
    guard let channel = transport.tls else { return }
    transport.tls = nil
    channel.deinitialize(count: 1)
    slab.release(slab.index(of: channel))
  }

  /// Allows the end of the thread with sessions in use: see `Slab.abandon`.
  public mutating func abandon() { slab.abandon() }
}
