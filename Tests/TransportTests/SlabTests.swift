import Testing
import Transport

@Suite("Slab")
struct SlabTests {
  @Test("a full slab refuses, and the slot released last is taken first")
  func bounds() {
    var slab = Slab<Int>(capacity: 3)
    let taken = [slab.take(), slab.take(), slab.take(), slab.take()]
    check(taken == [0, 1, 2, nil])
    slab.release(0)
    slab.release(2)
    let again = [slab.take(), slab.take(), slab.take()]
    check(again == [2, 0, nil])
    for slot in UInt32(0)..<3 { slab.release(slot) }
  }

  @Test("a slot's generation changes with each release, and its address never")
  func generations() {
    var slab = Slab<Int>(capacity: 2)
    guard let slot = slab.take() else { return }
    let first = slab.generation(slot)
    let place = slab[slot]
    slab.release(slot)
    let same = slab.take()
    check(same == slot)
    let (second, later) = (slab.generation(slot), slab[slot])
    check(second == first + 1 && later == place)
    slab.release(slot)
  }

  @Test("the most recently used slot is given first, and the mark of touched slots stays low")
  func lastInFirstOut() {
    var slab = Slab<Int>(capacity: 1000)
    for _ in 0..<500 {
      let slot = slab.take()
      #expect(slot == 0)
      slab.release(0)
    }
    let touched = slab.touched
    #expect(touched == 1)
  }

  @Test("slots in use are told from free ones and from those that were never taken")
  func use() {
    var slab = Slab<Int>(capacity: 4)
    _ = slab.take()
    _ = slab.take()
    slab.release(0)
    let inUse = (UInt32(0)..<6).map { slab.isTaken($0) }
    check(inUse == [false, true, false, false, false, false])
    let (touched, count) = (slab.touched, slab.inUse)
    check(touched == 2 && count == 1)
    slab.release(1)
  }

  @Test("a slot that was given back without ever being used is not walked over")
  func neverInitialised() {
    var slab = Slab<Int>(capacity: 2)
    guard let slot = slab.take() else { return }
    let isTaken = slab.isTaken(slot)
    slab.release(slot)
    let isTakenStill = slab.isTaken(slot)
    let isOtherTaken = slab.isTaken(1 - slot)
    #expect(isTaken && !isTakenStill && !isOtherTaken)
    // A token carries 24 bits of it.
    let generation = slab.generation(slot)
    #expect(generation == 1)
  }

  @Test("an abandoned slab may be torn down with slots in use")
  func abandoned() {
    var slab = Slab<Int>(capacity: 1)
    _ = slab.take()
    slab.abandon()
  }
}
