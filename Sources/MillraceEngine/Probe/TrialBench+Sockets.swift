// The trials of what a ring does with sockets and memory: accepts, receives, sends, slots, registered memory,
// chains.

import CLinux
import Glibc

extension TrialBench {
  func multishotAccept() throws(TrialFailure) {
    var ring = try makeRing()
    var listener = try TrialListener()
    let entry = try ring.entry(CLINUX_OP_ACCEPT, listener.descriptor)
    entry.pointee.ioprio = UInt16(CLINUX_ACCEPT_MULTISHOT)
    try ring.submit()
    for place in [TrialPlace.firstResult, .secondResult] {
      let far = try listener.connect()
      let accepted = try ring.next(place)
      guard accepted.res >= 0 else {
        Glibc.close(far)
        throw TrialFailure(code: accepted.res, place: place)
      }
      let pair = TrialPair(near: accepted.res, far: far)
      try accepted.expectFlag(CLINUX_CQE_F_MORE)
      let sent = Glibc.send(pair.near, "?", 1, Int32(MSG_NOSIGNAL))
      guard sent == 1 else { throw TrialFailure(code: -errno, place: .content) }
      memory.storeBytes(of: UInt8(ascii: "?"), as: UInt8.self)
      try pair.expectArrival(of: memory, 1, room: memory + 64)
    }
  }

  func multishotReceive() throws(TrialFailure) {
    var ring = try makeRing()
    let buffers = try bufferRing(ring, buffers: 4, of: 16)
    let pair = try TrialPair()
    try ring.receiveAll(pair.near)
    try ring.submit()
    try pair.send("a")
    let first = try ring.expectNext(.firstResult, is: 1)
    try first.expectFlag(CLINUX_CQE_F_MORE)
    try first.expectFlag(CLINUX_CQE_F_BUFFER)
    try buffers.check(first.buffer, is: "a")
    try pair.send("bcd")
    let second = try ring.expectNext(.secondResult, is: 3)
    try second.expectFlag(CLINUX_CQE_F_MORE)
    try buffers.check(second.buffer, is: "bcd")
    Glibc.shutdown(pair.far, Int32(SHUT_WR))
    let end = try ring.expectNext(.thirdResult, is: 0)
    try end.expectFlag(CLINUX_CQE_F_MORE, false)
  }

  /// Sixteen bytes a buffer, forty at once: one completion must speak of more than one buffer, and all in
  /// the order in which they were given.
  func receiveBundles() throws(TrialFailure) {
    var ring = try makeRing()
    let buffers = try bufferRing(ring, buffers: 4, of: 16)
    let pair = try TrialPair()
    try ring.receiveAll(pair.near, flags: CLINUX_RECVSEND_BUNDLE)
    try ring.submit()
    try pair.send("0123456789abcdefghijklmnopqrstuvwxyzABCD")
    var (total, largest): (Int32, Int32) = (0, 0)
    while total < 40 {
      let part = try ring.next(.firstResult)
      guard part.res > 0 else { return try expect(.firstResult, part.res, is: 40 - total) }
      try part.expectFlag(CLINUX_CQE_F_BUFFER)
      try expect(.kept, Int64(part.buffer), is: Int64(total / 16))
      total += part.res
      largest = max(largest, part.res)
    }
    try expect(.firstResult, total, is: 40)
    try require(.flags, largest > 16)
    try buffers.check(0, is: "0123456789abcdefghijklmnopqrstuvwxyzABCD")
  }

  func incrementalBuffers() throws(TrialFailure) {
    var ring = try makeRing()
    let buffers = try bufferRing(
      ring, buffers: 2, of: 64, flags: UInt16(CLINUX_PBUF_RING_INC))
    let pair = try TrialPair()
    try ring.receiveAll(pair.near)
    try ring.submit()
    try pair.send("abc")
    let first = try ring.expectNext(.firstResult, is: 3)
    try first.expectFlag(CLINUX_CQE_F_BUF_MORE)
    try pair.send("defg")
    let second = try ring.expectNext(.secondResult, is: 4)
    try second.expectFlag(CLINUX_CQE_F_BUF_MORE)
    try expect(.kept, Int64(second.buffer), is: Int64(first.buffer))
    try buffers.check(first.buffer, is: "abcdefg")
  }

  /// A success posts nothing, so the no-operation behind it comes first; a failure posts.
  func quietSends() throws(TrialFailure) {
    var ring = try makeRing()
    let pair = try TrialPair()
    memcpy(memory, "quiet", 5)
    try quietSend(&ring, pair.near)
    let behind = try ring.entry(CLINUX_OP_NOP)
    let wanted = Int64(behind.pointee.user_data)
    let completion = try ring.expectNext(.after, is: 0)
    try expect(.early, Int64(completion.user_data), is: wanted)
    try pair.expectArrival(of: memory, 5, room: memory + 64)
    Glibc.shutdown(pair.near, Int32(SHUT_WR))
    try quietSend(&ring, pair.near)
    let failure = try ring.next(.secondResult)
    try expect(.secondResult, Int64(failure.res), is: Int64(-EPIPE))
  }

  private func quietSend(_ ring: inout TrialRing, _ socket: Int32) throws(TrialFailure) {
    let entry = try ring.entry(CLINUX_OP_SEND, socket)
    entry.pointee.addr = UInt64(UInt(bitPattern: memory))
    entry.pointee.len = 5
    entry.pointee.op_flags = UInt32(MSG_NOSIGNAL)
    entry.pointee.flags = UInt8(CLINUX_SQE_CQE_SKIP_SUCCESS)
  }

  func zeroCopySend() throws(TrialFailure) {
    var ring = try makeRing()
    var listener = try TrialListener(overLoopback: true)
    let near = try listener.connect()
    let far = clinux_accept4(listener.descriptor, Int32(SOCK_CLOEXEC.rawValue))
    guard far >= 0 else {
      Glibc.close(near)
      throw TrialFailure(code: -errno, place: .socket)
    }
    let pair = TrialPair(near: near, far: far)
    let count = 8192
    for i in 0..<count { bytes(0)[i] = UInt8(truncatingIfNeeded: i &* 7) }
    let part = (memory + 16_384).bindMemory(to: iovec.self, capacity: 1)
    part.pointee = iovec(iov_base: memory, iov_len: count)
    let message = (memory + 16_512).bindMemory(to: msghdr.self, capacity: 1)
    message.initialize(to: msghdr())
    message.pointee.msg_iov = part
    message.pointee.msg_iovlen = 1
    let entry = try ring.entry(CLINUX_OP_SENDMSG_ZC, pair.near)
    entry.pointee.addr = UInt64(UInt(bitPattern: message))
    entry.pointee.len = 1
    entry.pointee.op_flags = UInt32(MSG_NOSIGNAL | MSG_WAITALL)
    let sent = try ring.expectNext(.firstResult, is: Int32(count))
    try sent.expectFlag(CLINUX_CQE_F_MORE)
    try pair.expectArrival(of: memory, count, room: memory + 32_768)
    let notice = try ring.next(.notice)
    try notice.expectFlag(CLINUX_CQE_F_NOTIF)
    try notice.expectFlag(CLINUX_CQE_F_MORE, false)
    try expect(.notice, Int64(notice.user_data), is: Int64(sent.user_data))
  }

  // MARK: Tables

  private func table(_ ring: borrowing TrialRing) throws(TrialFailure) {
    var table = clinux_rsrc_register()
    table.nr = 4
    table.flags = UInt32(CLINUX_RSRC_REGISTER_SPARSE)
    try ring.register(
      CLINUX_REGISTER_FILES2, &table, UInt32(MemoryLayout<clinux_rsrc_register>.size))
  }

  /// A connection comes into slot 2, is read there, and is gone after its close.
  func directDescriptors() throws(TrialFailure) {
    var ring = try makeRing()
    try table(ring)
    var listener = try TrialListener()
    let far = try listener.connect()
    defer { Glibc.close(far) }
    Glibc.send(far, "ab", 2, Int32(MSG_NOSIGNAL))
    try ring.entry(CLINUX_OP_ACCEPT, listener.descriptor).pointee.file_index = 3
    try ring.expectNext(.firstResult, is: 0)
    try ring.receive(2, into: memory, 8, flags: CLINUX_SQE_FIXED_FILE)
    try ring.expectNext(.secondResult, is: 2)
    try require(.content, memcmp(memory, "ab", 2) == 0)
    try ring.entry(CLINUX_OP_CLOSE, 0).pointee.file_index = 3
    try ring.expectNext(.thirdResult, is: 0)
    try ring.receive(2, into: memory, 8, flags: CLINUX_SQE_FIXED_FILE)
    let gone = try ring.next(.after)
    try expect(.after, Int64(gone.res), is: Int64(-EBADF))
  }

  /// The steps go in together; the second finds what the first put into the slot. Where a step fails, those
  /// after it are cancelled.
  func linkedChains() throws(TrialFailure) {
    var ring = try makeRing()
    try table(ring)
    var listener = try TrialListener()
    let far = try listener.connect()
    defer { Glibc.close(far) }
    Glibc.send(far, "ab", 2, Int32(MSG_NOSIGNAL))
    let accept = try ring.entry(CLINUX_OP_ACCEPT, listener.descriptor)
    accept.pointee.file_index = 1
    accept.pointee.flags = UInt8(CLINUX_SQE_IO_LINK)
    try ring.receive(0, into: memory, 8, flags: CLINUX_SQE_FIXED_FILE)
    try ring.expectNext(.firstResult, is: 0)
    try ring.expectNext(.secondResult, is: 2)
    try ring.receive(3, into: memory, 8, flags: CLINUX_SQE_FIXED_FILE | CLINUX_SQE_IO_LINK)
    _ = try ring.entry(CLINUX_OP_NOP)
    let broken = try ring.next(.thirdResult)
    try expect(.thirdResult, Int64(broken.res), is: Int64(-EBADF))
    let cancelled = try ring.next(.after)
    try expect(.after, Int64(cancelled.res), is: Int64(-ECANCELED))
  }

  /// Through a pipe, out of one half of the registered page and into the other; beside it nothing works.
  func registeredBuffers() throws(TrialFailure) {
    var ring = try makeRing()
    var page = iovec(iov_base: memory, iov_len: 4096)
    try ring.register(CLINUX_REGISTER_BUFFERS, &page, 1)
    var ends: (Int32, Int32) = (-1, -1)
    let code = withUnsafeMutableBytes(of: &ends) {
      clinux_pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress!, O_CLOEXEC)
    }
    guard code == 0 else { throw TrialFailure(code: -errno, place: .socket) }
    defer {
      Glibc.close(ends.0)
      Glibc.close(ends.1)
    }
    memcpy(memory, "fixed", 5)
    func carry(_ opcode: Int, _ descriptor: Int32, _ offset: Int) throws(TrialFailure) {
      let entry = try ring.entry(opcode, descriptor)
      entry.pointee.addr = UInt64(UInt(bitPattern: memory + offset))
      entry.pointee.len = 5
      entry.pointee.off = .max
    }
    try carry(CLINUX_OP_WRITE_FIXED, ends.1, 0)
    try ring.expectNext(.firstResult, is: 5)
    try carry(CLINUX_OP_READ_FIXED, ends.0, 2048)
    try ring.expectNext(.secondResult, is: 5)
    try require(.content, memcmp(memory + 2048, "fixed", 5) == 0)
    try carry(CLINUX_OP_WRITE_FIXED, ends.1, 4096)
    let outside = try ring.next(.thirdResult)
    try expect(.thirdResult, Int64(outside.res), is: Int64(-EFAULT))
  }
}
