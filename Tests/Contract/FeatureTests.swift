// What an engine uses of the kernel can be switched, is reported by name, and changes nothing that
// the layer above can see. (The whole suite runs once per feature besides: scripts/test-features.)

import CLinux
import Glibc
import Testing

@testable import MillraceEngine

extension Contract {
  @Suite(.enabled(if: ringFailure == nil, "io_uring is refused")) struct Features {
    /// What an operator may switch on a ring.
    static let names = EngineFeatures.all.filter { $0.engine != .epoll }.map(\.name)

    static func options(_ change: (inout EngineFeatures) -> Void) -> EngineOptions {
      var options = Harness.options
      options.features = .standard
      change(&options.features)
      return options
    }

    static func line(_ name: String, _ features: [ProbeFeature]) throws -> ProbeFeature {
      try #require(features.first { $0.name == name })
    }

    @Test func everyFeatureIsReportedOnceInOrder() throws {
      let engine = try Uring(Self.options { _ in })
      let features = engine.features
      #expect(features.map(\.name) == Self.names)
      // Linux 6.6 has all of these; where this runs on an older one, the cause names a version.
      for feature in features {
        let wanted = EngineFeatures.standard.contains(EngineFeatures(name: feature.name)!)
        #expect(feature.state != .refused || feature.cause.contains("Linux"), "\(feature)")
        #expect(wanted || feature.state == .off, "\(feature)")
      }
      for feature in features { #expect((feature.state == .on) == feature.cause.isEmpty) }
    }

    @Test(arguments: names) func whatIsSwitchedOffIsNotUsed(_ name: String) throws {
      let feature = try #require(EngineFeatures(name: name))
      let engine = try Uring(Self.options { $0.remove(feature) })
      let line = try Self.line(name, engine.features)
      #expect(line.state == .off)
      #expect(
        line.cause
          == (EngineFeatures.standard.contains(feature) ? "disabled" : "off by default"))
    }

    @Test func theRungFollowsTheSwitches() throws {
      func setup(_ change: (inout EngineFeatures) -> Void) throws -> String {
        try Uring(Self.options(change)).setupDescription
      }
      let cooperative = try setup { $0.remove(.deferTaskrun) }
      #expect(cooperative.contains("coop_taskrun"))
      let withArray = try setup { $0.remove(.noSQArray) }
      #expect(!withArray.contains("no_sqarray"))
      let polled = try setup { $0.insert(.submissionThread) }
      #expect(polled.contains("sqpoll") && !polled.contains("taskrun"))
    }

    @Test func whatExcludesEachOtherSaysSo() throws {
      let engine = try Uring(Self.options { $0.insert([.submissionThread, .ringResize]) })
      let thread = try Self.line("sqpoll", engine.features)
      #expect(thread.state == .on)
      for name in ["defer_taskrun", "quiet_sends", "ring_resize"] {
        let line = try Self.line(name, engine.features)
        #expect(line.state == .off && !line.cause.isEmpty, "\(line)")
      }
    }

    /// Bytes of a pattern, sent in bursts of several sizes, arrive as they left.
    @Test(arguments: [
      [], ["receive_bundles"], ["incremental_buffers"], ["receive_bundles", "-multishot_receive"],
      ["incremental_buffers", "-multishot_receive"], ["sqpoll", "receive_bundles"],
    ])
    func burstsArriveInOrder(_ changes: [String]) throws {
      var options = Self.options { features in
        for change in changes {
          if change.hasPrefix("-") {
            features.subtract(EngineFeatures(name: String(change.dropFirst()))!)
          } else {
            features.formUnion(EngineFeatures(name: change)!)
          }
        }
      }
      options.smallBuffers = 64
      try withHarness(.uring, options) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        var sent: [UInt8] = []
        for size in [1, 100, 4096, 4097, 20_000, 3, 65_000, 8192, 1, 1, 30_000] {
          let burst = (0..<size).map { UInt8(truncatingIfNeeded: (sent.count + $0) * 31 >> 3) }
          peer.send(burst)
          sent += burst
          if size % 2 == 1 {
            try harness.turn(until: { harness[receive].bytes.count == sent.count }, "the burst")
          }
        }
        try harness.turn(until: { harness[receive].bytes.count == sent.count }, "all bytes")
        #expect(harness[receive].bytes == sent)
        try harness.close(socket, joining: receive)
      }
    }

    @Test func piecesOfOneBufferAreLeasedTogetherAndComeBackTogether() throws {
      var options = Self.options { $0.insert(.incrementalBuffers) }
      options.smallBuffers = 2
      try withHarness(.uring, options) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.holdsSlices = true
        harness.engine.receive(socket, .stream, receive)
        for piece in ["one", "two", "three"] {
          peer.send(piece)
          let count = harness[receive].bytes.count + piece.utf8.count
          try harness.turn(until: { harness[receive].bytes.count == count }, "a piece")
        }
        #expect(harness.held.count == 3)
        #expect(harness.engine.counters.leasedBuffers == 1, "three pieces of one buffer")
        #expect(Array(harness.held[0].slice.bytes) == Array("one".utf8))
        #expect(Array(harness.held[2].slice.bytes) == Array("three".utf8))
        harness.held = []
        #expect(harness.engine.counters.leasedBuffers == 0)
        // The kernel goes on in the same buffer, and through it into the next.
        let rest = [UInt8](repeating: 7, count: 6000)
        peer.send(rest)
        try harness.turn(until: { harness[receive].bytes.count == 6011 }, "the rest")
        #expect(harness[receive].bytes.suffix(6000) == rest[...])
        harness.held = []
        try harness.close(socket, joining: receive)
      }
    }

    @Test func aPieceIsRedeemedOnce() async {
      await #expect(processExitsWith: .failure) {
        var options = EngineOptions()
        options.features.insert(.incrementalBuffers)
        var engine = try Uring(options)
        let pair = try Features.pair(&engine)
        engine.receive(pair.socket, .stream, Token(rawValue: 1))
        _ = Glibc.send(pair.peer, "abc", 3, 0)
        while true {
          engine.wait(until: nil)
          guard let completion = engine.next() else { continue }
          _ = engine.takeSlice(completion)
          _ = engine.takeSlice(completion)
          exit(0)
        }
      }
    }

    static func pair(_ engine: inout Uring) throws -> (socket: Descriptor, peer: Int32) {
      var ends: (Int32, Int32) = (-1, -1)
      let code = withUnsafeMutableBytes(of: &ends) {
        socketpair(
          AF_UNIX, Int32(SOCK_STREAM.rawValue), 0,
          $0.assumingMemoryBound(to: Int32.self).baseAddress!)
      }
      try #require(code == 0)
      _ = engine.sockets.open(ends.0)
      return (Descriptor(rawValue: ends.0), ends.1)
    }

    @Test func aSmallCompletionQueueGrowsAndLosesNothing() throws {
      var options = Self.options { $0.insert(.ringResize) }
      options.submissionEntries = 64
      options.smallBuffers = 8192
      try withHarness(.uring, options) { harness in
        harness.overflows = true
        let (socket, peer) = try harness.connection()
        let first = harness.token()
        harness.engine.receive(socket, .stream, first)
        harness.turn()
        // Far more no-operations than the queue's first size: files that do not exist.
        var tokens: [Token] = []
        for _ in 0..<60 {
          let wave = (0..<64).map { _ in harness.token() }
          for token in wave { harness.engine.unlink("/nonexistent/millrace", token) }
          tokens += wave
          for token in wave { try harness.end(token) }
        }
        for token in tokens { #expect(harness.ending(token) == -ENOENT) }
        peer.send("still there")
        try harness.turn(until: { harness[first].bytes.count == 11 }, "bytes")
        try harness.close(socket, joining: first)
      }
    }

    @Test func theRingsSurviveGrowthWithEntriesAndCompletionsInThem() throws {
      let flags = UInt32(
        CLINUX_SETUP_CQSIZE | CLINUX_SETUP_SINGLE_ISSUER | CLINUX_SETUP_DEFER_TASKRUN
          | CLINUX_SETUP_NO_SQARRAY)
      var ring = try Ring(entries: 8, completions: 16, flags: flags)
      func fill(_ ring: inout Ring, _ data: Range<UInt64>) throws {
        for i in data {
          guard let entry = ring.nextEntry() else { throw HarnessFailure("the ring is full") }
          entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
          entry.pointee.user_data = i
        }
      }
      try fill(&ring, 0..<5)
      let submitted = ring.enter(wait: 5, timeoutNanoseconds: -1)
      var seen = [ring.take().user_data]
      try fill(&ring, 5..<8)
      let grown = ring.growCompletions(to: 64)
      let (places, pending) = (ring.cqEntries, ring.pending)
      let rest = ring.enter(wait: 7, timeoutNanoseconds: -1)
      while ring.ready > 0 { seen.append(ring.take().user_data) }
      ring.commitTaken()
      #expect([submitted, grown, Int32(places), Int32(pending), rest] == [5, 0, 64, 3, 3])
      #expect(seen == Array(0..<8))
    }

    @Test func aWaitForABatchKeepsItsDeadline() throws {
      var options = Self.options { $0.insert(.minWait) }
      options.batchMicroseconds = 200_000
      try withHarness(.uring, options) { harness in
        harness.engine.refreshClocks()
        let start = harness.engine.now
        while harness.engine.now < start + 5_000_000 {
          harness.engine.wait(until: start + 5_000_000)
        }
        #expect(harness.engine.now - start < 100_000_000, "the minimum outlived the deadline")
      }
    }

    @Test func aWaitForABatchEndsWithOneEventAfterTheMinimum() throws {
      var options = Self.options { $0.insert(.minWait) }
      options.batchMicroseconds = 20_000
      try withHarness(.uring, options) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.turn()
        peer.send("x")
        harness.engine.refreshClocks()
        let start = harness.engine.now
        harness.engine.wait(until: nil)
        let waited = harness.engine.now - start
        harness.drain()
        #expect(harness[receive].bytes.count == 1)
        #expect(waited >= 15_000_000, "one event did not wait for more: \(waited) ns")
        #expect(waited < 2_000_000_000)
        try harness.close(socket, joining: receive)
      }
    }

    @Test func aThreadOfTheKernelIsWokenWhenItSleeps() throws {
      var options = Self.options { $0.insert(.submissionThread) }
      options.submissionThreadIdle = 1
      try withHarness(.uring, options) { harness in
        for _ in 0..<3 {
          usleep(20_000)
          let token = harness.token()
          harness.engine.unlink("/nonexistent/millrace", token)
          let ending = try harness.end(token)
          #expect(ending == -ENOENT)
        }
        #expect(harness.engine.counters.submissionThreadWakes > 0)
      }
    }
  }

  @Suite struct RegisteredMemory {
    @Test(arguments: engines) func registeredBuffersCarryDataAndComeBack(_ kind: EngineKind) throws
    {
      switch kind {
      case .uring: try Self.carry(Uring.self)
      case .epoll: try Self.carry(Epoll.self)
      default: break
      }
    }

    static func carry<E: Engine & ~Copyable>(_: E.Type) throws {
      var options = Harness.options
      options.registeredBuffers = 2
      options.registeredBufferSize = 8192
      var engine = try E(options)
      let path = "/tmp/millrace-registered-\(getpid())"
      defer { unlink(path) }
      let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
      try #require(descriptor >= 0)
      let file = Descriptor(rawValue: descriptor)
      var lastToken: UInt64 = 0
      func end(_ engine: inout E) -> (result: Int32, buffer: BoxedBuffer) {
        while true {
          engine.wait(until: nil)
          if let completion = engine.next() {
            return (completion.result, BoxedBuffer(engine.takeFileBuffer(completion)))
          }
        }
      }
      func take(_ engine: inout E) -> BoxedBuffer? {
        guard let buffer = engine.registeredBuffer() else { return nil }
        return BoxedBuffer(buffer)
      }
      for round in 0..<3 {
        var boxes = [take(&engine), take(&engine), take(&engine)].compactMap { $0 }
        try #require(boxes.count == 2)
        let counters = engine.counters
        #expect(counters.registeredBuffersInUse == 2)
        #expect(counters.registeredBufferRefusals == round + 1)
        let out = boxes[0].take()
        let (base, capacity) = (out.base, out.capacity)
        #expect(Int(bitPattern: base) % 4096 == 0 && capacity == 8192)
        memset(base, Int32(65 + round), 8192)
        lastToken += 1
        engine.write(
          file, from: out, count: 8192, offset: 0, durable: false, Token(rawValue: lastToken))
        boxes[0] = boxes[1]
        do {
          let written = end(&engine)
          #expect(written.result == 8192)
        }
        let afterWrite = engine.counters.registeredBuffersInUse
        #expect(afterWrite == 1)
        lastToken += 1
        engine.read(
          file, into: boxes[0].take(), count: 8192, offset: 0, Token(rawValue: lastToken))
        boxes = []
        let got = end(&engine)
        #expect(got.result == 8192)
        let content = got.buffer.take()
        let bytes = UnsafeRawBufferPointer(start: content.base, count: 8192)
        let isWhole = bytes.allSatisfy { $0 == UInt8(65 + round) }
        #expect(isWhole)
      }
      let inUse = engine.counters.registeredBuffersInUse
      #expect(inUse == 0)
      Glibc.close(descriptor)
    }
  }
}

/// A file buffer in a box, because a macro's expansion copies what it looks at.
private final class BoxedBuffer {
  private var buffer: FileBuffer?
  init(_ buffer: consuming FileBuffer) { self.buffer = consume buffer }
  func take() -> FileBuffer { buffer.take()! }
}
