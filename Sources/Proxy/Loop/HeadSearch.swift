// The outcome of looking for a head's end, the same for both sides.

import HTTP1

/// What came of looking for a head's end in unread bytes.
enum HeadSearch {
  /// More is to come.
  case incomplete
  /// There may be a head to parse.
  case found
  case rejected(HeadRejection)
}

@inline(__always)
func staticBytes(_ text: StaticString) -> UnsafeRawBufferPointer {
  UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
}
