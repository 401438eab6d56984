// Splicing: bytes that go between a pipe and something else without the caller seeing them.

import CLinux
import Glibc

extension Simulated {
  public mutating func pipe(
    capacity: Int
  ) throws(SystemFailure) -> (output: Descriptor, input: Descriptor) {
    try checkDescriptors("pipe2")
    let pipe = SimulatedPipe(capacity: max(4096, capacity))
    guard let output = open(SimulatedHandle(.pipe(pipe, isInput: false))) else {
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    guard let input = open(SimulatedHandle(.pipe(pipe, isInput: true))) else {
      release(output)
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    return (Descriptor(rawValue: output), Descriptor(rawValue: input))
  }

  public mutating func splice(
    from input: Descriptor, to output: Descriptor, count: Int, _ token: Token
  ) {
    refuseInChain()
    let kind = SimulatedControl.Kind.splice(
      from: input.rawValue, to: output.rawValue, count: count)
    guard let control = control(token, kind) else { return }
    if let result = trySplice(input.rawValue, output.rawValue, count) {
      return inbox.finished(.control(control, Int32(clamping: result)))
    }
    handle(input.rawValue)?.splices.append(control)
    handle(output.rawValue)?.splices.append(control)
  }

  mutating func continueSplices(_ handle: SimulatedHandle) {
    let waiting = handle.splices
    handle.splices = []
    for control in waiting where !control.isOver {
      guard case .splice(let from, let to, let count) = control.kind else { continue }
      if let result = trySplice(from, to, count) {
        controlEnded(control, Int32(clamping: result))
      } else {
        handle.splices.append(control)
      }
    }
  }

  /// - Returns: bytes moved, 0 at the end of the input, a negated errno; nil: it has to wait.
  private func trySplice(_ from: Int32, _ to: Int32, _ count: Int) -> Int? {
    guard let source = handle(from), let sink = handle(to) else { return -Int(EBADF) }
    let moved: Int
    switch (source.thing, sink.thing) {
    case (.pipe(let pipe, isInput: false), .stream(let end)):
      if pipe.bytes.isEmpty { return pipe.hasWriter ? nil : 0 }
      moved = pipe.bytes.consume(atMost: count) { end.write($0) }
      pipe.changed()
    case (.stream(let end), .pipe(let pipe, isInput: true)):
      moved = fill(pipe, atMost: count) { end.read(into: $0) }
    case (.pipe(let first, isInput: false), .pipe(let second, isInput: true)):
      if first.bytes.isEmpty && first.hasWriter { return nil }
      moved = fill(second, atMost: count) { first.bytes.move(to: $0) }
      first.changed()
    case (.file(let file), .pipe(let pipe, isInput: true)):
      moved = fill(pipe, atMost: count) { file.readOn(into: $0) }
    case (.pipe(let pipe, isInput: false), .file(let file)):
      if pipe.bytes.isEmpty { return pipe.hasWriter ? nil : 0 }
      moved = pipe.bytes.consume(atMost: count) { file.writeOn($0) }
      pipe.changed()
    default: return -Int(EINVAL)
    }
    return moved == -Int(EAGAIN) ? nil : moved
  }

  /// Puts into a pipe what `read` gives, as much as there is room for.
  private func fill(
    _ pipe: SimulatedPipe, atMost count: Int, _ read: (UnsafeMutableRawBufferPointer) -> Int
  ) -> Int {
    if !pipe.hasReader { return -Int(EPIPE) }
    let length = min(count, pipe.room)
    guard length > 0 else { return count == 0 ? 0 : -Int(EAGAIN) }
    return withUnsafeTemporaryAllocation(byteCount: length, alignment: 1) { room in
      let got = read(room)
      guard got > 0 else { return got }
      pipe.bytes.append(UnsafeRawBufferPointer(rebasing: room[..<got]))
      pipe.changed()
      return got
    }
  }
}
