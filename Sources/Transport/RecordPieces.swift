// What goes into one TLS record. A frame has a segment for each piece that came, and over HTTP/2 one for
// the head of each DATA frame: a record of its own for nine bytes costs as much as one for two thousand.
//
// TRAP: (file) offsets within segments whose count is known.

import Glibc
public import MillraceEngine
import TLS

/// Walks over the plaintext of a frame in pieces that are sealed by themselves: small segments are put
/// together up to a whole record, large ones are taken where they lie.
public struct RecordPieces: ~Copyable {
  private let staging: BufferSlice?
  private let room: UnsafeMutableRawPointer?
  private var most: Int { TLSSession.recordPlaintextMaximum }
  private var segment = 0
  private var offset = 0

  /// - Parameter staging: memory for pieces that are put together. Where it is nil, or has no room for a whole
  ///   record, each segment is a piece.
  public init(_ staging: consuming BufferSlice?) {
    if let slice = staging.take(), slice.count >= TLSSession.recordPlaintextMaximum {
      room = slice.mutableBytes.baseAddress
      self.staging = consume slice
    } else {
      room = nil
      self.staging = nil
    }
  }

  /// The next piece, valid until the one after it and while this value lives; nil: there is none.
  public mutating func next(_ frame: borrowing SendFrame) -> UnsafeRawBufferPointer? {
    let last = frame.segmentCount - 1
    var gathered = 0
    while segment <= last {
      let bytes = frame.segment(segment)
      let left = bytes.count - offset
      guard left > 0 else {
        segment += 1
        offset = 0
        continue
      }
      guard let room else { return take(left, of: bytes) }
      if gathered == 0 {
        if segment == last { return take(left, of: bytes) }
        if left >= most { return take(left / most * most, of: bytes) }
      } else if left >= 2 * most {
        // Copying all of it would cost more than a record that is not full.
        break
      }
      let count = min(most - gathered, left)
      memcpy(room + gathered, bytes.baseAddress! + offset, count)
      gathered += count
      offset += count
      if gathered == most { break }
    }
    return gathered > 0 ? UnsafeRawBufferPointer(start: room, count: gathered) : nil
  }

  private mutating func take(_ count: Int, of bytes: UnsafeRawBufferPointer)
    -> UnsafeRawBufferPointer
  {
    let piece = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + count)])
    offset += count
    return piece
  }
}
