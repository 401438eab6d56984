// What a request head says to intermediaries: how far it may go (Max-Forwards) and where it has been
// (Via). Read only where such a field is there, which is rare.

extension RequestView {
  /// The value of Max-Forwards (RFC 9110 7.6.2), at most 2³² − 1, which is the largest that this
  /// proxy supports; nil if there is none or it is no number. Of several lines the first counts.
  public var maxForwards: UInt32? {
    guard let line = first(.maxForwards), !line.value.isEmpty else { return nil }
    var total: UInt64 = 0
    for byte in slice(line.value) {
      let digit = byte &- 0x30
      guard digit < 10 else { return nil }
      total = min(total * 10 + UInt64(digit), UInt64(UInt32.max))
    }
    return UInt32(total)
  }

  /// How many members of Via name `pseudonym` as their received-by (RFC 9110 7.6.3), in any case.
  ///
  /// Comments are not told apart from members: a comma in one makes a member of its rest, which
  /// can only count more of what the sender wrote itself.
  public func viaCount(of pseudonym: UnsafeRawBufferPointer) -> Int {
    guard let name = pseudonym.baseAddress else { return 0 }
    var count = 0
    for index in 0..<fieldCount where field(index).known == .via {
      var elements = ListElements(field(index).value)
      while let element = elements.next(base) {
        let place = Self.receivedBy(element, base)
        if Int(place.count) == pseudonym.count,
          ByteClass.equalFolded(base + Int(place.start), name, count: pseudonym.count)
        {
          count += 1
        }
      }
    }
    return count
  }

  /// The second word of a member of Via.
  private static func receivedBy(_ element: ByteRange, _ base: UnsafeRawPointer) -> ByteRange {
    let end = Int(element.end)
    var position = Int(element.start)
    while position < end, !ByteClass.isBlank(ByteClass.byte(base, position)) { position += 1 }
    while position < end, ByteClass.isBlank(ByteClass.byte(base, position)) { position += 1 }
    let start = position
    while position < end, !ByteClass.isBlank(ByteClass.byte(base, position)) { position += 1 }
    return ByteRange(from: start, to: position)
  }
}
