// A directory in memory, for verifications by the thousand. With `beforeEachCall` it is one that
// changes under its reader.

import Glibc
import MillraceEngine

@testable import AuditLog

final class MemoryFiles: FileSystem, @unchecked Sendable {
  // Sendable: each test has its own, on its own thread.
  private(set) var contents: [String: [UInt8]]
  var beforeEachCall: () -> Void = {}
  fileprivate(set) var bytesRead = 0

  init(_ files: [(name: String, content: [UInt8])] = []) {
    contents = Dictionary(uniqueKeysWithValues: files.map { ($0.name, $0.content) })
  }

  func put(_ name: String, _ content: [UInt8]?) { contents[name] = content }

  func replaceAll(_ files: [(name: String, content: [UInt8])]) {
    contents = Dictionary(uniqueKeysWithValues: files.map { ($0.name, $0.content) })
  }

  fileprivate func content(_ name: String) -> [UInt8]? {
    beforeEachCall()
    return contents[name]
  }

  func open(_ path: String, _ access: BlockingFiles.Access) throws(Errno) -> BlockingFile {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    guard access == .read, let content = content(name) else {
      throw Errno(code: access == .read ? ENOENT : EROFS, operation: "open", path: path)
    }
    return BlockingFile(content: MemoryFile(name, content, self), path: path)
  }

  func list(_ path: String) throws(Errno) -> [String] {
    beforeEachCall()
    return contents.keys.sorted()
  }

  func synchronizeDirectory(_ path: String) throws(Errno) {}
  func rename(_ from: String, to: String) throws(Errno) {
    throw Errno(code: EROFS, operation: "rename", path: from)
  }
  func unlink(_ path: String) throws(Errno) {
    throw Errno(code: EROFS, operation: "unlink", path: path)
  }

  func verify(_ anchors: [Anchor] = []) throws -> VerificationReport {
    try Verification(directory: "/log", files: self).run(anchors: anchors)
  }
}

private final class MemoryFile: FileContent, @unchecked Sendable {
  // Sendable: as above.
  private let name: String
  private let files: MemoryFiles
  /// What it last was: an open file can be read after its removal.
  private var content: [UInt8]

  init(_ name: String, _ content: [UInt8], _ files: MemoryFiles) {
    self.name = name
    self.content = content
    self.files = files
  }

  func size() throws(Errno) -> Int { content.count }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
    content = files.content(name) ?? content
    let count = max(0, min(buffer.count, content.count - offset))
    files.bytesRead += count
    if count > 0 {
      content.withUnsafeBytes {
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + count]))
      }
    }
    return count
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
    throw Errno(code: EROFS, operation: "pwrite", path: name)
  }
  func synchronize() throws(Errno) {}
  func truncate(to length: Int) throws(Errno) {
    throw Errno(code: EROFS, operation: "ftruncate", path: name)
  }
}
