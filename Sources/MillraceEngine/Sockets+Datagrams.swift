// Datagram sockets: making them, and how a datagram lies in a buffer. Both engines lay it out as the
// kernel's multishot recvmsg does, so that one reader serves both.

import CLinux
import Glibc

/// A buffer with a datagram: a header, room for the sender's address, room for control data, and
/// then the content.
enum DatagramLayout {
  static let nameOffset = MemoryLayout<clinux_recvmsg_out>.size
  static let nameBytes = MemoryLayout<sockaddr_storage>.size
  static let controlOffset = nameOffset + nameBytes
  /// One control message with an int (UDP_GRO) takes 24 bytes.
  static let controlBytes = 64
  static let contentOffset = controlOffset + controlBytes

  /// Cuts a filled buffer down to its content.
  /// - Parameter slice: all of the buffer, from its start.
  static func datagram(_ slice: consuming BufferSlice) -> Datagram {
    let base = slice.base
    let header = base.load(as: clinux_recvmsg_out.self)
    var storage = sockaddr_storage()
    let length = min(Int(header.namelen), nameBytes)
    withUnsafeMutableBytes(of: &storage) {
      $0.copyMemory(from: UnsafeRawBufferPointer(start: base + nameOffset, count: length))
    }
    let sender = SocketAddress(storage: storage, length: socklen_t(length))
    let segment = clinux_find_segment_size(
      base + controlOffset, min(Int(header.controllen), controlBytes))
    slice.dropPrefix(min(contentOffset, slice.count))
    let count = min(Int(header.payloadlen), slice.count)
    slice.truncate(to: count)
    return Datagram(
      content: slice, sender: sender, segmentSize: segment > 0 ? Int(segment) : count,
      isTruncated: header.flags & UInt32(MSG_TRUNC) != 0)
  }

  /// Writes a frame's address and segment size into its cell, for sendmsg(2).
  static func address(
    _ cell: UnsafeMutableRawPointer, to address: SocketAddress, segmentSize: Int
  ) {
    let message = (cell + FrameLayout.messageOffset).assumingMemoryBound(to: msghdr.self)
    let name = cell + FrameLayout.nameOffset
    let length = min(Int(address.length), FrameLayout.controlOffset - FrameLayout.nameOffset)
    // TRAP: a stored property has an address.
    withUnsafeBytes(of: address.storage) {
      name.copyMemory(from: $0.baseAddress!, byteCount: length)
    }
    message.pointee.msg_name = name
    message.pointee.msg_namelen = socklen_t(length)
    let state = cell.assumingMemoryBound(to: FrameState.self)
    if segmentSize > 0 && segmentSize < state.pointee.total {
      let control = cell + FrameLayout.controlOffset
      message.pointee.msg_control = control
      message.pointee.msg_controllen = clinux_put_segment_size(control, UInt16(segmentSize))
    } else {
      message.pointee.msg_control = nil
      message.pointee.msg_controllen = 0
    }
    message.pointee.msg_iov = (cell + FrameLayout.vectorsOffset)
      .assumingMemoryBound(to: iovec.self)
    message.pointee.msg_iovlen = Int(state.pointee.segmentCount)
  }

  /// Why a datagram cannot be sent, or 0: more segments than the kernel takes, or a size that it
  /// cannot express.
  static func flaw(of cell: UnsafeMutableRawPointer, segmentSize: Int) -> Int32 {
    guard segmentSize > 0 else { return 0 }
    let total = cell.assumingMemoryBound(to: FrameState.self).pointee.total
    if segmentSize > 0xFFFF { return -EINVAL }
    return (total + segmentSize - 1) / segmentSize > segmentLimit ? -EMSGSIZE : 0
  }

  /// UDP_MAX_SEGMENTS of the kernel was 64 until 6.9.
  static let segmentLimit = 64
}

extension Sockets {
  /// A bound UDP socket.
  static func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesce: Bool, nonblocking: Bool
  ) throws(SystemFailure) -> Int32 {
    guard !address.isUnix else {
      throw SystemFailure(code: EAFNOSUPPORT, operation: "datagrams on \(address)")
    }
    let type =
      Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      | (nonblocking ? Int32(SOCK_NONBLOCK.rawValue) : 0)
    let descriptor = socket(address.family, type, 0)
    guard descriptor >= 0 else {
      throw SystemFailure(code: errno, operation: "socket for \(address)")
    }
    if reusePort { set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
    // A kernel without it (before 5.0) hands every datagram over by itself.
    if coalesce { set(descriptor, Int32(IPPROTO_UDP), Int32(CLINUX_UDP_GRO), 1) }
    guard withAddress(address, { Glibc.bind(descriptor, $0, $1) }) == 0 else {
      let code = errno
      Glibc.close(descriptor)
      throw SystemFailure(code: code, operation: "bind \(address)")
    }
    return descriptor
  }
}
