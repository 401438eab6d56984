// Field blocks decoded into an arena (RFC 7541). HPACK's decoder is nghttp2's; what is kept of a head,
// and how much of it, is decided here.

internal import CNghttp2
internal import Glibc

/// The decoder of one connection. Every block that a peer sends goes through it, in order, be it of a
/// stream that is refused: the peer's next blocks refer to it.
struct FieldBlockReader: ~Copyable {
  private let inflater: OpaquePointer
  private let memory: HTTP2Memory
  private let fieldLimit: Int

  /// - Returns: nil if memory ran out.
  init?(fieldLimit: Int, memory: HTTP2Memory) {
    var made: OpaquePointer?
    guard nghttp2_hd_inflate_new2(&made, memory.allocator) == 0, let made else { return nil }
    inflater = made
    self.memory = memory
    self.fieldLimit = fieldLimit
  }

  deinit { nghttp2_hd_inflate_del(inflater) }

  /// Decodes the next fragment of a block.
  ///
  /// - Parameter isLast: the block ends with it.
  /// - Returns: false if it cannot be decoded, after which no other block can be (RFC 7541 3.1).
  mutating func decode(
    _ fragment: UnsafeRawBufferPointer, isLast: Bool, into arena: inout HeadArena
  ) -> Bool {
    // nghttp2 takes no null pointer, not even for no bytes.
    var empty: UInt8 = 0
    return withUnsafePointer(to: &empty) { empty in
      var place = fragment.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? empty
      var left = fragment.count
      while true {
        var field = nghttp2_nv()
        var flags: Int32 = 0
        let used = nghttp2_hd_inflate_hd2(
          inflater, &field, &flags, place, left, isLast ? 1 : 0)
        guard used >= 0 else { return false }
        place += used
        left -= used
        if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
          arena.append(
            field.name, field.namelen, field.value, field.valuelen, fieldLimit: fieldLimit)
        }
        if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
          return nghttp2_hd_inflate_end_headers(inflater) == 0
        }
        if left == 0 && flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) == 0 { return !isLast }
      }
    }
  }
}
