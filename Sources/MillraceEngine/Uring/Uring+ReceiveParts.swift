// Completions of a receive that are for several buffers (bundles, 6.10), or for a piece of one
// (incremental buffers, 6.12). Above they look like any others: one completion per run of bytes.

import CLinux
import Glibc

extension Uring {
  @inline(never)
  mutating func receivedInParts(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>, _ completion: clinux_cqe
  ) {
    let more = completion.flags & UInt32(CLINUX_CQE_F_MORE) != 0
    let goesOn = completion.flags & UInt32(CLINUX_CQE_F_BUF_MORE) != 0
    let hasBuffer = completion.flags & UInt32(CLINUX_CQE_F_BUFFER) != 0
    let first = completion.flags >> UInt32(CLINUX_CQE_BUFFER_SHIFT)
    guard completion.res > 0, hasBuffer else {
      if hasBuffer && !goesOn {
        _ = smallRing.advance(first, by: 0, done: true)
        small.retire(first)
      }
      return receiveEnded(descriptor, record, completion.res, more)
    }
    if smallRing.isIncremental {
      reportPiece(record, first, Int(completion.res), done: !goesOn)
    } else {
      reportBundle(record, first, Int(completion.res))
    }
    if more { suspect(descriptor, record) } else { rearmStream(descriptor, record) }
  }

  private mutating func reportPiece(
    _ record: UnsafeMutablePointer<SocketRecord>, _ index: UInt32, _ count: Int, done: Bool
  ) {
    if count > smallRing.room(of: index, size: small.state.pointee.bufferSize) {
      engineBug("a piece is larger than what is left of its buffer")
    }
    let offset = smallRing.advance(index, by: count, done: done)
    var report = Completion(
      token: record.pointee.receiveToken, result: Int32(count), more: true,
      buffer: small.reportPiece(index, at: offset, count, done: done))
    report.flags |= Completion.pieceFlag | UInt32(offset) << Completion.pieceShift
    queue.append(report)
  }

  /// The bytes fill one buffer after another, in the order of the ring.
  private mutating func reportBundle(
    _ record: UnsafeMutablePointer<SocketRecord>, _ first: UInt32, _ count: Int
  ) {
    var index = first
    var left = count
    // As many as the kernel can have had: a count beyond them would be a bug of its or ours.
    for _ in 0..<smallRing.depth {
      let here = min(left, smallRing.room(of: index, size: small.state.pointee.bufferSize))
      let next = smallRing.following(index)
      _ = smallRing.advance(index, by: here, done: true)
      queue.append(
        Completion(
          token: record.pointee.receiveToken, result: Int32(here), more: true,
          buffer: small.report(index, here)))
      left -= here
      if left == 0 { return }
      index = next
    }
    engineBug("a bundle is larger than the buffers that the kernel had")
  }
}
