// What a power cut can leave of the last batch, in every combination of its blocks, against what
// only an edit can leave.

import MillraceEngine
import Testing

@testable import AuditLog

private typealias Files = [(name: String, content: [UInt8])]

/// A log whose last batch has several blocks.
private struct TornLog {
  /// Before and after the last batch was written.
  var before: Files
  var after: Files
  /// The file with the last batch, by its place in `after`.
  var index: Int
  /// Offsets of the last batch's blocks.
  var blocks: [Int]
  /// Offsets of the batch before it, in the same segment; empty if it opens the segment.
  var earlier: [Int]

  /// - Parameters:
  ///   - commits: before the last batch.
  ///   - opensSegment: the last batch is a segment's first one; then `commits` is at least that.
  init(commits: Int, opensSegment: Bool) {
    let world = World(
      World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 3))
    world.settle()
    var done = 0
    while true {
      let rotations = world.counters.rotations
      let before = world.disk.snapshot()
      for number in 0..<5 {
        world.exchange(path: String(repeating: "abcde"[number], count: 2_600))
      }
      world.settle()
      done += 1
      let isFirst = done == 1 || world.counters.rotations > rotations
      if done <= commits || isFirst != opensSegment { continue }
      self.before = before
      after = world.disk.snapshot()
      // Rotation cuts the segment before: the batch is in the last one that holds anything.
      index = after.lastIndex { $0.content.contains { $0 != 0x0A } }!
      let content = after[index].content
      let end = content.lastIndex { $0 != 0x0A }! + 1
      let old = before.first { [name = after[index].name] in $0.name == name }?.content ?? []
      // Behind what was there before: a batch begins at a block.
      let begin = old.lastIndex { $0 != 0x0A }.map { ($0 + 4_096) / 4_096 * 4_096 } ?? 0
      blocks = Array(stride(from: begin, to: end, by: 4_096))
      earlier = opensSegment ? [] : Array(stride(from: 0, to: blocks[0], by: 4_096))
      return
    }
  }

  /// The log with parts of the last batch missing.
  func missing(_ ranges: [Range<Int>], filling: UInt8 = 0x0A) -> Files {
    var files = after
    for range in ranges {
      for place in range where place < files[index].content.count {
        files[index].content[place] = filling
      }
    }
    return files
  }

  func missing(blocks which: [Int], filling: UInt8 = 0x0A) -> Files {
    missing(which.map { $0..<$0 + 4_096 }, filling: filling)
  }
}

extension String {
  fileprivate subscript(_ place: Int) -> String {
    String(self[index(startIndex, offsetBy: place)])
  }
}

private let shapes = [(0, true), (2, false), (3, true)]

@Suite struct TornTailTests {
  @Test(arguments: shapes)
  func everySubsetOfTheLastBatchsBlocksIsAnUnsealedTail(commits: Int, opensSegment: Bool) throws {
    let log = TornLog(commits: commits, opensSegment: opensSegment)
    let count = log.blocks.count
    #expect(count >= 3)
    for filling: UInt8 in [0x0A, 0] {
      for subset in 0..<(1 << count) {
        let which = (0..<count).filter { subset >> $0 & 1 == 1 }.map { log.blocks[$0] }
        let verdict = try MemoryFiles(log.missing(blocks: which, filling: filling)).verify().verdict
        let isWhole = which.isEmpty || which.count == count && filling == 0x0A
        #expect(verdict == (isWhole ? .intact : .unsealedTail), "missing \(which)")
      }
    }
  }

  @Test(arguments: shapes)
  func anySectorsOfTheLastBatchMayBeMissing(commits: Int, opensSegment: Bool) throws {
    let log = TornLog(commits: commits, opensSegment: opensSegment)
    var random = SplitMix(state: 11)
    let start = log.blocks[0]
    for round in 0..<150 {
      let share = [5, 50, 95][round % 3]
      let which = (0..<log.blocks.count * 8).filter { _ in random.chance(share) }
      let files = log.missing(which.map { start + $0 * 512..<start + ($0 + 1) * 512 })
      #expect(try MemoryFiles(files).verify().verdict <= .unsealedTail, "round \(round): \(which)")
    }
  }

  @Test(arguments: shapes)
  func aCopyThatWasCutShortAnywhereInTheLastBatchIsAnUnsealedTail(
    commits: Int, opensSegment: Bool
  ) throws {
    let log = TornLog(commits: commits, opensSegment: opensSegment)
    let content = log.after[log.index].content
    let end = content.lastIndex { $0 != 0x0A }!
    var random = SplitMix(state: 12)
    for _ in 0..<100 {
      let cut = Int.random(in: log.blocks[0] + 1...end, using: &random)
      var files = log.after
      files[log.index].content = Array(content[..<cut])
      #expect(try MemoryFiles(files).verify().verdict == .unsealedTail, "cut at \(cut)")
    }
  }

  @Test func anEditBeforeTheLastBatchIsBrokenHoweverTheLastOneIsTorn() throws {
    let log = TornLog(commits: 2, opensSegment: false)
    var random = SplitMix(state: 13)
    for subset in 0..<(1 << log.blocks.count) - 1 {
      let which = log.blocks.indices.filter { subset >> $0 & 1 == 1 }.map { log.blocks[$0] }
      var edited = log.missing(blocks: which)
      let place =
        log.earlier.randomElement(using: &random)! + Int.random(in: 0..<64, using: &random)
      edited[log.index].content[place] ^= 1
      #expect(try MemoryFiles(edited).verify().verdict == .broken, "\(which) at \(place)")
      // A block of an earlier batch that was blanked is no torn batch: others follow it.
      var blanked = log.missing(blocks: which)
      let block = log.earlier.randomElement(using: &random)!
      blanked[log.index].content.replaceSubrange(
        block..<block + 4_096, with: repeatElement(0x0A, count: 4_096))
      let verdict = try MemoryFiles(blanked).verify().verdict
      // Where both seals are gone the two batches look like one: an anchor tells.
      let hasSeal = !which.contains(log.blocks.last!)
      #expect(
        hasSeal ? verdict == .broken : verdict != .intact, "\(which), blank \(block)")
    }
  }

  @Test(arguments: shapes)
  func noChangedByteOfTheLastBatchIsIntact(commits: Int, opensSegment: Bool) throws {
    let log = TornLog(commits: commits, opensSegment: opensSegment)
    let content = log.after[log.index].content
    let end = content.lastIndex { $0 != 0x0A }!
    var random = SplitMix(state: 14)
    // The seal and what is around it, and a sample of the rest, padding included.
    let places =
      Array(end - 330...end + 1)
      + stride(from: log.blocks[0], to: log.blocks.last! + 4_096, by: 97)
    for place in places {
      var files = log.after
      files[log.index].content[place] ^= UInt8.random(in: 1...255, using: &random)
      #expect(try MemoryFiles(files).verify().verdict != .intact, "byte \(place)")
    }
  }

  @Test func noChangedByteOfATornBatchIsIntact() throws {
    let log = TornLog(commits: 2, opensSegment: false)
    var random = SplitMix(state: 15)
    for block in log.blocks {
      for _ in 0..<40 {
        var files = log.missing(blocks: [block])
        let place = Int.random(in: log.blocks[0]..<log.blocks.last! + 4_096, using: &random)
        files[log.index].content[place] ^= UInt8.random(in: 1...255, using: &random)
        #expect(try MemoryFiles(files).verify().verdict != .intact, "byte \(place)")
      }
    }
  }

  @Test func whatNoWriteLeavesAtTheEndIsBroken() throws {
    let log = TornLog(commits: 2, opensSegment: false)
    let start = log.blocks.last! + 4_096
    let seq = 16
    let record =
      "{\"seq\":\(seq),\"kind\":\"exchange\",\"time\":\"2026-11-21T01:33:58.123456Z\","
      + "\"id\":\"00000000000000ff\",\"method\":\"GET\"}\n"
    let wrong = record.replacing("\"seq\":16", with: "\"seq\":17")
    for text in ["hello\n", record, wrong + record, "{\"kind\":\"seal\"}\n"] {
      var files = log.after
      let bytes = Array(text.utf8)
      files[log.index].content.replaceSubrange(start..<start + bytes.count, with: bytes)
      #expect(try MemoryFiles(files).verify().verdict == .broken, "\(text)")
    }
  }
}

@Suite struct NumberExtremesTests {
  @Test(arguments: [0, UInt64.max, UInt64.max - 1])
  func aNumberAtItsLimitIsNoTrap(_ number: UInt64) throws {
    let zeros = String(repeating: "0", count: 64)
    let run = String(repeating: "1", count: 32)
    let header =
      "{\"kind\":\"segment\",\"format\":1,\"run\":\"\(run)\",\"worker\":0,\"segment\":1,"
      + "\"created\":\"2026-11-21T01:33:58.123456Z\",\"seq_next\":\(number),"
      + "\"previous\":\"\(zeros)\""
    let record =
      "{\"seq\":\(number),\"kind\":\"exchange\",\"time\":\"2026-11-21T01:33:58.123456Z\","
      + "\"id\":\"00000000000000ff\"}\n"
    let seal =
      "{\"kind\":\"seal\",\"seq_first\":\(number),\"seq_last\":\(number),\"bytes\":\(number),"
      + "\"previous\":\"\(zeros)\",\"sha256\":\"\(zeros)\"}\n"
    let lost = ",\"lost_first\":\(max(number, 1)),\"lost_last\":\(UInt64.max)}\n"
    let anchor = Anchor(
      run: RunIdentity(high: 1, low: 1), worker: 0, workers: 1, sequence: number, seal: .zero)
    for end in ["}\n", lost] {
      for text in [header + end + record + record + seal, header + end + seal, record + seal] {
        var content = Array(text.utf8)
        for _ in 0..<2 {
          let files = MemoryFiles([("w000-0000000001.jsonl", content)])
          #expect(try files.verify([anchor]).verdict != .intact)
          content += [UInt8](repeating: 0x0A, count: 8_192)
        }
      }
    }
  }
}
