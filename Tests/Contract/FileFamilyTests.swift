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
      try onStage(kind) { stage in
        let path = try stage.outside.directory() + "/known"
        let file = try stage.open(path, O_RDWR | O_CREAT)
        #expect(try stage.write(file, pattern(5000), at: 0) == 5000)
        let (open, named) = (stage.token(), stage.token())
        stage.engine.status(file, open)
        stage.engine.status(path: path, named)
        try stage.expect(open, 0)
        try stage.expect(named, 0)
        let status = try #require(stage[open].status)
        #expect(stage[named].status == status)
        #expect(status.size == 5000 && status.links == 1 && status.inode != 0)
        #expect(UInt32(status.mode) & S_IFMT == S_IFREG && status.mode & 0o777 == 0o600)
        #expect(status.blocks * 512 >= 5000)
        let wall = Int64(time(nil)) * 1_000_000_000
        if kind != .simulated { #expect(abs(status.modifiedNanoseconds - wall) < 100_000_000_000) }
        try stage.ending { stage.engine.truncate(file, length: 1, $0) }
        let cut = stage.token()
        stage.engine.status(file, cut)
        try stage.end(cut)
        #expect(stage[cut].status?.size == 1)
        try stage.closeFile(file)
      }
    }

    @Test(arguments: completeEngines)
    func aDirectoryHasAStatus(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let status = stage.token()
        stage.engine.status(path: try stage.outside.directory(), status)
        try stage.expect(status, 0)
        let mode = try #require(stage[status].status).mode
        #expect(UInt32(mode) & S_IFMT == S_IFDIR)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func whatIsNotThereHasNoStatus(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let directory = try stage.outside.directory()
        let missing = stage.token()
        stage.engine.status(path: directory + "/none", missing)
        try stage.expect(missing, -ENOENT)
        #expect(stage[missing].status == nil)
        let closed = stage.token()
        stage.engine.status(Descriptor(rawValue: 60_000), closed)
        try stage.expect(closed, -EBADF)
        #expect(stage[closed].status == nil)
      }
    }

    @Test(arguments: completeEngines, [1, 2, FileBufferList.limit])
    func severalBuffersAreWrittenAndReadInOrder(_ kind: EngineKind, _ count: Int) throws {
      try onStage(kind) { stage in
        let path = try stage.outside.directory() + "/parts"
        let file = try stage.open(path, O_RDWR | O_CREAT)
        let sizes = (0..<count).map { 100 + 37 * $0 }
        let total = sizes.reduce(0, +)
        let write = stage.token()
        stage.engine.write(file, from: parts(sizes), offset: 10, durable: count == 2, write)
        try stage.expect(write, Int32(total))
        let back = try stage.fileBuffers(write)
        #expect(back.list.count == count && back.list.byteCount == total)
        let read = stage.token()
        stage.engine.read(file, into: blank(sizes), offset: 10, read)
        try stage.expect(read, Int32(total))
        let got = try stage.fileBuffers(read)
        #expect((0..<count).flatMap { got.bytes($0) } == pattern(total))
        #expect(stage.outside.content(of: path) == Array(repeating: 0, count: 10) + pattern(total))
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [0, 1, 149, 150, 151, 300])
    func aVectoredReadAtTheEndIsShort(_ kind: EngineKind, _ there: Int) throws {
      try onStage(kind) { stage in
        let file = try stage.open(stage.outside.directory() + "/end", O_RDWR | O_CREAT)
        if there > 0 { #expect(try stage.write(file, pattern(there), at: 0) == Int32(there)) }
        let read = stage.token()
        stage.engine.read(file, into: blank([50, 50, 50]), offset: 0, read)
        let count = min(there, 150)
        try stage.expect(read, Int32(count))
        let got = try stage.fileBuffers(read)
        #expect(got.list.count == 3)
        #expect(
          Array((0..<3).flatMap { got.bytes($0) }[..<count]) == Array(pattern(there)[..<count]))
        stage.showedFailure = true
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aFailedVectoredOperationGivesItsBuffersBack(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let none = Descriptor(rawValue: 60_000)
        let (read, write) = (stage.token(), stage.token())
        stage.engine.read(none, into: blank([10, 20]), offset: 0, read)
        stage.engine.write(none, from: parts([10, 20]), offset: 0, durable: true, write)
        for token in [read, write] {
          try stage.expect(token, -EBADF)
          let back = try stage.fileBuffers(token)
          #expect(back.list.count == 2 && back.list.byteCount == 30)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func aVectoredWriteToAFullDeviceIsENOSPC(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let file = try stage.open("/dev/full", O_WRONLY)
        let write = stage.token()
        stage.engine.write(file, from: parts([512, 512]), offset: 0, durable: false, write)
        try stage.expect(write, -ENOSPC)
        let back = try stage.fileBuffers(write)
        #expect(back.bytes(0) + back.bytes(1) == pattern(1024))
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDirectoryIsNoFile(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let directory = try stage.outside.directory()
        #expect(
          try stage.ending { stage.engine.open(directory, flags: O_WRONLY, mode: 0, $0) } == -EISDIR
        )
        try stage.expect(-EISDIR) { stage.engine.unlink(directory, $0) }
        let file = try stage.open(directory + "/plain", O_RDWR | O_CREAT)
        let under = directory + "/plain/under"
        try stage.expect(-ENOTDIR) { stage.engine.open(under, flags: O_RDONLY, mode: 0, $0) }
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNameThatIsTooLongIsENAMETOOLONG(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let path = try stage.outside.directory() + "/" + String(repeating: "n", count: 256)
        try stage.expect(-ENAMETOOLONG) {
          stage.engine.open(path, flags: O_RDWR | O_CREAT, mode: 0o600, $0)
        }
        try stage.expect(-ENAMETOOLONG) { stage.engine.unlink(path, $0) }
        try stage.expect(-ENAMETOOLONG) { stage.engine.rename(path, to: path + "2", $0) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func renamingReplacesTheTargetAndNeedsItsSource(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let directory = try stage.outside.directory()
        let (from, to) = (directory + "/from", directory + "/to")
        for (path, text) in [(from, "new"), (to, "old content")] {
          let file = try stage.open(path, O_RDWR | O_CREAT)
          _ = try stage.write(file, Array(text.utf8), at: 0)
          try stage.closeFile(file)
        }
        try stage.expect(0) { stage.engine.rename(from, to: to, $0) }
        #expect(stage.outside.content(of: to) == Array("new".utf8))
        #expect(stage.outside.content(of: from) == nil)
        try stage.expect(-ENOENT) { stage.engine.rename(from, to: to, $0) }
        try stage.expect(-ENOENT) { stage.engine.rename(to, to: directory + "/no/where", $0) }
        #expect(stage.outside.content(of: to) == Array("new".utf8))
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anOffsetBelowZeroIsEINVAL(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let file = try stage.open(stage.outside.directory() + "/offset", O_RDWR | O_CREAT)
        try stage.expect(-EINVAL) { stage.engine.truncate(file, length: -1, $0) }
        try stage.expect(-EINVAL) { stage.engine.allocate(file, offset: 0, length: 0, $0) }
        try stage.expect(-EINVAL) { stage.engine.allocate(file, offset: -1, length: 1, $0) }
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aFileWithoutWritingRightsIsNotWritten(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let path = try stage.outside.directory() + "/readable"
        try stage.closeFile(try stage.open(path, O_RDWR | O_CREAT))
        let file = try stage.open(path, O_RDONLY)
        #expect(try stage.write(file, [1], at: 0) == -EBADF)
        try stage.expect(-EINVAL) { stage.engine.truncate(file, length: 9, $0) }
        try stage.expect(-EBADF) { stage.engine.allocate(file, offset: 0, length: 9, $0) }
        #expect(stage.outside.content(of: path) == [])
        try stage.closeFile(file)
      }
    }

    // MARK: Registered memory

    private static let registered: EngineOptions = {
      var options = Stage.options
      options.registeredBuffers = 3
      options.registeredBufferSize = 8192
      return options
    }()

    @Test(.tags(.failure), arguments: completeEngines)
    func registeredBuffersAreAsManyAsTheLimitAndOneMoreIsNilAndCounted(
      _ kind: EngineKind
    ) throws {
      try onStage(kind, Self.registered) { stage in
        var held: [HeldFileBuffer] = []
        for taken in 1...3 {
          guard let buffer = stage.engine.registeredBuffer() else {
            throw StageFailure("no registered buffer")
          }
          #expect(buffer.capacity == 8192)
          #expect(UInt(bitPattern: buffer.base) % 4096 == 0)
          held.append(HeldFileBuffer(buffer))
          #expect(stage.engine.counters.registeredBuffersInUse == taken)
          #expect(stage.engine.counters.registeredBufferRefusals == 0)
        }
        #expect(Set(held.map { UInt(bitPattern: $0.buffer.base) }).count == 3)
        let fourth = stage.engine.registeredBuffer()
        let refused = fourth == nil
        #expect(refused)
        #expect(stage.engine.counters.registeredBufferRefusals == 1)
        held.removeLast()
        #expect(stage.engine.counters.registeredBuffersInUse == 2)
        let again = stage.engine.registeredBuffer()
        let found = again != nil
        #expect(found)
        _ = consume again
        held = []
        #expect(stage.engine.counters.registeredBuffersInUse == 0)
      }
    }

    @Test(arguments: completeEngines, [true, false])
    func registeredMemoryIsWrittenAndRead(_ kind: EngineKind, _ isRegistered: Bool) throws {
      var options = Self.registered
      if !isRegistered { options.features.remove(.registeredBuffers) }
      try onStage(kind, options) { stage in
        let file = try stage.open(stage.outside.directory() + "/fixed", O_RDWR | O_CREAT)
        for round in 0..<10 {
          let bytes = pattern(8192).map { $0 &+ UInt8(round) }
          guard let buffer = stage.engine.registeredBuffer() else {
            throw StageFailure("no registered buffer")
          }
          bytes.withUnsafeBytes { buffer.base.copyMemory(from: $0.baseAddress!, byteCount: 8192) }
          let write = stage.token()
          stage.engine.write(
            file, from: buffer, count: 8192, offset: 4096, durable: round == 0, write)
          try stage.expect(write, 8192)
          _ = try stage.fileBuffer(write)
          guard let room = stage.engine.registeredBuffer() else {
            throw StageFailure("no registered buffer")
          }
          memset(room.base, 0, 8192)
          let read = stage.token()
          stage.engine.read(file, into: room, count: 8000, offset: 4100, read)
          try stage.expect(read, 8000)
          #expect(try stage.fileBuffer(read).bytes(8000) == Array(bytes[4..<8004]))
        }
        #expect(stage.engine.counters.registeredBuffersInUse == 0)
        try stage.closeFile(file)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aFailedWriteGivesARegisteredBufferBack(_ kind: EngineKind) throws {
      try onStage(kind, Self.registered) { stage in
        guard let buffer = stage.engine.registeredBuffer() else {
          throw StageFailure("no registered buffer")
        }
        let write = stage.token()
        stage.engine.write(
          Descriptor(rawValue: 60_000), from: buffer, count: 100, offset: 0, durable: false, write)
        try stage.expect(write, -EBADF)
        #expect(stage.engine.counters.registeredBuffersInUse == 1)
        _ = try stage.fileBuffer(write)
        #expect(stage.engine.counters.registeredBuffersInUse == 0)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anEngineWithoutRegisteredMemoryHasNone(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let buffer = stage.engine.registeredBuffer()
        let refused = buffer == nil
        #expect(refused && stage.engine.counters.registeredBufferRefusals == 1)
      }
    }

    // MARK: Traps

    @Test(.tags(.failure), arguments: completeEngines)
    func redeemingAStatusTwiceTraps(_ kind: EngineKind) async {
      var found: Completion?
      await traps(
        kind,
        before: { stage in
          stage.watch = { if $0.hasStatus { found = $0 } }
          let directory = try stage.outside.directory()
          try stage.expect(0) { stage.engine.status(path: directory, $0) }
        }
      ) { stage in
        if let found { _ = stage.engine.takeStatus(found) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func redeemingAListOfBuffersTwiceTraps(_ kind: EngineKind) async {
      var found: Completion?
      await traps(
        kind,
        before: { stage in
          stage.watch = { if $0.hasFileBuffers { found = $0 } }
          let read = stage.token()
          stage.engine.read(Descriptor(rawValue: 60_000), into: blank([8]), offset: 0, read)
          try stage.end(read)
        }
      ) { stage in
        if let found { _ = stage.engine.takeFileBuffers(found) }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aListOfMoreBuffersThanItsLimitTraps(_ kind: EngineKind) async {
      await traps(kind) { _ in _ = blank(Array(repeating: 1, count: FileBufferList.limit + 1)) }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func moreBytesThanABufferHasTrap(_ kind: EngineKind) async {
      await traps(kind) { stage in
        stage.engine.read(
          Descriptor(rawValue: 0), into: FileBuffer(capacity: 8), count: 9, offset: 0,
          stage.token())
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
