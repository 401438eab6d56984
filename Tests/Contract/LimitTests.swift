// The limits of the process and of the kernel: what is small, locked or used up makes an engine
// slower or makes it say no, and loses nothing.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Limits {
    /// A child without privileges: root's memory is not accounted, so no limit would be felt.
    @Test(.tags(.failure), arguments: kernelEngines)
    func withoutLockableMemoryRegisteredBuffersAreUsedUnregistered(_ kind: EngineKind) throws {
      try inAChildWithoutPrivileges(lockedMemory, 1 << 20) {
        var options = Harness.options
        // More than the limit, and the rings beside them.
        options.registeredBuffers = 32
        try withHarness(kind, options) { harness in
          guard let buffer = harness.engine.registeredBuffer() else {
            throw HarnessFailure("no registered buffer")
          }
          memset(buffer.base, 7, 4096)
          let file = try harness.open("/tmp", O_RDWR | clinuxTemporaryFile)
          let write = harness.token()
          harness.engine.write(file, from: buffer, count: 4096, offset: 0, durable: false, write)
          guard try harness.end(write) == 4096 else { throw HarnessFailure("the write failed") }
          _ = try harness.fileBuffer(write)
          try harness.closeFile(file)
          harness.showedFailure = true
        }
      }
    }

    /// Rings count as locked memory where the limit is felt (the kernel accounts them again since
    /// 6.14): smaller ones are tried, down to 64 entries.
    @Test(.tags(.failure), arguments: kernelEngines, [32_768, 262_144, 1 << 20])
    func littleLockableMemoryMakesSmallerRingsThatStillServe(
      _ kind: EngineKind, _ limit: Int
    ) throws {
      try inAChildWithoutPrivileges(lockedMemory, limit) {
        try withHarness(kind) { harness in
          let (socket, peer) = try harness.connection()
          let receive = harness.token()
          harness.engine.receive(socket, .stream, receive)
          peer.send("hello")
          try harness.turn(until: { harness[receive].bytes.count == 5 })
          try harness.send(socket, "hello")
          guard try harness.received(by: peer, 5).count == 5 else { throw HarnessFailure("lost") }
          try harness.close(socket, joining: receive)
          harness.showedFailure = true
        }
      }
    }

    @Test(.tags(.failure), arguments: kernelEngines)
    func anEngineThatGetsNoDescriptorSaysSo(_ kind: EngineKind) throws {
      // Made and ended once before, so that what a first engine sets up is there.
      _ = try Harness(kind)
      try withDescriptorLimit {
        do {
          _ = try Harness(kind)
          Issue.record("an engine without a descriptor")
        } catch let failure as EngineFailure {
          #expect(failure.kind == kind && failure.failure.code == EMFILE, "\(failure)")
          #expect("\(failure)".hasPrefix(kind.rawValue))
        }
      }
    }

    @Test(arguments: kernelEngines)
    func anEngineThatCouldNotBeMadeLeavesNothing(_ kind: EngineKind) throws {
      _ = try Harness(kind)
      var before = openDescriptors()
      // The kernel closes a ring a little after its last use.
      for _ in 0..<50 {
        usleep(2000)
        before = min(before, openDescriptors())
      }
      for spare in 0..<6 {
        let held = (0..<spare).map { _ in Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) }
        try withDescriptorLimit {
          for descriptor in held { Glibc.close(descriptor) }
          _ = try? Harness(kind)
        }
      }
      var after = openDescriptors()
      for _ in 0..<100 where after > before {
        usleep(5000)
        after = openDescriptors()
      }
      #expect(after == before)
    }

    @Test(.tags(.failure), arguments: engines, [-1, 0, 1])
    func oneFrameMoreThanThereAreIsNilAndCounted(_ kind: EngineKind, _ beyond: Int) throws {
      var options = Harness.options
      options.frames = 16
      try withHarness(kind, options) { harness in
        let (socket, peer) = try harness.connection()
        var sent = 0
        // Each frame waits in a send of its own, or in a test's hands.
        var frames: [HeldFrame] = []
        for i in 0..<(16 + beyond) {
          let frame = harness.engine.frame()
          if frame == nil { #expect(i == 16) } else { sent += 1 }
          if let frame { frames.append(HeldFrame(frame)) }
        }
        #expect(sent == min(16, 16 + beyond))
        #expect(harness.engine.counters.frameRefusals == max(0, beyond))
        #expect(harness.engine.counters.framesInUse == sent)
        frames = []
        #expect(harness.engine.counters.framesInUse == 0)
        try harness.send(socket, "again")
        #expect(try harness.received(by: peer, 5).count == 5)
        harness.showedFailure = true
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: engines, [1, 2, 7, 8, 9])
    func aSubmissionQueueOfOneLosesNothing(_ kind: EngineKind, _ entries: Int) throws {
      var options = Harness.options
      options.submissionEntries = entries
      try withHarness(kind, options) { harness in
        let connections = try (0..<20).map { _ in try harness.connection() }
        let receives = connections.map { socket, _ in
          let token = harness.token()
          harness.engine.receive(socket, .stream, token)
          return token
        }
        let sends = try connections.map { socket, _ in
          let token = harness.token()
          harness.engine.send(socket, try harness.frame("abc"), .awaited, token)
          return token
        }
        for send in sends { try harness.expect(send, 3) }
        for (_, peer) in connections { peer.send("defg") }
        try harness.turn(until: { receives.allSatisfy { harness[$0].bytes.count == 4 } })
        for ((socket, _), receive) in zip(connections, receives) {
          try harness.close(socket, joining: receive)
        }
        harness.showedFailure = true
      }
    }

    @Test(.tags(.failure), arguments: engines, [1, 2, 3])
    func buffersThatAreFewerThanTheirUsersServeAllInTheEnd(_ kind: EngineKind, _ count: Int) throws
    {
      var options = Harness.options
      options.smallBuffers = count
      options.largeBuffers = count
      options.smallBufferSize = 4096
      options.largeBufferSize = 8192
      try withHarness(kind, options) { harness in
        let connections = try (0..<8).map { _ in try harness.connection() }
        let bytes = pattern(20_000)
        let receives = connections.map { socket, _ in
          let token = harness.token()
          harness.engine.receive(socket, .stream, token)
          return token
        }
        for (_, peer) in connections { #expect(peer.send(bytes) == bytes.count) }
        try harness.turn(until: { receives.allSatisfy { harness[$0].bytes.count == bytes.count } })
        for receive in receives { #expect(harness[receive].bytes == bytes) }
        for ((socket, _), receive) in zip(connections, receives) {
          try harness.close(socket, joining: receive)
        }
        harness.showedFailure = true
      }
    }
  }
}

private final class HeldFrame {
  let frame: SendFrame
  init(_ frame: consuming SendFrame) { self.frame = frame }
}

/// RLIMIT_MEMLOCK, asm-generic/resource.h: a macro that Swift does not see.
private let lockedMemory = 8
/// O_TMPFILE of open(2): a file without a name.
private let clinuxTemporaryFile: Int32 = 0o20_200_000

/// Runs `body` in a child that is nobody, under a limit. Its error or trap fails the test.
private func inAChildWithoutPrivileges(
  _ resource: Int, _ limit: Int, at location: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) throws {
  let child = clinux_fork()
  if child == 0 {
    var limits = rlimit(rlim_cur: rlim_t(limit), rlim_max: rlim_t(limit))
    setrlimit(__rlimit_resource_t(UInt32(resource)), &limits)
    // A user of its own: what a former child had locked is given back a little after its end.
    if getuid() == 0 && setuid(60_000 + uid_t(getpid()) % 5000) != 0 { _exit(3) }
    alarm(60)
    do {
      try body()
      _exit(0)
    } catch {
      let text = "in the child: \(error)\n"
      _ = text.withCString { Glibc.write(2, $0, strlen($0)) }
      _exit(4)
    }
  }
  var status: Int32 = 0
  try #require(child > 0)
  waitpid(child, &status, 0)
  #expect(status == 0, "wait status \(status)", sourceLocation: location)
}
