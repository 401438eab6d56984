// What an engine does with UDP sockets.

/// Operations on datagram sockets.
public protocol DatagramOperations: ~Copyable {
  /// A UDP socket, bound. With `coalesce` the kernel may hand several datagrams of one sender over
  /// as one (UDP_GRO, 5.0): see `Datagram.segmentSize`.
  mutating func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesce: Bool
  ) throws(SystemFailure) -> Descriptor
  /// Stays armed; each arrival is a completion that must be redeemed with `takeDatagram`, in a
  /// large buffer. Ended by `stopReceiving`. A datagram that is larger than the buffer is cut and
  /// says so.
  mutating func receiveDatagrams(_ socket: Descriptor, _ token: Token)
  /// Sends a frame as one datagram, or with `segmentSize` > 0 as several of that size and a last
  /// shorter one (UDP_SEGMENT, 4.18; at most 64 segments and 65,507 bytes).
  ///
  /// Any number may be in flight on a socket. Those that must wait for room leave in the order of
  /// submission on epoll; on io_uring the kernel tries each on its own, so that one may overtake another
  /// that waits. UDP promises no order either: whoever needs one has one in flight at a time, or
  /// numbers them. The completion's result is the byte count or a negated errno (EMSGSIZE: too large).
  mutating func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress,
    segmentSize: Int, _ token: Token)
  /// The datagram of a completion with `hasDatagram`. Once: a second call traps.
  mutating func takeDatagram(_ completion: Completion) -> Datagram
}

/// One arrival on a datagram socket. Frozen, so that `content` can be moved out of it elsewhere.
@frozen
public struct Datagram: ~Copyable {
  /// The content, whole unless `isTruncated`.
  public var content: BufferSlice
  /// Who sent it.
  public let sender: SocketAddress
  /// With coalescing: every datagram in `content` has this many bytes, but the last may be shorter.
  /// `content.count` if there is only one.
  public let segmentSize: Int
  /// The buffer was too small for it: the rest is lost, MSG_TRUNC of recvmsg(2).
  public let isTruncated: Bool

  init(content: consuming BufferSlice, sender: SocketAddress, segmentSize: Int, isTruncated: Bool) {
    self.content = content
    self.sender = sender
    self.segmentSize = segmentSize
    self.isTruncated = isTruncated
  }
}
