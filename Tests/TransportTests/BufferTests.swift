import MillraceEngine
import Testing
import Transport

@Suite("Input and send buffers")
struct BufferTests {
  private func makeEngine(frames: Int = 8) -> Simulated {
    var options = EngineOptions()
    options.frames = frames
    return Simulated(options, world: SimulatedWorld(seed: 1, .calm))
  }

  // MARK: Input

  @Test("unread bytes stay where they are while they are used up")
  func inPlace() throws {
    var engine = makeEngine()
    var unread = InputBuffer()
    var bytes = [UInt8](repeating: 7, count: 100_000)
    bytes.withUnsafeBytes { unread.append($0, &engine) }
    let place = UInt(bitPattern: unread.peek().baseAddress)
    for used in 1...100 {
      var slice = try unread.takeAll().unwrapped()
      slice.dropPrefix(500)
      unread.putBack(slice, &engine)
      let (now, count) = (UInt(bitPattern: unread.peek().baseAddress), unread.count)
      check(now == place + UInt(500 * used) && count == 100_000 - 500 * used)
    }
    bytes = [1]
    bytes.withUnsafeBytes { unread.append($0, &engine) }
    let (count, last) = (unread.count, unread.peek().last)
    check(count == 50_001 && last == 1)
    unread.clear()
    check(engine.counters.coldBytes == 0)
  }

  @Test("dropping bytes moves none, and the last one gives the memory back")
  func drop() {
    var engine = makeEngine()
    var unread = InputBuffer()
    [UInt8](0..<200).withUnsafeBytes { unread.append($0, &engine) }
    let place = UInt(bitPattern: unread.peek().baseAddress)
    unread.drop(150)
    let now = UInt(bitPattern: unread.peek().baseAddress)
    check(now == place + 150)
    check(Array(unread.peek()) == [UInt8](150..<200))
    // Behind a dropped part there is room, and content in order.
    [UInt8](0..<100).withUnsafeBytes { unread.append($0, &engine) }
    check(Array(unread.peek()) == [UInt8](150..<200) + [UInt8](0..<100))
    unread.drop(150)
    check(unread.isEmpty && engine.counters.coldBytes == 0)
  }

  @Test("any mixture of appending, dropping, taking and putting back keeps the bytes in order")
  func mixture() throws {
    var engine = makeEngine()
    var unread = InputBuffer()
    var model: [UInt8] = []
    var random = SplitMix(state: 7)
    for _ in 0..<3000 {
      switch random.next() % 4 {
      case 0, 1:
        let bytes = (0..<Int(random.next() % 900)).map { _ in
          UInt8(truncatingIfNeeded: random.next())
        }
        bytes.withUnsafeBytes { unread.append($0, &engine) }
        model += bytes
      case 2:
        let used = model.isEmpty ? 0 : Int(random.next() % UInt64(model.count + 1))
        unread.drop(used)
        model.removeFirst(used)
      default:
        let used = model.isEmpty ? 0 : Int(random.next() % UInt64(model.count + 1))
        if var slice = unread.takeAll() {
          slice.dropPrefix(used)
          unread.putBack(slice, &engine)
        }
        model.removeFirst(used)
      }
      check(Array(unread.peek()) == model && unread.count == model.count)
    }
    unread.clear()
    check(engine.counters.coldBytes == 0)
  }

  @Test("a shared slice keeps its bytes when the buffer has gone")
  func share() throws {
    var engine = makeEngine()
    var unread = InputBuffer()
    [UInt8](0..<100).withUnsafeBytes { unread.append($0, &engine) }
    unread.drop(10)
    let part = try unread.share(5, 3).unwrapped()
    unread.clear()
    check(Array(part.bytes) == [15, 16, 17])
  }

  // MARK: Output

  @Test("a buffer without a frame, or of an engine that has none left, refuses everything")
  func withoutFrame() {
    var engine = makeEngine(frames: 1)
    var first = SendBuffer()
    var second = SendBuffer()
    check(!first.append("x") && first.write(capacity: 1) { _ in 1 } == -1)
    check(first.prepare(&engine) && first.prepare(&engine))
    check(!second.prepare(&engine) && !second.append("x") && second.isEmpty)
    check(first.append("x") && first.count == 1)
    first.clear()
    check(second.prepare(&engine) && second.append("yz") && second.count == 2)
    second.clear()
    check(engine.counters.framesInUse == 0)
  }

  @Test("a full buffer refuses each kind of piece, adds nothing, and takes more once compacted")
  func full() {
    var engine = makeEngine()
    var unsent = SendBuffer()
    check(unsent.prepare(&engine))
    var pieces = 0
    while unsent.append(engine.coldMemory(5000)) { pieces += 1 }
    // Frames have a fixed number of slices; what counts is that there is an end.
    check(pieces > 0 && pieces < 100)
    check(unsent.isFull() && !unsent.hasRoomForOne() && !unsent.hasRoomForChunk())
    let before = unsent.count
    check(before == pieces * 5000)
    check(!unsent.append("x") && !unsent.append(engine.coldMemory(1)))
    var wasCalled = false
    let written = unsent.write(capacity: 1) { _ in
      wasCalled = true
      return 1
    }
    check(written == -1 && !wasCalled && unsent.count == before)
    unsent.compact()
    check(unsent.count == before && unsent.append("x") && unsent.count == before + 1)
    unsent.clear()
    check(engine.counters.framesInUse == 0 && engine.counters.coldBytes == 0)
  }

  @Test("what waits moves from one buffer to another, and its count with it")
  func replace() {
    var engine = makeEngine()
    var held = SendBuffer()
    var unsent = SendBuffer()
    check(held.prepare(&engine) && held.append("abc"))
    unsent.replace(with: &held)
    check(held.isEmpty && !held.hasRoomForOne() && unsent.count == 3)
    guard let frame = unsent.take() else {
      Issue.record("the frame has been lost")
      return
    }
    check(unsent.isEmpty && frame.count == 3)
    held.put(frame)
    check(held.count == 3)
    held.clear()
  }
}
