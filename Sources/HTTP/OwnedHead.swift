// A request head that outlives the bytes that it was read from: for a request that must wait (for room
// in a log, for a connection) or may be sent again, so that its head is written when the server, and
// with it the protocol, is known. The copy lies in memory of the caller's, in one piece: the parts,
// the field lines, the index of names, the bytes.

/// A copy of a request head. It owns no memory: it is valid while the memory that it was made in is
/// there and not moved, and needs no end.
public struct OwnedHead {
  private let parts: UnsafePointer<RequestParts>
  private let base: UnsafeRawPointer

  /// What the start of the memory must be aligned to; that of malloc(3) is.
  public static var alignment: Int { MemoryLayout<RequestParts>.alignment }

  /// Bytes that a copy of this head takes: those of the head, 20 for each field line and some 350.
  public static func byteCount(for head: RequestView) -> Int {
    bytesOffset(head.fieldCount) + head.bytes.count
  }

  /// Copies `head`, with the lines that were marked as not going on; nil if the memory is smaller than
  /// `byteCount(for:)` or not aligned.
  ///
  /// - Parameter memory: of which nothing else may be made while the copy is in use.
  // SAFETY: each part lies at an offset that the functions below compute, and the end of the last one
  // is compared with the memory's.
  public init?(copying head: RequestView, into memory: UnsafeMutableRawBufferPointer) {
    let count = head.fieldCount
    guard let start = memory.baseAddress, memory.count >= Self.byteCount(for: head),
      UInt(bitPattern: start) % UInt(Self.alignment) == 0
    else { return nil }
    let lines = (start + Self.linesOffset).bindMemory(to: FieldLine.self, capacity: max(count, 1))
    let index = (start + Self.indexOffset(count)).bindMemory(
      to: UInt16.self, capacity: FieldTable.names)
    let bytes = start + Self.bytesOffset(count)
    bytes.copyMemory(from: head.base, byteCount: head.bytes.count)
    var copied = head.parts.pointee
    copied.fields = FieldTable(copying: copied.fields, lines: lines, firstIndex: index)
    let cell = start.bindMemory(to: RequestParts.self, capacity: 1)
    cell.initialize(to: copied)
    parts = UnsafePointer(cell)
    base = UnsafeRawPointer(bytes)
  }

  /// The head, as the one that was copied gave it.
  @inline(__always)
  public var view: RequestView { RequestView(base: base, parts: parts) }

  // MARK: Layout. Alignments go down from part to part, so that nothing lies between them.

  private static var linesOffset: Int { MemoryLayout<RequestParts>.stride }

  private static func indexOffset(_ lines: Int) -> Int {
    linesOffset + lines * MemoryLayout<FieldLine>.stride
  }

  private static func bytesOffset(_ lines: Int) -> Int {
    indexOffset(lines) + FieldTable.names * MemoryLayout<UInt16>.stride
  }
}
