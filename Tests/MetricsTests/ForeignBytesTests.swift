// The memory of another process may hold anything: no byte of it may trap the reader, and a table
// that reaches one byte too far is refused.

import Glibc
import Testing

@testable import Metrics

@Suite struct ForeignBytesTests {
  private static func filled() throws -> (layout: MetricLayout, bytes: [UInt8]) {
    let (board, memory) = try makeBoard()
    _ = board.row(2, ["web", "10.0.0.1:80"])
    board.note("engine", "epoll")
    return (board.layout, Array(memory.bytes))
  }

  private func read(_ bytes: [UInt8]) throws(MetricFault) -> MetricReading {
    // TRAP: a test has memory.
    let memory = try! MetricMemory.own(max(bytes.count, 1))
    bytes.withUnsafeBytes { memory.start.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    return try MetricReader(memory, count: bytes.count).read()
  }

  private func changed(_ bytes: [UInt8], _ at: Int, _ value: Int) -> [UInt8] {
    var bytes = bytes
    withUnsafeBytes(of: value) { bytes.replaceSubrange(at..<(at + 8), with: $0) }
    return bytes
  }

  @Test func whatIsWholeIsRead() throws {
    #expect(try read(Self.filled().bytes).notes["engine"] == "epoll")
  }

  @Test func aCutFileIsRefusedToTheByte() throws {
    let (layout, bytes) = try Self.filled()
    #expect(throws: MetricFault.self) { try read(Array(bytes[..<(layout.size - 1)])) }
    #expect(try read(Array(bytes[..<layout.size])).samples.count > 0)
    #expect(try read(bytes + [0]).samples.count > 0)
    for count in [0, 1, 7, 8, 127, 128, 129, layout.groupsAt, layout.blocksAt] {
      #expect(throws: MetricFault.self) { try read(Array(bytes[..<count])) }
    }
  }

  @Test func otherThingsAreToldApart() throws {
    let bytes = try Self.filled().bytes
    #expect(throws: MetricFault.notMetrics) { try read(changed(bytes, 0, 0)) }
    #expect(throws: MetricFault.otherVersion(2)) { try read(changed(bytes, 8, 2)) }
  }

  /// Tables of the header, each at its last place that fits, and a byte or one more beyond it.
  @Test func tablesMayReachTheEndAndNoFurther() throws {
    let (layout, bytes) = try Self.filled()
    typealias Header = MetricLayout.Header
    let counts = [
      (Header.columns, Header.columnCount, MetricLayout.Column.bytes),
      (Header.groups, Header.groupCount, MetricLayout.Group.bytes),
      (Header.notes, Header.noteCapacity, MetricLayout.Note.bytes),
      (Header.blocks, Header.blockCount, layout.blockStride),
    ]
    for (at, count, stride) in counts {
      let start = Int(
        bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at * 8, as: UInt64.self) })
      let most = (bytes.count - start) / stride
      #expect(isRefusedAsTooLong(changed(bytes, count * 8, most + 1)))
      #expect(!isRefusedAsTooLong(changed(bytes, count * 8, most)))
      #expect(!isRefusedAsTooLong(changed(bytes, count * 8, most - 1)))
      for value in [Int(Int32.max), Int(Int32.max) + 1, Int.max, -1, Int.min] {
        #expect(throws: MetricFault.self) { try read(changed(bytes, count * 8, value)) }
        #expect(throws: MetricFault.self) { try read(changed(bytes, at * 8, value)) }
      }
    }
  }

  private func isRefusedAsTooLong(_ bytes: [UInt8]) -> Bool {
    do throws(MetricFault) {
      _ = try read(bytes)
      return false
    } catch {
      return [
        .malformed("columns"), .malformed("groups"), .malformed("notes"), .malformed("blocks"),
      ]
      .contains(error)
    }
  }

  /// The fields of a group: n-1 and n are its own, n+1 is another one's or nobody's.
  @Test func aGroupStaysWithinItsTables() throws {
    let (layout, bytes) = try Self.filled()
    let group = layout.groupsAt + 2 * MetricLayout.Group.bytes
    func fault(_ field: Int, _ value: Int) -> MetricFault? {
      do throws(MetricFault) {
        _ = try read(changed(bytes, group + field, value))
        return nil
      } catch { return error }
    }
    let cells = layout.blockStride / 8
    // Five columns in all, of which the group has the last two.
    #expect(fault(MetricLayout.Group.firstColumn, 2) == nil)
    #expect(fault(MetricLayout.Group.firstColumn, 3) == nil)
    #expect(fault(MetricLayout.Group.firstColumn, 4) == .malformed("a group's columns"))
    #expect(fault(MetricLayout.Group.columnCount, 1) == nil)
    #expect(fault(MetricLayout.Group.columnCount, 3) == .malformed("a group's columns"))
    #expect(fault(MetricLayout.Group.firstCell, cells - 9) == nil)
    #expect(fault(MetricLayout.Group.firstCell, cells - 8) == nil)
    #expect(fault(MetricLayout.Group.firstCell, cells - 7) == .malformed("a group's cells"))
    #expect(fault(MetricLayout.Group.firstCell, 16) == nil)
    #expect(fault(MetricLayout.Group.firstCell, 15) == .malformed("a group's cells"))
    #expect(fault(MetricLayout.Group.dimensionCount, 1) == nil)
    #expect(fault(MetricLayout.Group.dimensionCount, 3) == .malformed("dimensions"))
    let lastRows = bytes.count - 4 * MetricLayout.Row.bytes
    #expect(fault(MetricLayout.Group.rows, lastRows) == nil)
    #expect(fault(MetricLayout.Group.rows, lastRows + 1) == .malformed("rows"))
    // It says that it has more rows than there is room for: those are not there.
    #expect(fault(MetricLayout.Group.rowCount, 5) == nil)
    #expect(fault(MetricLayout.Group.rowCount, -1) == nil)
  }

  /// Many groups over the same cells would make one look cost the square of the memory.
  @Test func groupsDoNotLieOverEachOther() throws {
    let (layout, bytes) = try Self.filled()
    let cells = layout.blockStride / 8 - MetricBlock.firstCell
    let first = layout.groupsAt
    // One column, so that rows are cells; the rows' table may be any bytes.
    var all = changed(bytes, first + MetricLayout.Group.rows, MetricLayout.Header.bytes)
    let others = 2 + 8
    all = changed(all, first + MetricLayout.Group.rowCapacity, cells - others)
    _ = try read(all)
    all = changed(all, first + MetricLayout.Group.rowCapacity, cells - others + 1)
    #expect(throws: MetricFault.self) { try read(all) }
  }

  @Test(arguments: 0..<8)
  func randomBytesNeverTrap(_ seed: Int) throws {
    let (layout, good) = try Self.filled()
    var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1
    func next(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    var accepted = 0
    for _ in 0..<500 {
      var bytes = good
      for _ in 0...next(4) {
        // Mostly where the description is.
        let at = next(next(2) == 0 ? layout.groupsAt + 3 * 128 : bytes.count)
        bytes[at] = next(3) == 0 ? 0xFF : UInt8(next(256))
      }
      if (try? read(bytes)) != nil { accepted += 1 }
      let noise = (0..<next(2000)).map { _ in UInt8(next(256)) }
      _ = try? read(Array(good[..<16]) + noise)
    }
    #expect(accepted > 0)
  }
}
