// Metrics, read while they are written: by this process, or from the mapped memory of another one.
// That memory is foreign bytes: every place in it is checked against its size before it is used, and
// a wrong one is an error value. What was checked is kept: a place is not read a second time.

import Synchronization

/// Why bytes are no metrics.
package enum MetricFault: Error, Equatable {
  /// No such memory, or not all of it written yet.
  case notMetrics
  case otherVersion(UInt64)
  /// A table lies outside of the memory, or says what cannot be.
  case malformed(String)
}

/// One column of one row, for every writer.
package struct MetricSample: Equatable, Sendable {
  package var name: String
  package var unit: String
  package var help: String
  package var kind: MetricKind
  package var labels: [String: String]
  /// By writer; nil where one was not to be had as of one moment.
  package var values: [UInt64?]

  package var sum: UInt64 { values.reduce(0) { $0 &+ ($1 ?? 0) } }
}

/// All figures of one look.
package struct MetricReading: Equatable, Sendable {
  package var samples: [MetricSample] = []
  package var notes: [String: String] = [:]

  /// The sum over all rows and writers that have these labels; nil without a sample of this name.
  package func sum(_ name: String, _ labels: [String: String] = [:]) -> UInt64? {
    let found = samples.filter { sample in
      sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
    }
    return found.isEmpty ? nil : found.reduce(0) { $0 &+ $1.sum }
  }
}

package struct MetricReader {
  private struct Column {
    var sample: MetricSample
    var label: (name: String, value: String)?
  }

  private struct Group {
    var columns: Range<Int>
    var rowsAt: Int
    var rowCapacity: Int
    var countAt: Int
    var firstCell: Int
    var isPublished: Bool
    var dimensions: [String]
  }

  private let memory: MetricMemory
  private let bytes: UnsafeRawBufferPointer
  private var columns: [Column] = []
  private var groups: [Group] = []
  private var blocks = (at: 0, stride: 0, count: 0)
  private var notes = (at: 0, capacity: 0)

  /// Checks and keeps the description.
  /// - Parameter count: how many of the memory's bytes there are to be read; nil: all.
  package init(_ memory: MetricMemory, count: Int? = nil) throws(MetricFault) {
    self.memory = memory
    bytes = UnsafeRawBufferPointer(rebasing: memory.bytes.prefix(count ?? memory.count))
    typealias Header = MetricLayout.Header
    guard bytes.count >= Header.bytes, acquire(0) == MetricLayout.magic else {
      throw .notMetrics
    }
    let version = raw(Header.version * MetricLayout.word)
    guard version == MetricLayout.version else { throw .otherVersion(version) }
    func number(_ word: Int) throws(MetricFault) -> Int {
      try self.number(word * MetricLayout.word)
    }
    let columnCount = try number(Header.columnCount)
    let columnsAt = try number(Header.columns)
    try check("columns", columnsAt, columnCount, MetricLayout.Column.bytes)
    for i in 0..<columnCount {
      columns.append(try column(columnsAt + i * MetricLayout.Column.bytes))
    }
    blocks = (
      try number(Header.blocks), try number(Header.blockStride), try number(Header.blockCount)
    )
    guard blocks.stride >= MetricLayout.blockAlignment,
      blocks.stride % MetricLayout.blockAlignment == 0,
      blocks.at % MetricLayout.blockAlignment == 0
    else { throw .malformed("blocks") }
    try check("blocks", blocks.at, blocks.count, blocks.stride)
    notes = (try number(Header.notes), try number(Header.noteCapacity))
    try check("notes", notes.at, notes.capacity, MetricLayout.Note.bytes)
    let groupCount = try number(Header.groupCount)
    let groupsAt = try number(Header.groups)
    try check("groups", groupsAt, groupCount, MetricLayout.Group.bytes)
    guard groupsAt % MetricLayout.word == 0 else { throw .malformed("groups") }
    // Groups that lay over each other would make a look cost more than the memory has bytes.
    var cells = blocks.stride / MetricLayout.word - MetricBlock.firstCell
    for i in 0..<groupCount {
      let group = try group(groupsAt + i * MetricLayout.Group.bytes)
      cells -= max(group.rowCapacity, group.rowCapacity * group.columns.count)
      guard cells >= 0 else { throw .malformed("a group's cells") }
      groups.append(group)
    }
  }

  private func column(_ at: Int) throws(MetricFault) -> Column {
    guard let kind = MetricKind(rawValue: raw(at + MetricLayout.Column.kind)) else {
      throw .malformed("kind")
    }
    let label = text(at, MetricLayout.Column.labelName)
    return Column(
      sample: MetricSample(
        name: text(at, MetricLayout.Column.name), unit: text(at, MetricLayout.Column.unit),
        help: text(at, MetricLayout.Column.help), kind: kind, labels: [:], values: []),
      label: label.isEmpty ? nil : (label, text(at, MetricLayout.Column.labelValue)))
  }

  private func group(_ at: Int) throws(MetricFault) -> Group {
    typealias Field = MetricLayout.Group
    let first = try number(at + Field.firstColumn)
    let count = try number(at + Field.columnCount)
    guard first <= columns.count, count <= columns.count - first else {
      throw .malformed("a group's columns")
    }
    let rowsAt = try number(at + Field.rows)
    let rows = try number(at + Field.rowCapacity)
    try check("rows", rowsAt, rows, MetricLayout.Row.bytes)
    let firstCell = try number(at + Field.firstCell)
    let cells = blocks.stride / MetricLayout.word
    // `number` bounds each factor, so that the product is one.
    guard firstCell >= MetricBlock.firstCell, firstCell <= cells,
      rows * count <= cells - firstCell
    else { throw .malformed("a group's cells") }
    let names = try number(at + Field.dimensionCount)
    guard names <= MetricLayout.rowLabels else { throw .malformed("dimensions") }
    return Group(
      columns: first..<(first + count), rowsAt: rowsAt, rowCapacity: rows,
      countAt: at + Field.rowCount, firstCell: firstCell,
      isPublished: raw(at + Field.isPublished) != 0,
      dimensions: (0..<names).map { text(at + $0 * Field.dimensions.bytes, Field.dimensions) })
  }

  // MARK: The figures

  /// Everything as it is now. No worker is stopped for it.
  package func read() -> MetricReading {
    var reading = MetricReading()
    for group in groups {
      let count = min(Int(clamping: acquire(group.countAt)), group.rowCapacity)
      let width = group.columns.count
      let cells = (0..<blocks.count).map { self.cells(group, $0, count * width) }
      for row in 0..<count {
        let at = group.rowsAt + row * MetricLayout.Row.bytes
        var labels: [String: String] = [:]
        for (i, name) in group.dimensions.enumerated() {
          labels[name] = text(at + i * MetricLayout.Row.label.bytes, MetricLayout.Row.label)
        }
        for (i, index) in group.columns.enumerated() {
          var sample = columns[index].sample
          sample.labels = labels
          if let label = columns[index].label { sample.labels[label.name] = label.value }
          sample.values = cells.map { $0?[row * width + i] }
          reading.samples.append(sample)
        }
      }
    }
    let count = min(
      Int(clamping: acquire(MetricLayout.Header.noteCount * MetricLayout.word)), notes.capacity)
    for i in 0..<count {
      let at = notes.at + i * MetricLayout.Note.bytes
      reading.notes[text(at, MetricLayout.Note.name)] = text(at, MetricLayout.Note.text)
    }
    return reading
  }

  /// A writer that died in the middle of a publication never ends it.
  private static let attempts = 1000

  private func cells(_ group: Group, _ block: Int, _ count: Int) -> [UInt64]? {
    let start = blocks.at + block * blocks.stride
    func cells() -> [UInt64] {
      (0..<count).map { relaxed(start + (group.firstCell + $0) * MetricLayout.word) }
    }
    guard group.isPublished else { return cells() }
    for _ in 0..<Self.attempts {
      let before = acquire(start)
      guard before & 1 == 0 else { continue }
      let found = cells()
      atomicMemoryFence(ordering: .acquiring)
      if relaxed(start) == before { return found }
    }
    return nil
  }

  // MARK: Bytes

  /// Whether a table lies within the memory.
  private func check(
    _ what: String, _ at: Int, _ count: Int, _ stride: Int
  ) throws(MetricFault) {
    guard at >= MetricLayout.Header.bytes, at <= bytes.count, count <= (bytes.count - at) / stride
    else { throw .malformed(what) }
  }

  /// A word of the description as a number of at most 31 bits.
  private func number(_ at: Int) throws(MetricFault) -> Int {
    let value = raw(at)
    guard value <= UInt64(Int32.max) else { throw .malformed("a number") }
    return Int(value)
  }

  // The three below are given places that were checked.

  private func raw(_ at: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self) }

  private func acquire(_ at: Int) -> UInt64 { atomic(at).pointee.load(ordering: .acquiring) }

  private func relaxed(_ at: Int) -> UInt64 { atomic(at).pointee.load(ordering: .relaxed) }

  private func atomic(_ at: Int) -> UnsafePointer<Atomic<UInt64>> {
    UnsafePointer((memory.start + at).assumingMemoryBound(to: Atomic<UInt64>.self))
  }

  /// A text; one that says that it is longer than its field is as long as the field.
  private func text(_ record: Int, _ field: (at: Int, bytes: Int)) -> String {
    let at = record + field.at
    let length = bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self)
    let count = min(Int(length), field.bytes - 2)
    return String(
      decoding: UnsafeRawBufferPointer(rebasing: bytes[(at + 2)..<(at + 2 + count)]), as: UTF8.self)
  }
}
