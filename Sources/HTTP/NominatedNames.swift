// The names that the Connection lines of a head nominate, kept past the head's bytes: a field that
// belongs to this hop is dropped from the trailer section as well (RFC 9110 7.6.1), and that comes
// when the head is gone. Made only for a chunked message whose Connection names a field; memory is
// taken for it once and freed with the message.

/// The names in a head's Connection lines.
public struct NominatedNames: ~Copyable {
  /// Bytes of names that are kept. Real messages name one to five fields of some ten bytes; past
  /// the bound every trailer line of an unrecognised name counts as nominated, which loses a line
  /// and never passes one on that should not.
  package static let bytesMaximum = 1024

  /// Stands before the names, so that this value is one pointer: it is part of each decoder, of
  /// which an exchange has two, and up to 128 bytes are copied without a call of memcpy (callgrind:
  /// 200 instructions less per request).
  private struct Header {
    /// Bytes of names: each as its length in one byte and its bytes.
    var used = 0
    var isPartial = false
  }

  private let memory: UnsafeMutableRawPointer
  private var header: UnsafeMutablePointer<Header> {
    memory.assumingMemoryBound(to: Header.self)
  }
  private var names: UnsafeMutableRawPointer { memory + MemoryLayout<Header>.size }

  package init(_ table: FieldTable, _ base: UnsafeRawPointer) {
    memory = .allocate(
      byteCount: MemoryLayout<Header>.size + Self.bytesMaximum,
      alignment: MemoryLayout<Header>.alignment)
    memory.initializeMemory(as: Header.self, to: Header())
    for index in 0..<table.count where table.line(index).known == .connection {
      var elements = ListElements(table.line(index).value)
      while let element = elements.next(base) {
        insert(base + Int(element.start), Int(element.count))
      }
    }
  }

  deinit { memory.deallocate() }

  // SAFETY: `used` and what is written stay within `bytesMaximum`, the size of the memory.
  private func insert(_ name: UnsafeRawPointer, _ count: Int) {
    let used = header.pointee.used
    guard count <= Int(UInt8.max), used + 1 + count <= Self.bytesMaximum else {
      header.pointee.isPartial = true
      return
    }
    names.storeBytes(of: UInt8(count), toByteOffset: used, as: UInt8.self)
    (names + used + 1).copyMemory(from: name, byteCount: count)
    header.pointee.used = used + 1 + count
  }

  /// Whether a field line of a trailer section is nominated.
  package func nominates(_ line: FieldLine, _ base: UnsafeRawPointer) -> Bool {
    if header.pointee.isPartial, line.known == .other { return true }
    var position = 0
    while position < header.pointee.used {
      let count = Int(ByteClass.byte(names, position))
      if count == Int(line.name.count),
        ByteClass.equalFolded(names + position + 1, base + Int(line.name.start), count: count)
      {
        return true
      }
      position += 1 + count
    }
    return false
  }
}
