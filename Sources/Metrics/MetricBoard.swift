// The metrics of a process, written: its description, the rows as they become known, and a block for
// each writer. Rows go by identity (a listener's address; an upstream and a server's address), so
// that a changed configuration finds the figures of what it kept. For one thread, but for the blocks.

import Synchronization

package final class MetricBoard {
  package let layout: MetricLayout
  private let memory: MetricMemory
  /// By group: the row of each identity.
  private var rows: [[[String]: Int]]
  private var notes = 0

  /// - Parameter memory: zeros, `layout.size` bytes.
  package init(_ layout: MetricLayout, in memory: MetricMemory) {
    // TRAP: our own caller made both by the same layout.
    precondition(memory.count >= layout.size, "too little memory for its layout")
    self.layout = layout
    self.memory = memory
    rows = Array(repeating: [:], count: layout.groups.count)
    describeGroups()
    for (group, each) in layout.groups.enumerated() where each.dimensions.isEmpty {
      _ = row(group, [])
    }
    writeHeader()
  }

  package func block(_ index: Int) -> MetricBlock {
    // TRAP: as many writers as the layout was made for.
    precondition(index >= 0 && index < layout.blockCount, "a metrics writer without its block")
    return MetricBlock(memory.start + layout.blocksAt + index * layout.blockStride)
  }

  /// The first cell of the row that an identity has in a group; made if there was none.
  package func row(_ group: Int, _ identity: [String]) -> Int {
    let kind = layout.groups[group]
    func cell(_ row: Int) -> Int { layout.firstCells[group] + row * kind.columns.count }
    if let known = rows[group][identity] { return cell(known) }
    let count = rows[group].count
    if count < kind.rowCapacity - 1 || kind.dimensions.isEmpty
      || identity.allSatisfy({ $0 == Self.rest })
    {
      let row = min(count, kind.rowCapacity - 1)
      describe(row, of: group, identity)
      rows[group][identity] = row
      return cell(row)
    }
    // Figures must not be lost, and no more memory is to be had: they share a row that says so.
    return self.row(group, identity.map { _ in Self.rest })
  }

  /// Labels of the row that takes what there is no room for.
  package static let rest = "other"

  /// A fact that is no figure, such as the engine; those beyond the capacity are left out.
  package func note(_ name: String, _ text: String) {
    guard notes < MetricLayout.noteCapacity else { return }
    let at = layout.notesAt + notes * MetricLayout.Note.bytes
    put(name, at, MetricLayout.Note.name)
    put(text, at, MetricLayout.Note.text)
    notes += 1
    release(UInt64(notes), at: MetricLayout.Header.noteCount * MetricLayout.word)
  }

  /// For readers in this process.
  package func reader() throws(MetricFault) -> MetricReader { try MetricReader(memory) }

  // MARK: The description

  private func describeGroups() {
    var column = 0
    for (index, group) in layout.groups.enumerated() {
      let at = layout.groupsAt + index * MetricLayout.Group.bytes
      put(UInt64(column), at + MetricLayout.Group.firstColumn)
      put(UInt64(group.columns.count), at + MetricLayout.Group.columnCount)
      put(UInt64(layout.rowsAt[index]), at + MetricLayout.Group.rows)
      put(UInt64(group.rowCapacity), at + MetricLayout.Group.rowCapacity)
      put(UInt64(layout.firstCells[index]), at + MetricLayout.Group.firstCell)
      put(group.isPublished ? 1 : 0, at + MetricLayout.Group.isPublished)
      put(UInt64(group.dimensions.count), at + MetricLayout.Group.dimensionCount)
      for (i, name) in group.dimensions.enumerated() {
        put(
          name, at + i * MetricLayout.Group.dimensions.bytes, MetricLayout.Group.dimensions)
      }
      for each in group.columns {
        describe(each, at: layout.columnsAt + column * MetricLayout.Column.bytes)
        column += 1
      }
    }
  }

  private func describe(_ column: MetricColumn, at: Int) {
    put(column.family.kind.rawValue, at + MetricLayout.Column.kind)
    put(column.family.name, at, MetricLayout.Column.name)
    put(column.family.unit, at, MetricLayout.Column.unit)
    put(column.family.help, at, MetricLayout.Column.help)
    put(column.label?.name ?? "", at, MetricLayout.Column.labelName)
    put(column.label?.value ?? "", at, MetricLayout.Column.labelValue)
  }

  private func describe(_ row: Int, of group: Int, _ labels: [String]) {
    let at = layout.rowsAt[group] + row * MetricLayout.Row.bytes
    for (i, label) in labels.prefix(MetricLayout.rowLabels).enumerated() {
      put(label, at + i * MetricLayout.Row.label.bytes, MetricLayout.Row.label)
    }
    release(
      UInt64(row + 1),
      at: layout.groupsAt + group * MetricLayout.Group.bytes + MetricLayout.Group.rowCount)
  }

  private func writeHeader() {
    func set(_ word: Int, _ value: Int) { put(UInt64(value), word * MetricLayout.word) }
    typealias Header = MetricLayout.Header
    put(MetricLayout.version, Header.version * MetricLayout.word)
    set(Header.size, layout.size)
    set(Header.columns, layout.columnsAt)
    set(Header.columnCount, layout.groups.reduce(0) { $0 + $1.columns.count })
    set(Header.groups, layout.groupsAt)
    set(Header.groupCount, layout.groups.count)
    set(Header.blocks, layout.blocksAt)
    set(Header.blockStride, layout.blockStride)
    set(Header.blockCount, layout.blockCount)
    set(Header.notes, layout.notesAt)
    set(Header.noteCapacity, MetricLayout.noteCapacity)
    // Last: who finds it finds everything.
    release(MetricLayout.magic, at: Header.magic * MetricLayout.word)
  }

  private func put(_ value: UInt64, _ at: Int) {
    memory.start.storeBytes(of: value, toByteOffset: at, as: UInt64.self)
  }

  /// Writes a word behind everything that was written before.
  private func release(_ value: UInt64, at: Int) {
    (memory.start + at).assumingMemoryBound(to: Atomic<UInt64>.self).pointee
      .store(value, ordering: .releasing)
  }

  /// Writes a text; what does not fit its field is cut off between characters.
  private func put(_ text: String, _ record: Int, _ field: (at: Int, bytes: Int)) {
    var fitting = Substring(text)
    while fitting.utf8.count > field.bytes - 2 { fitting.removeLast() }
    let at = record + field.at
    memory.start.storeBytes(
      of: UInt16(fitting.utf8.count), toByteOffset: at, as: UInt16.self)
    for (i, byte) in fitting.utf8.enumerated() {
      memory.start.storeBytes(of: byte, toByteOffset: at + 2 + i, as: UInt8.self)
    }
  }
}
