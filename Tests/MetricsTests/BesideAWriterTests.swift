// A reader beside a writer: nothing is torn, counters only grow, and what is published is of one
// moment.

import Glibc
import Synchronization
import Testing

@testable import Metrics

@Suite struct BesideAWriterTests {
  private final class Flag: Sendable {
    let isSet = Atomic<Bool>(false)
  }

  @Test func aReaderSeesWholeFiguresThatGrow() async throws {
    let (board, memory) = try makeBoard(blocks: 1)
    let block = board.block(0)
    let counter = board.layout.firstCells[0]
    let published = board.layout.firstCells[1]
    let stop = Flag()
    defer { stop.isSet.store(true, ordering: .relaxed) }
    let writer = Task.detached {
      // A block does not keep its memory.
      defer { withExtendedLifetime(memory) {} }
      // Each half of the word says the other: a torn one would show.
      var count = 0
      while !stop.isSet.load(ordering: .relaxed) {
        count += 1
        block[counter] = count << 32 | count
        block.beginPublication()
        block[published] = count
        block[published + 1] = -count
        block.endPublication()
      }
      return count
    }
    let reader = try MetricReader(memory)
    var last = (counter: UInt64(0), published: UInt64(0))
    var whole = 0
    while last.counter & 0xFFFF_FFFF < 100_000 || whole < 1000 {
      let reading = reader.read()
      let value = try #require(reading.samples[0].values[0])
      #expect(value >> 32 == value & 0xFFFF_FFFF && value >= last.counter)
      last.counter = value
      guard let one = reading.samples[1].values[0] else { continue }
      let other = try #require(reading.samples[2].values[0])
      #expect(one &+ other == 0 && one >= last.published)
      last.published = one
      whole += 1
    }
    stop.isSet.store(true, ordering: .relaxed)
    #expect(await writer.value >= 100_000)
  }
}
