// What a start looks at and takes: paths of UNIX sockets, the lock of one start at a time, rings for several
// threads, a file or a pipe to its end.

import Foundation
import Testing

@testable import MillraceEngine

@Suite("The start of a process")
struct StartTests {
  private func folder() throws -> URL {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("millrace-start-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
  }

  @Test("a socket file is stale only when connecting to it is refused")
  func paths() throws {
    let folder = try folder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("s").path
    #expect(UnixPathTrial.look(path) == .free)
    var address = try #require(SocketAddress(unixPath: path))
    address.unixMode = 0o640
    let socket = try Sockets.listen(address, backlog: 4, reusePort: false, nonblocking: true)
    #expect(UnixPathTrial.look(path) == .inUse)
    var facts = stat()
    #expect(stat(path, &facts) == 0)
    #expect(facts.st_mode & 0o777 == 0o640)
    let file = try #require(UnixSocketFile(path))
    close(socket)
    #expect(UnixPathTrial.look(path) == .stale)
    file.remove()
    #expect(UnixPathTrial.look(path) == .free)
    try Data("x".utf8).write(to: URL(fileURLWithPath: path))
    #expect(UnixPathTrial.look(path) == .notASocket)
    file.remove()
    #expect(UnixPathTrial.look(path) == .notASocket)
    let missing = folder.appendingPathComponent("absent").path
    #expect(UnixPathTrial.look(missing + "/s") == .directory(missing, ENOENT))
  }

  @Test("one start at a time holds a port's lock, whatever the address before it")
  func lock() throws {
    let first = try SocketAddress.resolve(host: "127.0.0.1", port: 9)
    let second = try SocketAddress.resolve(host: "::", port: 9)
    let held = try #require(StartLock.take(first, milliseconds: 0))
    #expect(StartLock.take(second, milliseconds: 30) == nil)
    let other = try SocketAddress.resolve(host: "127.0.0.1", port: 10)
    #expect(StartLock.take(other, milliseconds: 0) != nil)
    held.release()
    #expect(StartLock.take(second, milliseconds: 0) != nil)
  }

  @Test("too little memory leads to smaller rings, then to epoll, and then to an end")
  func attempts() {
    let options = EngineOptions()
    let failure = EngineFailure(
      kind: .uring, failure: SystemFailure(code: ENOMEM, operation: "io_uring_setup"))
    var attempts = EngineAttempts(.uring, options, threads: 3, orEpollWith: options)
    #expect(attempts.note == nil)
    var goesOn = attempts.next(after: failure)
    #expect(goesOn)
    #expect(attempts.kind == .uring)
    #expect(attempts.options.submissionEntries == 256)
    var tries = 0
    while attempts.kind == .uring && tries < 20 {
      goesOn = attempts.next(after: failure)
      #expect(goesOn)
      tries += 1
    }
    #expect(attempts.kind == .epoll)
    #expect(attempts.note?.contains("reason=ENOMEM") == true)
    goesOn = attempts.next(after: failure)
    #expect(!goesOn)
    var only = EngineAttempts(.uring, options, threads: 3, orEpollWith: nil)
    let refused = EngineFailure(
      kind: .uring, failure: SystemFailure(code: EPERM, operation: "io_uring_setup"))
    goesOn = only.next(after: refused)
    #expect(!goesOn)
  }

  @Test("a gate lets threads pass in order, or none")
  func gate() throws {
    for opens in [true, false] {
      let gate = EngineGate(count: 2)
      let threads = try (0..<2).map { i in
        try WorkerThread.start(name: "gate", cpu: nil) { #expect(gate.pass(i) == opens) }
      }
      #expect(gate.result() == nil)
      if opens { gate.open() } else { gate.close() }
      for thread in threads { thread.join() }
    }
  }

  @Test("a file is read to its end, or to one byte past a limit; a directory is an error")
  func wholeFiles() throws {
    let folder = try folder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("f").path
    for count in [0, 99, 100, 101] {
      try Data(repeating: 7, count: count).write(to: URL(fileURLWithPath: path))
      #expect(try WholeFile.read(path, atMost: 100).count == count)
    }
    try Data(repeating: 7, count: 102).write(to: URL(fileURLWithPath: path))
    #expect(try WholeFile.read(path, atMost: 100).count == 101)
    #expect(throws: Errno.self) { try WholeFile.read(folder.path) }
  }
}
