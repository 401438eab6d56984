// The Priority field (RFC 9218 4): how urgent a response is, and whether its parts are useful by
// themselves. A structured field of which two keys count; whatever else stands there is passed over.

public struct Priority: Equatable, Sendable {
  /// 0 to 7; 0 is the most urgent.
  public var urgency: UInt8 = 3
  public var isIncremental = false

  public init() {}

  /// Reads a value; what cannot be read leaves the default.
  public init(_ value: UnsafeRawBufferPointer) {
    var at = 0
    while at < value.count {
      var end = at
      while end < value.count, value[end] != UInt8(ascii: ",") { end += 1 }
      read(UnsafeRawBufferPointer(rebasing: value[at..<end]))
      at = end + 1
    }
  }

  private mutating func read(_ member: UnsafeRawBufferPointer) {
    var first = 0
    while first < member.count, member[first] == 0x20 || member[first] == 0x09 { first += 1 }
    var last = first
    // Parameters of a member follow a semicolon.
    while last < member.count, member[last] != UInt8(ascii: ";") { last += 1 }
    while last > first, member[last - 1] == 0x20 || member[last - 1] == 0x09 { last -= 1 }
    guard last > first else { return }
    switch (member[first], last - first) {
    case (UInt8(ascii: "u"), 3) where member[first + 1] == UInt8(ascii: "="):
      let digit = member[first + 2] &- UInt8(ascii: "0")
      if digit <= 7 { urgency = digit }
    case (UInt8(ascii: "i"), 1): isIncremental = true
    case (UInt8(ascii: "i"), 4)
    where member[first + 1] == UInt8(ascii: "=") && member[first + 2] == UInt8(ascii: "?"):
      isIncremental = member[first + 3] == UInt8(ascii: "1")
    default: break
    }
  }
}
