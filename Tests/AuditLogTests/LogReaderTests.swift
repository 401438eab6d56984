// The log as one stream: what `audit cat` and `audit tail` show, beside a journal that goes on.

import MillraceEngine
import Testing

@testable import AuditLog

private func read(_ reader: LogReader) throws -> [String] {
  try reader.poll()
  var lines: [String] = []
  while let line = try reader.next() { lines.append(String(decoding: line.json, as: UTF8.self)) }
  return lines
}

private func sequence(_ line: String) -> Int {
  Int(line.dropFirst("{\"seq\":".count).prefix { $0.isNumber }) ?? -1
}

private func line(_ sequence: UInt64, _ kind: String, id: UInt64, rest: String = "") -> [UInt8] {
  let digits = String(id, radix: 16)
  let padded = String(repeating: "0", count: 16 - digits.utf8.count) + digits
  return Array(
    ("{\"seq\":\(sequence),\"kind\":\"\(kind)\",\"time\":\"2026-11-21T01:33:58.123456Z\","
      + "\"id\":\"\(padded)\"\(rest)}").utf8)
}

@Suite struct LogReaderTests {
  @Test(arguments: 0..<12)
  func everyCommittedRecordIsShownOnceAndInOrderWhileTheLogRotates(seed: Int) throws {
    let world = World(
      World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 2))
    var random = SplitMix(state: UInt64(seed))
    let files = MemoryFiles()
    var steps = 250
    files.beforeEachCall = {
      if steps > 0 && random.chance(60) {
        steps -= 1
        for _ in 0..<Int.random(in: 1...3, using: &random) {
          world.exchange(
            path: String(repeating: "r", count: Int.random(in: 1...2_000, using: &random)))
        }
        world.settle()
      }
      files.replaceAll(world.disk.snapshot())
    }
    world.settle()
    let reader = try LogReader(directory: "/log", files: files)
    #expect(reader.hasLog)
    var seen: [Int] = []
    while steps > 0 { seen += try read(reader).map(sequence) }
    seen += try read(reader).map(sequence)
    #expect(seen == Array(1...Int(world.durableSequence)))
    #expect(reader.damages == 0)
    #expect(world.counters.rotations > 2)
    files.beforeEachCall = {}

    // From near the end: no less than what was asked for, and the same lines.
    for lines in [0, 1, 7, 100, 10_000] {
      let tail = try read(LogReader(directory: "/log", files: files, lines: lines)).map(sequence)
      #expect(tail.count >= min(lines, seen.count))
      #expect(tail == Array(seen.suffix(tail.count)))
    }
  }

  @Test func aCommitUnderWayIsNotShown() throws {
    let world = World(
      World.configuration(), ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 2))
    world.settle()
    world.exchange()
    world.settle()
    let before = world.disk.snapshot()
    for _ in 0..<3 { world.exchange(path: String(repeating: "p", count: 2_000)) }
    world.settle()
    let after = world.disk.snapshot()
    let files = MemoryFiles(before)
    let reader = try LogReader(directory: "/log", files: files)
    #expect(try read(reader).map(sequence) == [1])
    var part = before
    for end in [5_000, 8_192, 9_000] {
      part[0].content[..<end] = after[0].content[..<end]
      files.replaceAll(part)
      #expect(try read(reader).isEmpty)
    }
    files.replaceAll(after)
    #expect(try read(reader).map(sequence) == [2, 3, 4])
    #expect(reader.damages == 0)
  }

  @Test func theUnusedPartOfASegmentIsNotRead() throws {
    var configuration = World.configuration()
    configuration.firstSegmentSize = 4 << 20
    configuration.segmentSize = 4 << 20
    let world = World(
      configuration, ChainState(worker: 0), SimulatedDisk(faults: Faults(), seed: 2))
    world.settle()
    for _ in 0..<5 {
      world.exchange()
      world.settle()
    }
    let files = MemoryFiles(world.disk.snapshot())
    let reader = try LogReader(directory: "/log", files: files)
    #expect(try read(reader).count == 5)
    #expect(files.bytesRead < 300 << 10)
    #expect(try read(LogReader(directory: "/log", files: files, lines: 2)).count >= 2)
    #expect(files.bytesRead < 900 << 10)
  }
}

@Suite struct ExchangeJoinTests {
  private final class Sink {
    var lines: [String] = []
    func take(_ line: LogLine) { lines.append(String(decoding: line.json, as: UTF8.self)) }
  }

  private func feed(_ join: inout ExchangeJoin, _ bytes: [UInt8], _ sink: Sink, worker: Int = 0) {
    bytes.withUnsafeBytes {
      join.take(worker: worker, RecordLine.parse($0)!, $0, emit: sink.take)
    }
  }

  @Test func beginAndEndAreOneLine() {
    var join = ExchangeJoin()
    let sink = Sink()
    feed(&join, line(7, "begin", id: 1, rest: ",\"path\":\"/\""), sink)
    feed(&join, line(8, "end", id: 1, rest: ",\"status\":200"), sink, worker: 1)
    feed(&join, line(9, "end", id: 1, rest: ",\"status\":200"), sink)
    let time = "2026-11-21T01:33:58.123456Z"
    #expect(
      sink.lines.last
        == "{\"seq\":9,\"kind\":\"exchange\",\"time\":\"\(time)\",\"id\":\"0000000000000001\","
        + "\"begin_seq\":7,\"begin_time\":\"\(time)\",\"path\":\"/\",\"status\":200}")
    #expect(sink.lines.count == 2)
    #expect(sink.lines[0].contains("\"kind\":\"end\""))
    #expect(JSONShape.isObject(sink.lines[1]))
    #expect(join.count == 0)
  }

  @Test(arguments: [9, 10, 11])
  func oneMoreThanTheMostOpenExchangesGivesTheOldestOut(count: UInt64) {
    var join = ExchangeJoin(entriesMaximum: 10)
    let sink = Sink()
    for id in 1...count { feed(&join, line(id, "begin", id: id), sink) }
    #expect(sink.lines.map(sequence) == (count > 10 ? [1] : []))
    #expect(join.count == min(10, Int(count)))
    for id in 1...count { feed(&join, line(20 + id, "end", id: id), sink) }
    #expect(join.count == 0)
    #expect(sink.lines.count == Int(count) + (count > 10 ? 1 : 0))
  }

  @Test func bytesOfOpenExchangesAreBounded() {
    let size = line(10, "begin", id: 1).count
    for (extra, kept) in [(-1, 2), (0, 3), (1, 3)] {
      var join = ExchangeJoin(bytesMaximum: 3 * size + extra)
      let sink = Sink()
      for id in 1...3 as ClosedRange<UInt64> { feed(&join, line(10 + id, "begin", id: id), sink) }
      #expect(join.count == kept)
    }
  }

  @Test func manyExchangesLeaveNothingBehind() {
    var join = ExchangeJoin(entriesMaximum: 8)
    let sink = Sink()
    for id in 1...5_000 as ClosedRange<UInt64> {
      feed(&join, line(2 * id, "begin", id: id), sink)
      feed(&join, line(2 * id + 1, "abort", id: id), sink)
    }
    #expect(sink.lines.count == 5_000 && join.count == 0)
    #expect(join.queueCount < 4_096)
  }
}

extension JSONShape {
  fileprivate static func isObject(_ text: String) -> Bool {
    Array(text.utf8).withUnsafeBytes { isObject($0) }
  }
}
