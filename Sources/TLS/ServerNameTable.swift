// Which group of certificates serves which server name: an exact name before a wildcard of one
// label before the default. Built once, then only read, by binary search over one array of bytes,
// so that a lookup allocates nothing and ten thousand names cost fourteen comparisons.

import Glibc

/// A lookup table from host names to group numbers.
struct ServerNameTable: Sendable {
  private struct Entry: Sendable {
    var offset: Int
    var count: Int
    var group: Int
  }

  private let bytes: [UInt8]
  private let entries: [Entry]

  /// Builds the table. Names are lowercase and distinct; a wildcard is written `*.example.org`.
  init(_ groupsByName: [(name: [UInt8], group: Int)]) {
    let sorted = groupsByName.sorted { left, right in
      left.name.withUnsafeBytes { left in
        right.name.withUnsafeBytes { Self.order(left, $0) < 0 }
      }
    }
    var bytes: [UInt8] = []
    var entries: [Entry] = []
    for (name, group) in sorted {
      entries.append(Entry(offset: bytes.count, count: name.count, group: group))
      bytes += name
    }
    self.bytes = bytes
    self.entries = entries
  }

  /// The group that serves `serverName` as a client wrote it, nil if none does: nothing covers it,
  /// or it is no host name at all.
  func group(for serverName: UnsafeRawBufferPointer) -> Int? {
    var count = serverName.count
    if count > 0, serverName[count - 1] == UInt8(ascii: ".") { count -= 1 }
    guard count > 0, count <= 253 else { return nil }
    // One byte before the name: it becomes the star of the wildcard that covers it.
    return withUnsafeTemporaryAllocation(byteCount: 254, alignment: 1) { scratch -> Int? in
      var firstDot = -1
      for index in 0..<count {
        guard let byte = CertificateNames.lowercased(serverName[index], allowsStar: false) else {
          return nil
        }
        if byte == UInt8(ascii: "."), firstDot < 0 { firstDot = index }
        scratch[index + 1] = byte
      }
      let name = UnsafeRawBufferPointer(rebasing: scratch[1...count])
      if let exact = find(name) { return exact }
      // RFC 6125, 6.4.3: the star stands for exactly one whole label, which is not empty.
      guard firstDot > 0 else { return nil }
      scratch[firstDot] = UInt8(ascii: "*")
      return find(UnsafeRawBufferPointer(rebasing: scratch[firstDot...count]))
    }
  }

  /// The group of exactly these bytes.
  private func find(_ name: UnsafeRawBufferPointer) -> Int? {
    bytes.withUnsafeBytes { all in
      var low = 0
      var high = entries.count
      while low < high {
        let middle = (low + high) / 2
        let entry = entries[middle]
        let candidate = UnsafeRawBufferPointer(
          rebasing: all[entry.offset..<entry.offset + entry.count])
        let order = Self.order(candidate, name)
        if order == 0 { return entry.group }
        if order < 0 { low = middle + 1 } else { high = middle }
      }
      return nil
    }
  }

  /// Negative, zero or positive as `left` stands before, at or after `right`: by length, then by
  /// bytes.
  private static func order(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int
  {
    if left.count != right.count { return left.count - right.count }
    guard let leftBase = left.baseAddress, let rightBase = right.baseAddress else { return 0 }
    return Int(memcmp(leftBase, rightBase, left.count))
  }
}
