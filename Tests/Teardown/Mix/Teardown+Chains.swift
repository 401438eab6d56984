// The chains of a round: of every kind of step that waits for something outside, so that the engine
// ends with chains at any point of them.

import Glibc
import MillraceEngine

/// A step, with what must be there before its chain begins.
private enum Step {
  case failing, nop
  case timeout(after: Int64)
  case write(at: Int64)
  case acceptIntoSlot(Descriptor)
  case receive(Int)
  case send(Int)
  case shutdown(Int)
  case close(Descriptor)
}

extension Teardown where E: ~Copyable {
  mutating func beginChain() {
    let length = 1 + dice.roll(Chain.limit)
    let first = operations.count
    var frame: SendFrame?
    var steps: [(step: Step, token: Token)] = []
    for _ in 0..<length {
      if let begun = step(&frame, of: first) { steps.append(begun) }
    }
    guard !steps.isEmpty else { return }
    engine.beginChain()
    for begun in steps { submit(begun.step, begun.token, &frame) }
    engine.endChain()
  }

  /// A step of a random kind, counted as begun, or nil where there is nothing free for it.
  private mutating func step(
    _ frame: inout SendFrame?, of first: Int
  ) -> (step: Step, token: Token)? {
    switch dice.roll(10) {
    case 0:
      guard takesFilePlace() else { return nil }
      return (.failing, fileToken(.chain))
    case 1:
      let after = [Int64(0), 300_000, 2_000_000, 60_000_000_000][dice.roll(4)]
      return (.timeout(after: after), token(.chain))
    case 2:
      guard takesFilePlace() else { return nil }
      return (.write(at: Int64(dice.roll(8192))), fileToken(.chain))
    case 3: return acceptStep()
    case 4:
      guard let end = freeEnd(receiving: true) else { return nil }
      let token = token(.chain)
      operations[operations.count - 1].receiver = end
      ends[end].receives = true
      return (.receive(end), token)
    case 5, 6: return sendStep(&frame)
    case 7:
      guard let end = freeEnd() else { return nil }
      return (.shutdown(end), token(.chain))
    case 8: return closeStep(of: first)
    default: return (.nop, token(.chain))
    }
  }

  private mutating func acceptStep() -> (step: Step, token: Token)? {
    guard !accepts, let slot = engine.takeSlot() else { return nil }
    accepts = true
    let token = token(.chain)
    operations[operations.count - 1].accepts = true
    operations[operations.count - 1].slot = slot
    return (.acceptIntoSlot(slot), token)
  }

  /// One per chain: of what fits into a socket's buffers, or of more.
  private mutating func sendStep(_ frame: inout SendFrame?) -> (step: Step, token: Token)? {
    if frame != nil { return nil }
    guard let end = freeEnd(sending: true), var filled = engine.frame() else { return nil }
    filled.append("inline bytes")
    if dice.roll(2) == 0 {
      let slice = engine.coldMemory(dice.roll(2) == 0 ? 3 << 20 : 4096)
      slice.mutableBytes.initializeMemory(as: UInt8.self, repeating: 5)
      filled.append(slice)
    }
    frame = consume filled
    let token = token(.chain)
    operations[operations.count - 1].sender = end
    ends[end].sends = true
    return (.send(end), token)
  }

  /// Of the slot that an accept before it fills, or of what nothing was begun on.
  private mutating func closeStep(of first: Int) -> (step: Step, token: Token)? {
    for filling in first..<operations.count where operations[filling].closedBy == nil {
      guard let slot = operations[filling].slot else { continue }
      let token = token(.chain)
      operations[filling].closedBy = operations.count - 1
      operations[operations.count - 1].closing = slot
      operations[operations.count - 1].filledBy = filling
      return (.close(slot), token)
    }
    guard let made = try? engine.bindSpare(address) else { return nil }
    let token = token(.chain)
    operations[operations.count - 1].closing = made
    return (.close(made), token)
  }

  private mutating func submit(_ step: Step, _ token: Token, _ frame: inout SendFrame?) {
    switch step {
    case .failing:
      engine.read(
        Descriptor(rawValue: 4000), into: FileBuffer(capacity: 8), count: 8, offset: 0, token)
    case .nop: engine.nop(token)
    case .timeout(let after): engine.timeout(at: engine.now + after, token)
    case .write(let offset):
      let buffer = FileBuffer(capacity: 4096)
      memset(buffer.base, 3, 4096)
      engine.write(
        file, from: buffer, count: 4096, offset: offset, durable: dice.roll(4) == 0, token)
    case .acceptIntoSlot(let slot): engine.acceptOne(listener, into: slot, token)
    case .receive(let end): engine.receive(ends[end].descriptor, .once, token)
    case .send(let end):
      if let filled = frame.take() { engine.send(ends[end].descriptor, filled, .awaited, token) }
    case .shutdown(let end): engine.shutdown(ends[end].descriptor, .send, token)
    case .close(let descriptor): engine.close(descriptor, token)
    }
  }
}
