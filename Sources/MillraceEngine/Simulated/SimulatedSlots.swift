// Direct slots of a simulated engine: numbers that are known before anything is open in them.

import CLinux
import Glibc

struct SimulatedSlots {
  private(set) var handles: [SimulatedHandle?]
  private var isTaken: [Bool]
  /// Free slots, the last given back on top.
  private var free: [Int]

  init(limit: Int) {
    handles = Array(repeating: nil, count: limit)
    isTaken = Array(repeating: false, count: limit)
    free = Array((0..<limit).reversed())
  }

  var inUse: Int { isTaken.count - free.count }

  subscript(_ slot: Descriptor) -> SimulatedHandle? {
    Int(slot.slot) < handles.count ? handles[Int(slot.slot)] : nil
  }

  mutating func take() -> Descriptor? {
    guard let slot = free.popLast() else { return nil }
    isTaken[slot] = true
    return Descriptor(slot: slot)
  }

  mutating func fill(_ slot: Descriptor, _ handle: SimulatedHandle) {
    precondition(isTaken[Int(slot.slot)], "a slot that is not in use")
    precondition(handles[Int(slot.slot)] == nil, "a slot that is already in use")
    handles[Int(slot.slot)] = handle
  }

  mutating func free(_ slot: Descriptor) {
    precondition(isTaken[Int(slot.slot)], "a slot that is not in use")
    handles[Int(slot.slot)] = nil
    isTaken[Int(slot.slot)] = false
    free.append(Int(slot.slot))
  }
}

extension Simulated {
  public mutating func takeSlot() -> Descriptor? {
    let slot = slots.take()
    if slot == nil { statistics.slotRefusals += 1 }
    return slot
  }

  public mutating func returnSlot(_ slot: Descriptor) {
    precondition(slots[slot] == nil, "release of a slot with an open descriptor")
    slots.free(slot)
  }

  mutating func fill(_ slot: Descriptor, _ handle: SimulatedHandle) {
    slots.fill(slot, handle)
    adopt(handle, slot.rawValue)
  }
}
