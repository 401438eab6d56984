// The directory of the audit log while two processes have a part of it, and when another one takes its place.

import Glibc
import MillraceEngine
import Testing

@testable import Proxy

@Suite("The audit log's directory beside another process", .serialized)
struct AuditDirectoryTests {
  /// A folder, a process that has it and its chain 0, and the one that has taken its place with chain 1.
  private func withTwo(_ body: (String, AuditDirectory, AuditDirectory) throws -> Void) throws {
    var template = Array("/tmp/millrace-audit-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.map { mkdtemp($0) } }
    guard made != nil else { throw Errno(code: errno, operation: "mkdtemp", path: "/tmp") }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      for name in (try? BlockingFiles.list(path)) ?? [] { unlink("\(path)/\(name)") }
      rmdir(path)
    }
    let first = try BlockingFiles.lease(directory: path)
    let hasFirst = try first.take(number: 0)
    let old = AuditDirectory(consume first, numbers: [0])
    let lock = try #require(old.copyOfLock())
    defer { close(lock) }
    let second = try BlockingFiles.lease(directory: path, .besides(lock: lock))
    let hasSecond = try second.take(number: 1)
    #expect(hasFirst && hasSecond)
    old.leaveToSuccessor()
    try body(path, old, AuditDirectory(consume second, numbers: [1]))
  }

  private func replace(_ path: String) throws {
    for name in try BlockingFiles.list(path) { unlink("\(path)/\(name)") }
    rmdir(path)
    try BlockingFiles.makeDirectory(path)
  }

  @Test("each finds its own part again in a directory that was made anew, in either order")
  func again() throws {
    for isOldFirst in [true, false] {
      try withTwo { path, old, new in
        #expect(old.takeAgain() == nil && new.takeAgain() == nil)
        try replace(path)
        for directory in isOldFirst ? [old, new] : [new, old] {
          #expect(directory.takeAgain() == nil)
        }
        // The directory as a whole is the new one's.
        #expect(old.copyOfLock() == nil)
        let lock = try #require(new.copyOfLock())
        close(lock)
        new.release()
        old.release()
      }
    }
  }

  @Test("what another process has taken meanwhile is told")
  func taken() throws {
    try withTwo { path, old, new in
      try replace(path)
      let other = try BlockingFiles.lease(directory: path)
      let isTaken = try other.take(number: 0)
      #expect(isTaken)
      #expect(old.takeAgain()?.contains("chain 0") == true)
      #expect(new.takeAgain()?.contains("flock") == true)
    }
  }
}
