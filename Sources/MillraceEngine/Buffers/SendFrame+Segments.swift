// Reading a frame back: for a layer that transforms bytes (TLS) before they leave.

import CLinux
import Glibc

extension SendFrame {
  /// Pieces of the frame, in order.
  @inline(__always)
  public var segmentCount: Int { Int(state.pointee.segmentCount) }

  /// The bytes of one piece. Valid while the frame lives. - Parameter index: 0..<segmentCount.
  @inline(__always)
  public func segment(_ index: Int) -> UnsafeRawBufferPointer {
    precondition(index >= 0 && index < segmentCount)
    return UnsafeRawBufferPointer(
      start: vectors[index].iov_base, count: vectors[index].iov_len)
  }

  /// `hasRoom` for a frame that is stored in an optional, which can only be mutated in place.
  @inline(__always)
  public mutating func canTakeMore() -> Bool { hasRoom }
}
