// The sealed file in memory between two processes: what it takes, and that nobody can change its size.

import CLinux
import Glibc
import Testing

@testable import Metrics

@Suite struct SharedMemoryTests {
  @Test func theOtherSideReadsWhatIsCounted() throws {
    let file = try #require(MetricFile())
    #expect(file.reading() == nil)
    let layout = MetricLayout(sampleGroups, blocks: 1)
    let memory = try MetricMemory.shared(dup(file.descriptor), layout.size)
    // Sized and sealed, and not a word written: that is no fault, it is too early.
    #expect(file.reading() == nil)
    let board = MetricBoard(layout, in: memory)
    board.block(0)[layout.firstCells[0]] += 6
    #expect(file.reading()?.sum("requests") == 6)
    board.block(0)[layout.firstCells[0]] += 1
    #expect(file.reading()?.samples.first?.values == [7])
  }

  @Test func nobodyChangesItsSizeOrItsBytes() throws {
    let file = try #require(MetricFile())
    let layout = MetricLayout(sampleGroups, blocks: 1)
    let memory = try MetricMemory.shared(dup(file.descriptor), layout.size)
    #expect(ftruncate(file.descriptor, 0) != 0)
    #expect(ftruncate(file.descriptor, layout.size + 1) != 0)
    #expect(pwrite(file.descriptor, "x", 1, 0) != 1)
    var facts = stat()
    #expect(fstat(file.descriptor, &facts) == 0 && facts.st_mode & 0o777 == 0o600)
    #expect(memory.count == layout.size)
  }

  @Test func onlyAnUnsealedFileInMemoryIsTaken() throws {
    let path = "/tmp/millrace-metrics-test.\(getpid())"
    let plain = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    defer {
      close(plain)
      unlink(path)
    }
    #expect(write(plain, "kept", 4) == 4)
    #expect(throws: MetricMemoryFailure.self) { try MetricMemory.shared(plain, 4096) }
    var facts = stat()
    #expect(fstat(plain, &facts) == 0 && facts.st_size == 4)
    for wrong: Int32 in [-1, 0, 1, 2, 1_000_000] {
      #expect(throws: MetricMemoryFailure.self) { try MetricMemory.shared(wrong, 4096) }
    }
    let file = try #require(MetricFile())
    let memory = try MetricMemory.shared(dup(file.descriptor), 4096)
    // A second one would write over the first.
    let again = dup(file.descriptor)
    defer { close(again) }
    #expect(throws: MetricMemoryFailure.self) { try MetricMemory.shared(again, 4096) }
    #expect(memory.count == 4096)
    // And a file of zeros is nothing to read.
    #expect(file.reading() == nil)
  }
}
