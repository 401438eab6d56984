// Reading a frame back: for a layer that transforms bytes (TLS) before they leave.
//
// TRAP: (file) who reads a frame back counts to `segmentCount`.

public import CLinux
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

  /// All pieces. Valid while the frame lives.
  @inline(__always)
  public var segments: UnsafeBufferPointer<iovec> {
    UnsafeBufferPointer(start: vectors, count: segmentCount)
  }

  /// True while one more piece fits, of whatever kind and size: a slice, or bytes that are copied.
  ///
  /// `append` and `write` must not be called on a frame that has no room: who cannot bound the pieces
  /// asks first. Mutating so that it works on a frame in an optional.
  @inline(__always)
  public mutating func canTakeOne() -> Bool {
    Int(state.pointee.sliceCount) < FrameLayout.sliceLimit
      && Int(state.pointee.segmentCount) < FrameLayout.segmentLimit
  }

  /// `hasRoom` for a frame that is stored in an optional, which can only be mutated in place.
  @inline(__always)
  public mutating func canTakeMore() -> Bool { hasRoom }
}
