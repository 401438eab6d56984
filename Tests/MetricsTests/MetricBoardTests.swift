// What is written is what is read: families and their description, rows by identity, notes, and
// published figures.

import Testing

@testable import Metrics

private let requests = MetricFamily("requests", "requests", "Requests.")
private let open = MetricFamily("open", "connections", "Open connections.", kind: .gauge)
private let classes = ["2xx", "5xx"].map {
  MetricColumn(
    MetricFamily("responses", "responses", "Responses."), MetricColumn.Label("class", $0))
}

/// Figures of a worker, published ones, and two for each server.
let sampleGroups = [
  MetricGroup(columns: [MetricColumn(requests)]),
  MetricGroup(columns: [MetricColumn(open), MetricColumn(requests)], isPublished: true),
  MetricGroup(dimensions: ["upstream", "server"], columns: classes, rowCapacity: 4),
]

func makeBoard(_ groups: [MetricGroup] = sampleGroups, blocks: Int = 2) throws -> (
  board: MetricBoard, memory: MetricMemory
) {
  let layout = MetricLayout(groups, blocks: blocks)
  let memory = try MetricMemory.own(layout.size)
  return (MetricBoard(layout, in: memory), memory)
}

@Suite struct MetricBoardTests {
  @Test func aReaderFindsWhatWasDescribedAndCounted() throws {
    let (board, memory) = try makeBoard()
    let row = board.row(2, ["web", "10.0.0.1:80"])
    board.note("engine", "epoll")
    for (block, count) in [(0, 3), (1, 4)] {
      board.block(block)[board.layout.firstCells[0]] += count
      board.block(block)[row + 1] += count * 10
    }
    let reading = try MetricReader(memory).read()
    #expect(reading.notes == ["engine": "epoll"])
    let sample = try #require(reading.samples.first)
    #expect(sample.name == "requests" && sample.unit == "requests" && sample.help == "Requests.")
    #expect(sample.kind == .counter && sample.labels.isEmpty && sample.values == [3, 4])
    #expect(reading.samples[1].kind == .gauge)
    #expect(reading.sum("responses") == 70)
    #expect(reading.sum("responses", ["class": "5xx", "upstream": "web"]) == 70)
    #expect(reading.sum("responses", ["class": "2xx", "server": "10.0.0.1:80"]) == 0)
    #expect(reading.sum("responses", ["server": "10.0.0.2:80"]) == nil)
    #expect(reading.sum("others") == nil)
  }

  /// A changed plan asks again for what it kept, in another order and beside new ones.
  @Test func anIdentityKeepsItsRow() throws {
    let (board, memory) = try makeBoard()
    let first = board.row(2, ["web", "a"])
    let second = board.row(2, ["web", "b"])
    board.block(0)[second] += 5
    #expect(first != second && board.row(2, ["web", "b"]) == second)
    // An upstream of another name is another one, and no text runs into the next.
    #expect(board.row(2, ["we", "bb"]) != second)
    #expect(board.row(2, ["web", "a"]) == first)
    #expect(try MetricReader(memory).read().sum("responses", ["server": "b"]) == 5)
  }

  @Test func rowsBeyondTheCapacityShareOneThatSaysSo() throws {
    let (board, memory) = try makeBoard()
    let cells = (0..<7).map { board.row(2, ["web", "\($0)"]) }
    #expect(Set(cells[..<3]).count == 3 && !cells[..<3].contains(cells[3]))
    #expect(Set(cells[3...]).count == 1)
    for cell in cells { board.block(0)[cell] += 1 }
    let reading = try MetricReader(memory).read()
    #expect(reading.sum("responses", ["upstream": "other", "server": "other"]) == 4)
    #expect(reading.sum("responses") == 7)
    #expect(board.row(2, ["web", "2"]) == cells[2])
  }

  @Test func textsAreCutBetweenCharacters() throws {
    let (board, memory) = try makeBoard()
    let long = String(repeating: "ä", count: 300)
    _ = board.row(2, ["web", long])
    board.note("text", long)
    let reading = try MetricReader(memory).read()
    #expect(reading.notes["text"] == String(repeating: "ä", count: 223))
    #expect(
      reading.sum("responses", ["server": String(repeating: "ä", count: 127)]) == 0)
  }

  @Test func notesBeyondTheCapacityAreLeftOut() throws {
    let (board, memory) = try makeBoard()
    for i in 0..<(MetricLayout.noteCapacity + 5) { board.note("n\(i)", "x") }
    #expect(try MetricReader(memory).read().notes.count == MetricLayout.noteCapacity)
  }

  /// Otherwise two writers would pull a cache line from each other with every request.
  @Test func writersShareNoCacheLine() throws {
    let (board, _) = try makeBoard()
    let cells = board.layout.blockStride / MetricLayout.word
    #expect(board.layout.blockStride % 128 == 0 && board.layout.blocksAt % 128 == 0)
    #expect(board.layout.firstCells[2] + 4 * 2 <= cells)
    let address = { Int(bitPattern: board.block($0).words) }
    #expect(address(0) % 128 == 0 && address(1) - address(0) == board.layout.blockStride)
  }

  @Test func aPublicationThatIsGoingOnIsNotRead() throws {
    let (board, memory) = try makeBoard(blocks: 1)
    let reader = try MetricReader(memory)
    let block = board.block(0)
    let cell = board.layout.firstCells[1]
    block.beginPublication()
    block[cell] = 7
    // The writer may have died in the middle of it.
    #expect(reader.read().samples[1].values == [nil])
    #expect(reader.read().samples[0].values == [0])
    block.endPublication()
    #expect(reader.read().samples[1].values == [7])
    block.beginPublication()
    block.endPublication()
    #expect(reader.read().samples[1].values == [7])
  }
}
