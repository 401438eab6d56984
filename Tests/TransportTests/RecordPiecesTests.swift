import MillraceEngine
import Testing
import Transport

@Suite("What goes into one record")
struct RecordPiecesTests {
  private static let most = 16_384

  /// Bytes of each piece of a frame with segments of these sizes, all of whose bytes must come in order.
  private func pieces(_ sizes: [Int], stages: Bool = true) throws -> [Int] {
    var options = EngineOptions()
    options.frames = 4
    var engine = Simulated(options, world: SimulatedWorld(seed: 1, .calm))
    let staging = stages ? engine.coldMemory(Self.most) : nil
    var frame = try engine.frame().unwrapped()
    var expected: [UInt8] = []
    for (index, size) in sizes.enumerated() {
      let slice = engine.coldMemory(size)
      for place in 0..<size {
        let byte = UInt8(truncatingIfNeeded: place &* 7 &+ index)
        slice.mutableBytes[place] = byte
        expected.append(byte)
      }
      frame.append(slice)
    }
    var found: [UInt8] = []
    var counts: [Int] = []
    var walk = RecordPieces(staging)
    while let piece = walk.next(frame) {
      found += Array(piece)
      counts.append(piece.count)
    }
    #expect(found == expected)
    return counts
  }

  @Test("small segments share a record, up to its size and not beyond", arguments: [-1, 0, 1])
  func limits(off: Int) throws {
    let rest = Self.most - 9 + off
    #expect(try pieces([9, rest]) == (off <= 0 ? [9 + rest] : [Self.most, 1]))
    #expect(try pieces([9, rest, 9]) == [Self.most, 9 + off])
  }

  @Test("what is large is not copied, and a single segment never is")
  func large() throws {
    let most = Self.most
    #expect(try pieces([100_000]) == [100_000])
    #expect(try pieces([1]) == [1])
    #expect(try pieces([most, 5]) == [most, 5])
    // Two records and some bytes, which share one with what follows.
    #expect(try pieces([2 * most + 10, 20]) == [2 * most, 30])
    // Behind a small one, what is too large to be copied begins a record.
    #expect(try pieces([200, 2 * most]) == [200, 2 * most])
    #expect(try pieces([200, 2 * most - 1]) == [most, most + 199])
  }

  @Test("frames of HTTP/2 with their heads fill records")
  func frames() throws {
    let sizes = (0..<4).flatMap { _ in [9, 16_384] }
    #expect(try pieces(sizes) == [16_384, 16_384, 16_384, 16_384, 36])
    #expect(try pieces([109] + Array(repeating: 4096, count: 8)) == [16_384, 16_384, 109])
  }

  @Test("without memory each segment is a piece")
  func noStaging() throws {
    let found = try pieces([5000, 6000, 20_000], stages: false)
    #expect(found == [5000, 6000, 20_000])
  }
}
