// File operations that a script waits for, in one line each.

import Glibc
import MillraceEngine
import Testing

extension Harness {
  func open(
    _ path: String, _ flags: Int32, file: String = #fileID, line: Int = #line
  ) throws -> Descriptor {
    let result = try ending(file: file, line: line) {
      engine.open(path, flags: flags, mode: 0o600, $0)
    }
    try #require(result >= 0, "open \(path)")
    return Descriptor(rawValue: result)
  }

  func closeFile(_ file: Descriptor) throws {
    let result = try ending { engine.closeFile(file, $0) }
    #expect(result == 0)
  }

  /// - Returns: what the write returned.
  func write(
    _ file: Descriptor, _ bytes: [UInt8], at offset: Int64, durable: Bool = false,
    line: Int = #line
  ) throws -> Int32 {
    let token = token(line: line)
    let buffer = FileBuffer(capacity: max(bytes.count, 1))
    bytes.withUnsafeBytes {
      if let base = $0.baseAddress { buffer.base.copyMemory(from: base, byteCount: bytes.count) }
    }
    engine.write(file, from: buffer, count: bytes.count, offset: offset, durable: durable, token)
    let result = try end(token)
    _ = try fileBuffer(token)
    return result
  }

  func read(
    _ file: Descriptor, _ count: Int, at offset: Int64, line: Int = #line
  ) throws -> [UInt8] {
    let token = token(line: line)
    engine.read(file, into: FileBuffer(capacity: count), count: count, offset: offset, token)
    let result = try end(token)
    let buffer = try fileBuffer(token)
    try #require(result >= 0)
    return buffer.bytes(Int(result))
  }
}
