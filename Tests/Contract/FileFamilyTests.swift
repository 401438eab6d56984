// The rest of the files: what statx(2) tells, several buffers at once, registered memory, and the
// errors of names.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct FileFamily {
    @Test(arguments: completeEngines)
    func theStatusOfAFileIsThatOfItsPath(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let path = try harness.outside.directory() + "/known"
        let file = try harness.open(path, O_RDWR | O_CREAT)
        #expect(try harness.write(file, pattern(5000), at: 0) == 5000)
        let (open, named) = (harness.token(), harness.token())
        harness.engine.status(file, open)
        harness.engine.status(path: path, named)
        try harness.expect(open, 0)
        try harness.expect(named, 0)
        let status = try #require(harness[open].status)
        #expect(harness[named].status == status)
        #expect(status.size == 5000 && status.links == 1 && status.inode != 0)
        #expect(UInt32(status.mode) & S_IFMT == S_IFREG && status.mode & 0o777 == 0o600)
        #expect(status.blocks * 512 >= 5000)
        let wall = Int64(time(nil)) * 1_000_000_000
        if kind != .simulated { #expect(abs(status.modifiedNanoseconds - wall) < 100_000_000_000) }
        try harness.ending { harness.engine.truncate(file, length: 1, $0) }
        let cut = harness.token()
        harness.engine.status(file, cut)
        try harness.end(cut)
        #expect(harness[cut].status?.size == 1)
        try harness.closeFile(file)
      }
    }

    @Test(arguments: completeEngines)
    func aDirectoryHasAStatus(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let status = harness.token()
        harness.engine.status(path: try harness.outside.directory(), status)
        try harness.expect(status, 0)
        let mode = try #require(harness[status].status).mode
        #expect(UInt32(mode) & S_IFMT == S_IFDIR)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func whatIsNotThereHasNoStatus(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        let missing = harness.token()
        harness.engine.status(path: directory + "/none", missing)
        try harness.expect(missing, -ENOENT)
        #expect(harness[missing].status == nil)
        let closed = harness.token()
        harness.engine.status(Descriptor(rawValue: 60_000), closed)
        try harness.expect(closed, -EBADF)
        #expect(harness[closed].status == nil)
      }
    }

    @Test(arguments: completeEngines, [1, 2, FileBufferList.limit])
    func severalBuffersAreWrittenAndReadInOrder(_ kind: EngineKind, _ count: Int) throws {
      try withHarness(kind) { harness in
        let path = try harness.outside.directory() + "/parts"
        let file = try harness.open(path, O_RDWR | O_CREAT)
        let sizes = (0..<count).map { 100 + 37 * $0 }
        let total = sizes.reduce(0, +)
        let write = harness.token()
        harness.engine.write(file, from: parts(sizes), offset: 10, durable: count == 2, write)
        try harness.expect(write, Int32(total))
        let back = try harness.fileBuffers(write)
        #expect(back.list.count == count && back.list.byteCount == total)
        let read = harness.token()
        harness.engine.read(file, into: blank(sizes), offset: 10, read)
        try harness.expect(read, Int32(total))
        let got = try harness.fileBuffers(read)
        #expect((0..<count).flatMap { got.bytes($0) } == pattern(total))
        #expect(
          harness.outside.content(of: path) == Array(repeating: 0, count: 10) + pattern(total))
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [0, 1, 149, 150, 151, 300])
    func aVectoredReadAtTheEndIsShort(_ kind: EngineKind, _ there: Int) throws {
      try withHarness(kind) { harness in
        let file = try harness.open(harness.outside.directory() + "/end", O_RDWR | O_CREAT)
        if there > 0 { #expect(try harness.write(file, pattern(there), at: 0) == Int32(there)) }
        let read = harness.token()
        harness.engine.read(file, into: blank([50, 50, 50]), offset: 0, read)
        let count = min(there, 150)
        try harness.expect(read, Int32(count))
        let got = try harness.fileBuffers(read)
        #expect(got.list.count == 3)
        #expect(
          Array((0..<3).flatMap { got.bytes($0) }[..<count]) == Array(pattern(there)[..<count]))
        harness.showedFailure = true
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aFailedVectoredOperationGivesItsBuffersBack(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let none = Descriptor(rawValue: 60_000)
        let (read, write) = (harness.token(), harness.token())
        harness.engine.read(none, into: blank([10, 20]), offset: 0, read)
        harness.engine.write(none, from: parts([10, 20]), offset: 0, durable: true, write)
        for token in [read, write] {
          try harness.expect(token, -EBADF)
          let back = try harness.fileBuffers(token)
          #expect(back.list.count == 2 && back.list.byteCount == 30)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func aVectoredWriteToAFullDeviceIsENOSPC(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let file = try harness.open("/dev/full", O_WRONLY)
        let write = harness.token()
        harness.engine.write(file, from: parts([512, 512]), offset: 0, durable: false, write)
        try harness.expect(write, -ENOSPC)
        let back = try harness.fileBuffers(write)
        #expect(back.bytes(0) + back.bytes(1) == pattern(1024))
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDirectoryIsNoFile(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        #expect(
          try harness.ending { harness.engine.open(directory, flags: O_WRONLY, mode: 0, $0) }
            == -EISDIR
        )
        try harness.expect(-EISDIR) { harness.engine.unlink(directory, $0) }
        let file = try harness.open(directory + "/plain", O_RDWR | O_CREAT)
        let under = directory + "/plain/under"
        try harness.expect(-ENOTDIR) { harness.engine.open(under, flags: O_RDONLY, mode: 0, $0) }
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNameThatIsTooLongIsENAMETOOLONG(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let path = try harness.outside.directory() + "/" + String(repeating: "n", count: 256)
        try harness.expect(-ENAMETOOLONG) {
          harness.engine.open(path, flags: O_RDWR | O_CREAT, mode: 0o600, $0)
        }
        try harness.expect(-ENAMETOOLONG) { harness.engine.unlink(path, $0) }
        try harness.expect(-ENAMETOOLONG) { harness.engine.rename(path, to: path + "2", $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func renamingReplacesTheTargetAndNeedsItsSource(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        let (from, to) = (directory + "/from", directory + "/to")
        for (path, text) in [(from, "new"), (to, "old content")] {
          let file = try harness.open(path, O_RDWR | O_CREAT)
          _ = try harness.write(file, Array(text.utf8), at: 0)
          try harness.closeFile(file)
        }
        try harness.expect(0) { harness.engine.rename(from, to: to, $0) }
        #expect(harness.outside.content(of: to) == Array("new".utf8))
        #expect(harness.outside.content(of: from) == nil)
        try harness.expect(-ENOENT) { harness.engine.rename(from, to: to, $0) }
        try harness.expect(-ENOENT) { harness.engine.rename(to, to: directory + "/no/where", $0) }
        #expect(harness.outside.content(of: to) == Array("new".utf8))
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anOffsetBelowZeroIsEINVAL(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let file = try harness.open(harness.outside.directory() + "/offset", O_RDWR | O_CREAT)
        try harness.expect(-EINVAL) { harness.engine.truncate(file, length: -1, $0) }
        try harness.expect(-EINVAL) { harness.engine.allocate(file, offset: 0, length: 0, $0) }
        try harness.expect(-EINVAL) { harness.engine.allocate(file, offset: -1, length: 1, $0) }
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aFileWithoutWritingRightsIsNotWritten(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let path = try harness.outside.directory() + "/readable"
        try harness.closeFile(try harness.open(path, O_RDWR | O_CREAT))
        let file = try harness.open(path, O_RDONLY)
        #expect(try harness.write(file, [1], at: 0) == -EBADF)
        try harness.expect(-EINVAL) { harness.engine.truncate(file, length: 9, $0) }
        try harness.expect(-EBADF) { harness.engine.allocate(file, offset: 0, length: 9, $0) }
        #expect(harness.outside.content(of: path) == [])
        try harness.closeFile(file)
      }
    }

    // MARK: Registered memory

    private static let registered: EngineOptions = {
      var options = Harness.options
      options.registeredBuffers = 3
      options.registeredBufferSize = 8192
      return options
    }()

    @Test(.tags(.failure), arguments: completeEngines)
    func registeredBuffersAreAsManyAsTheLimitAndOneMoreIsNilAndCounted(
      _ kind: EngineKind
    ) throws {
      try withHarness(kind, Self.registered) { harness in
        var held: [HeldFileBuffer] = []
        for taken in 1...3 {
          guard let buffer = harness.engine.registeredBuffer() else {
            throw HarnessFailure("no registered buffer")
          }
          #expect(buffer.capacity == 8192)
          #expect(UInt(bitPattern: buffer.base) % 4096 == 0)
          held.append(HeldFileBuffer(buffer))
          #expect(harness.engine.counters.registeredBuffersInUse == taken)
          #expect(harness.engine.counters.registeredBufferRefusals == 0)
        }
        #expect(Set(held.map { UInt(bitPattern: $0.buffer.base) }).count == 3)
        let fourth = harness.engine.registeredBuffer()
        let refused = fourth == nil
        #expect(refused)
        #expect(harness.engine.counters.registeredBufferRefusals == 1)
        held.removeLast()
        #expect(harness.engine.counters.registeredBuffersInUse == 2)
        let again = harness.engine.registeredBuffer()
        let found = again != nil
        #expect(found)
        _ = consume again
        held = []
        #expect(harness.engine.counters.registeredBuffersInUse == 0)
      }
    }

    @Test(arguments: completeEngines, [true, false])
    func registeredMemoryIsWrittenAndRead(_ kind: EngineKind, _ isRegistered: Bool) throws {
      var options = Self.registered
      if !isRegistered { options.features.remove(.registeredBuffers) }
      try withHarness(kind, options) { harness in
        let file = try harness.open(harness.outside.directory() + "/fixed", O_RDWR | O_CREAT)
        for round in 0..<10 {
          let bytes = pattern(8192).map { $0 &+ UInt8(round) }
          guard let buffer = harness.engine.registeredBuffer() else {
            throw HarnessFailure("no registered buffer")
          }
          bytes.withUnsafeBytes { buffer.base.copyMemory(from: $0.baseAddress!, byteCount: 8192) }
          let write = harness.token()
          harness.engine.write(
            file, from: buffer, count: 8192, offset: 4096, durable: round == 0, write)
          try harness.expect(write, 8192)
          _ = try harness.fileBuffer(write)
          guard let room = harness.engine.registeredBuffer() else {
            throw HarnessFailure("no registered buffer")
          }
          memset(room.base, 0, 8192)
          let read = harness.token()
          harness.engine.read(file, into: room, count: 8000, offset: 4100, read)
          try harness.expect(read, 8000)
          #expect(try harness.fileBuffer(read).bytes(8000) == Array(bytes[4..<8004]))
        }
        #expect(harness.engine.counters.registeredBuffersInUse == 0)
        try harness.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aFailedWriteGivesARegisteredBufferBack(_ kind: EngineKind) throws {
      try withHarness(kind, Self.registered) { harness in
        guard let buffer = harness.engine.registeredBuffer() else {
          throw HarnessFailure("no registered buffer")
        }
        let write = harness.token()
        harness.engine.write(
          Descriptor(rawValue: 60_000), from: buffer, count: 100, offset: 0, durable: false, write)
        try harness.expect(write, -EBADF)
        #expect(harness.engine.counters.registeredBuffersInUse == 1)
        _ = try harness.fileBuffer(write)
        #expect(harness.engine.counters.registeredBuffersInUse == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anEngineWithoutRegisteredMemoryHasNone(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let buffer = harness.engine.registeredBuffer()
        let refused = buffer == nil
        #expect(refused && harness.engine.counters.registeredBufferRefusals == 1)
      }
    }

    // MARK: Traps

    @Test(.tags(.failure), arguments: completeEngines)
    func redeemingAStatusTwiceTraps(_ kind: EngineKind) async {
      var found: Completion?
      await traps(
        kind,
        before: { harness in
          harness.watch = { if $0.hasStatus { found = $0 } }
          let directory = try harness.outside.directory()
          try harness.expect(0) { harness.engine.status(path: directory, $0) }
        }
      ) { harness in
        if let found { _ = harness.engine.takeStatus(found) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func redeemingAListOfBuffersTwiceTraps(_ kind: EngineKind) async {
      var found: Completion?
      await traps(
        kind,
        before: { harness in
          harness.watch = { if $0.hasFileBuffers { found = $0 } }
          let read = harness.token()
          harness.engine.read(Descriptor(rawValue: 60_000), into: blank([8]), offset: 0, read)
          try harness.end(read)
        }
      ) { harness in
        if let found { _ = harness.engine.takeFileBuffers(found) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aListOfMoreBuffersThanItsLimitTraps(_ kind: EngineKind) async {
      await traps(kind) { _ in _ = blank(Array(repeating: 1, count: FileBufferList.limit + 1)) }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func moreBytesThanABufferHasTrap(_ kind: EngineKind) async {
      await traps(kind) { harness in
        harness.engine.read(
          Descriptor(rawValue: 0), into: FileBuffer(capacity: 8), count: 9, offset: 0,
          harness.token())
      }
    }
  }
}

/// Buffers of these sizes with the pattern going through all of them.
private func parts(_ sizes: [Int]) -> FileBufferList {
  let bytes = pattern(sizes.reduce(0, +))
  var list = FileBufferList()
  var at = 0
  for size in sizes {
    let buffer = FileBuffer(capacity: size)
    bytes[at..<(at + size)].withUnsafeBytes {
      buffer.base.copyMemory(from: $0.baseAddress!, byteCount: size)
    }
    list.append(buffer, bytes: size)
    at += size
  }
  return list
}

private func blank(_ sizes: [Int]) -> FileBufferList {
  var list = FileBufferList()
  for size in sizes { list.append(FileBuffer(capacity: size), bytes: size) }
  return list
}
