// Where metrics lie in their memory. The memory describes itself, so that a reader needs nothing but
// its bytes: a header, the tables of columns, groups, rows and notes, and one block per writer.
//
//     header    16 words
//     columns   a record each: kind, name, unit, label, help
//     groups    a record each: its columns, its rows, its place in each block, its dimensions
//     rows      a record each: the labels of one member of a group; only ever added to
//     notes     a record each: a name and a text; only ever added to
//     blocks    a head of 16 words, then the cells of each group, row by row
//
// A word is 64 bits in the machine's byte order: writer and reader run on the same machine. A text is
// its length in 16 bits and its bytes in UTF-8, in a field of a fixed size.

/// The places of everything, from the groups, the number of writers and of notes.
package struct MetricLayout: Sendable {
  package static let magic: UInt64 = 0x3153_4349_5254_454D  // "METRICS1"
  package static let version: UInt64 = 1

  static let word = 8
  /// Processors fetch cache lines in pairs: writers are 128 bytes apart.
  package static let blockAlignment = 128
  /// Labels that a row has room for.
  package static let rowLabels = 2
  package static let noteCapacity = 64

  enum Header {
    static let bytes = 128
    static let magic = 0
    static let version = 1
    static let size = 2
    static let columns = 3
    static let columnCount = 4
    static let groups = 5
    static let groupCount = 6
    static let blocks = 7
    static let blockStride = 8
    static let blockCount = 9
    static let notes = 10
    static let noteCapacity = 11
    static let noteCount = 12
  }

  /// Byte offsets and sizes of a record's fields.
  enum Column {
    static let bytes = 512
    static let kind = 0
    static let name = (at: 16, bytes: 80)
    static let unit = (at: 96, bytes: 32)
    static let labelName = (at: 128, bytes: 32)
    static let labelValue = (at: 160, bytes: 64)
    static let help = (at: 224, bytes: 288)
  }

  enum Group {
    static let bytes = 128
    static let firstColumn = 0
    static let columnCount = 8
    static let rows = 16
    static let rowCapacity = 24
    static let rowCount = 32
    static let firstCell = 40
    static let isPublished = 48
    static let dimensionCount = 56
    static let dimensions = (at: 64, bytes: 32)
  }

  enum Row {
    static let bytes = 512
    static let label = (at: 0, bytes: 256)
  }

  enum Note {
    static let bytes = 512
    static let name = (at: 0, bytes: 64)
    static let text = (at: 64, bytes: 448)
  }

  package let groups: [MetricGroup]
  package let blockCount: Int
  let columnsAt: Int
  let groupsAt: Int
  /// By group: the byte offset of its rows, and its first cell in each block.
  let rowsAt: [Int]
  package let firstCells: [Int]
  let notesAt: Int
  let blocksAt: Int
  let blockStride: Int
  package let size: Int

  package init(_ groups: [MetricGroup], blocks: Int) {
    self.groups = groups
    blockCount = blocks
    columnsAt = Header.bytes
    groupsAt = columnsAt + groups.reduce(0) { $0 + $1.columns.count } * Column.bytes
    var at = groupsAt + groups.count * Group.bytes
    var cell = MetricBlock.firstCell
    var rows: [Int] = []
    var cells: [Int] = []
    for group in groups {
      rows.append(at)
      cells.append(cell)
      at += group.rowCapacity * Row.bytes
      cell += group.rowCapacity * group.columns.count
    }
    rowsAt = rows
    firstCells = cells
    notesAt = at
    at += Self.noteCapacity * Note.bytes
    blocksAt = Self.aligned(at)
    blockStride = Self.aligned(cell * Self.word)
    size = blocksAt + blocks * blockStride
  }

  private static func aligned(_ bytes: Int) -> Int {
    (bytes + blockAlignment - 1) / blockAlignment * blockAlignment
  }
}
