// Field sections for the tests, as a session keeps them: in an allocation of exactly their size, so
// that a read past the end is seen by the address sanitizer.

import HTTP
import HTTP2

/// Calls `body` with a head of these fields.
func withHead<R>(_ fields: [(String, String)], _ body: (HTTP2Head) -> R) -> R {
  var bytes: [UInt8] = []
  for (name, value) in fields {
    for count in [name.utf8.count, value.utf8.count] {
      for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: count >> shift)) }
    }
    bytes += Array(name.utf8) + Array(value.utf8)
  }
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
  defer { memory.deallocate() }
  memory.copyBytes(from: bytes)
  return body(
    HTTP2Head(
      start: UnsafeRawPointer(memory.baseAddress!), bytes: bytes.count, fieldCount: fields.count))
}

func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

extension HTTP2FieldList {
  /// `name: value` of each field.
  borrowing func lines() -> [String] {
    var all: [String] = []
    forEach { all.append(text($0) + ": " + text($1)) }
    return all
  }
}

/// Calls `body` with the bytes of a text.
func withBytes<R>(_ string: String, _ body: (UnsafeRawBufferPointer) -> R) -> R {
  Array(string.utf8).withUnsafeBytes(body)
}
