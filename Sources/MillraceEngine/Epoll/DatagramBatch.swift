// Several datagrams with one system call, recvmmsg(2): headers that are made once and aimed at
// buffers for each call. What it receives lies in the buffers as `DatagramLayout` says.

import CLinux
import Glibc

struct DatagramBatch: ~Copyable {
  /// Datagrams per call. Each takes a large buffer for the length of the call, of which there are
  /// few; from 8 on the price of the call itself no longer shows.
  static let limit = 8

  private let messages: UnsafeMutablePointer<clinux_mmsghdr>
  private let vectors: UnsafeMutablePointer<iovec>
  private let buffers: UnsafeMutablePointer<UInt32>

  init() {
    messages = .allocate(capacity: Self.limit)
    messages.initialize(repeating: clinux_mmsghdr(), count: Self.limit)
    vectors = .allocate(capacity: Self.limit)
    vectors.initialize(repeating: iovec(), count: Self.limit)
    buffers = .allocate(capacity: Self.limit)
    buffers.initialize(repeating: 0, count: Self.limit)
  }

  deinit {
    messages.deallocate()
    vectors.deallocate()
    buffers.deallocate()
  }

  /// Aims the header at `position` at a buffer that was taken from its pool.
  func aim(_ position: Int, at base: UnsafeMutableRawPointer, _ size: Int, _ buffer: UInt32) {
    buffers[position] = buffer
    vectors[position] = iovec(
      iov_base: base + DatagramLayout.contentOffset,
      iov_len: size - DatagramLayout.contentOffset)
    messages[position].header = msghdr()
    messages[position].header.msg_name = base + DatagramLayout.nameOffset
    messages[position].header.msg_namelen = socklen_t(DatagramLayout.nameBytes)
    messages[position].header.msg_control = base + DatagramLayout.controlOffset
    messages[position].header.msg_controllen = DatagramLayout.controlBytes
    messages[position].header.msg_iov = vectors + position
    messages[position].header.msg_iovlen = 1
  }

  /// - Returns: how many headers from the first on have a datagram, or a negated errno.
  func receive(_ socket: Int32, _ count: Int) -> Int {
    Int(clinux_recvmmsg(socket, messages, UInt32(count)))
  }

  /// The buffer that a header was aimed at.
  func buffer(_ position: Int) -> UInt32 { buffers[position] }

  /// Writes what the kernel said of a datagram in front of it. - Returns: its length.
  func describe(_ position: Int, at base: UnsafeMutableRawPointer) -> Int {
    let message = messages + position
    base.storeBytes(
      of: clinux_recvmsg_out(
        namelen: message.pointee.header.msg_namelen,
        controllen: UInt32(message.pointee.header.msg_controllen),
        payloadlen: message.pointee.length,
        flags: UInt32(bitPattern: message.pointee.header.msg_flags)),
      as: clinux_recvmsg_out.self)
    return Int(message.pointee.length)
  }
}
