// File operations: what they do, and each error that a caller must be able to tell from another.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Files {
    @Test(arguments: engines)
    func aFileIsWrittenReadRenamedCutAndRemoved(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        let path = directory + "/segment"
        let file = try open(harness, path, O_RDWR | O_CREAT | O_EXCL)
        try ends(harness, 0) { harness.engine.allocate(file, offset: 0, length: 65_536, $0) }
        #expect(harness.outside.content(of: path)?.count == 65_536)
        #expect(try write(harness, file, pattern(10_000), at: 4096, durable: true) == 10_000)
        try ends(harness, 0) { harness.engine.synchronize(file, dataOnly: true, $0) }
        try ends(harness, 0) { harness.engine.synchronize(file, dataOnly: false, $0) }
        #expect(try read(harness, file, 10_000, at: 4096) == pattern(10_000))
        try ends(harness, 0) { harness.engine.truncate(file, length: 5000, $0) }
        #expect(harness.outside.content(of: path)?.count == 5000)
        #expect(try read(harness, file, 10_000, at: 4096) == Array(pattern(10_000)[..<904]))
        #expect(try read(harness, file, 10, at: 5000) == [])
        let closed = try ended(harness) { harness.engine.closeFile(file, $0) }
        #expect(closed == 0)
        try ends(harness, 0) { harness.engine.rename(path, to: path + "2", $0) }
        #expect(
          harness.outside.content(of: path)?.count == nil
            && harness.outside.content(of: path + "2")?.count == 5000)
        try ends(harness, 0) { harness.engine.unlink(path + "2", $0) }
        #expect(harness.outside.content(of: path + "2")?.count == nil)
      }
    }

    @Test(arguments: engines)
    func spaceIsReservedBeyondTheEndAndGoesWithACut(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let path = try harness.outside.directory() + "/reserved"
        let file = try open(harness, path, O_RDWR | O_CREAT | O_EXCL)
        try ends(harness, 0) {
          harness.engine.allocate(file, offset: 0, length: 65_536, keepsSize: true, $0)
        }
        #expect(harness.outside.content(of: path)?.count == 0)
        #expect(try status(harness, file).blocks * 512 >= 65_536)
        #expect(try write(harness, file, pattern(4096), at: 0, durable: true) == 4096)
        #expect(harness.outside.content(of: path)?.count == 4096)
        #expect(try status(harness, file).blocks * 512 >= 65_536)
        try ends(harness, 0) { harness.engine.truncate(file, length: 4096, $0) }
        #expect(try status(harness, file).blocks * 512 < 65_536)
        try ends(harness, 0) { harness.engine.closeFile(file, $0) }
      }
    }

    private func status(_ harness: Harness, _ file: Descriptor) throws -> FileStatus {
      let token = harness.token()
      harness.engine.status(file, token)
      #expect(try harness.end(token) == 0)
      return try #require(harness[token].status)
    }

    @Test(.tags(.failure), arguments: engines)
    func whatIsNotThereIsENOENT(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let none = "/tmp/there/is/no/such/directory"
        try ends(harness, -ENOENT) { harness.engine.open(none, flags: O_RDONLY, mode: 0, $0) }
        try ends(harness, -ENOENT) { harness.engine.rename(none, to: none + "2", $0) }
        try ends(harness, -ENOENT) { harness.engine.unlink(none, $0) }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func aDescriptorThatIsNotOpenIsEBADFAndTheBufferComesBack(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let file = Descriptor(rawValue: 60_000)
        #expect(try write(harness, file, [1, 2, 3], at: 0, durable: false) == -EBADF)
        let read = harness.token()
        harness.engine.read(file, into: FileBuffer(capacity: 16), count: 16, offset: 0, read)
        #expect(try harness.end(read) == -EBADF)
        #expect(try harness.fileBuffer(read).buffer.capacity == 16)
        try ends(harness, -EBADF) { harness.engine.synchronize(file, dataOnly: true, $0) }
        try ends(harness, -EBADF) { harness.engine.truncate(file, length: 0, $0) }
        try ends(harness, -EBADF) { harness.engine.allocate(file, offset: 0, length: 1, $0) }
        try ends(harness, -EBADF) { harness.engine.closeFile(file, $0) }
      }
    }

    @Test(.tags(.failure), arguments: kernelEngines)
    func aFullDeviceIsENOSPCAndTheBytesComeBackUnchanged(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let file = try open(harness, "/dev/full", O_WRONLY)
        let write = harness.token()
        let buffer = FileBuffer(capacity: 4096)
        buffer.base.storeBytes(of: 0x5A, as: UInt8.self)
        let base = buffer.base
        harness.engine.write(
          file, from: buffer, count: 4096, offset: 0, durable: false, write)
        #expect(try harness.end(write) == -ENOSPC)
        let back = try harness.fileBuffer(write)
        #expect(back.buffer.base == base && back.buffer.capacity == 4096)
        #expect(back.buffer.base.load(as: UInt8.self) == 0x5A)
        try ended(harness) { harness.engine.closeFile(file, $0) }
      }
    }

    @Test(.tags(.failure), arguments: kernelEngines)
    func aWriteToAReadOnlyDescriptorIsEBADF(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let file = try open(harness, "/dev/null", O_RDONLY)
        #expect(try write(harness, file, [1], at: 0, durable: true) == -EBADF)
        try ended(harness) { harness.engine.closeFile(file, $0) }
      }
    }

    @Test(.tags(.failure), arguments: engines)
    func openRefusesAnExistingFileWhenAskedTo(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        let path = directory + "/once"
        let file = try open(harness, path, O_RDWR | O_CREAT | O_EXCL)
        if kind != .simulated { #expect(fcntl(file.rawValue, F_GETFD) & FD_CLOEXEC != 0) }
        let again = try ended(harness) {
          harness.engine.open(path, flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o600, $0)
        }
        #expect(again == -EEXIST)
        try ended(harness) { harness.engine.closeFile(file, $0) }
      }
    }

    @Test(arguments: engines)
    func asManyOperationsAsTheLimitAreInFlightAtOnce(_ kind: EngineKind) throws {
      var options = Harness.options
      options.fileOperations = 8
      try withHarness(kind, options) { harness in
        let directory = try harness.outside.directory()
        let file = try open(harness, directory + "/many", O_RDWR | O_CREAT)
        for round in 0..<20 {
          var tokens: [Token] = []
          for i in 0..<8 {
            let buffer = FileBuffer(capacity: 4096)
            memset(buffer.base, Int32(round + i), 4096)
            tokens.append(harness.token())
            harness.engine.write(
              file, from: buffer, count: 4096, offset: Int64(i) * 4096, durable: false,
              tokens[i])
          }
          for token in tokens {
            #expect(try harness.end(token) == 4096)
            _ = try harness.fileBuffer(token)
          }
          let back = try read(harness, file, 8 * 4096, at: 0)
          for i in 0..<8 { #expect(back[i * 4096] == UInt8(round + i)) }
        }
        try ended(harness) { harness.engine.closeFile(file, $0) }
      }
    }

    @Test(arguments: engines)
    func socketsAndFilesGoOnSideBySide(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let directory = try harness.outside.directory()
        let file = try open(harness, directory + "/log", O_RDWR | O_CREAT)
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        for round in 1...20 {
          let write = harness.token()
          let buffer = FileBuffer(capacity: 1 << 16)
          memset(buffer.base, Int32(round), 1 << 16)
          harness.engine.write(
            file, from: buffer, count: 1 << 16, offset: 0, durable: true, write)
          peer.send("still here")
          try harness.turn(until: { harness[receive].bytes.count == 10 * round })
          #expect(try harness.end(write) == 1 << 16)
          _ = try harness.fileBuffer(write)
        }
        try ended(harness) { harness.engine.closeFile(file, $0) }
        try harness.close(socket, joining: receive)
      }
    }
  }
}

@discardableResult
private func ended(_ harness: Harness, _ start: (Token) -> Void) throws -> Int32 {
  let token = harness.token()
  start(token)
  return try harness.end(token)
}

/// Starts an operation and demands its result.
private func ends(
  _ harness: Harness, _ expected: Int32, at location: SourceLocation = #_sourceLocation,
  _ start: (Token) -> Void
) throws {
  let result = try ended(harness, start)
  #expect(result == expected, sourceLocation: location)
}

private func open(_ harness: Harness, _ path: String, _ flags: Int32) throws -> Descriptor {
  let file = try ended(harness) { harness.engine.open(path, flags: flags, mode: 0o600, $0) }
  try #require(file >= 0)
  return Descriptor(rawValue: file)
}

private func write(
  _ harness: Harness, _ file: Descriptor, _ bytes: [UInt8], at offset: Int64, durable: Bool
) throws -> Int32 {
  let token = harness.token()
  let buffer = FileBuffer(capacity: max(bytes.count, 1))
  bytes.withUnsafeBytes { buffer.base.copyMemory(from: $0.baseAddress!, byteCount: bytes.count) }
  harness.engine.write(
    file, from: buffer, count: bytes.count, offset: offset, durable: durable, token)
  let result = try harness.end(token)
  _ = try harness.fileBuffer(token)
  return result
}

private func read(
  _ harness: Harness, _ file: Descriptor, _ count: Int, at offset: Int64
) throws -> [UInt8] {
  let token = harness.token()
  harness.engine.read(
    file, into: FileBuffer(capacity: count), count: count, offset: offset, token)
  let result = try harness.end(token)
  let buffer = try harness.fileBuffer(token)
  try #require(result >= 0)
  return Array(UnsafeRawBufferPointer(start: buffer.buffer.base, count: Int(result)))
}
