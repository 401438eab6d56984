// The retire lane cuts segments at their last committed block and closes them. Everything
// acknowledged in them is durable before they get here, so a failure is told and stepped over; a
// segment that holds nothing is removed.
//
// TRAP: (file) the steps are this machine's own, one operation at a time by lane; a result of the
// kernel decides which step follows, by value.

internal import Glibc
internal import MillraceEngine

extension Journal {
  mutating func nextRetireOperation() -> JournalOperation? {
    if retire.submitted { return nil }
    if retire.step == .idle {
      // A file is not cut or closed under an operation of another lane.
      guard let next = retired.peek(), !isFilling(next.number) else { return nil }
      _ = retired.pop()
      retire.current = next
      // A segment that goes away needs no cut. With `none` the content is not yet on the device.
      retire.step = next.used == 0 || next.isLost ? .close : .syncContent
    }
    retire.submitted = true
    let file = retire.current.file
    switch retire.step {
    case .syncContent: return .sync(file: file, dataOnly: true)
    case .truncate: return .truncate(file: file, length: retire.current.used)
    case .syncLength: return .sync(file: file, dataOnly: false)
    case .close: return .close(file: file)
    case .unlink:
      let path = paths.segment(
        .retire, worker: configuration.worker, number: retire.current.number)
      return .unlink(path: path)
    case .idle:
      preconditionFailure("a started retirement has a step")
    }
  }

  mutating func completedRetire(_ result: Int32) {
    precondition(retire.submitted, "a completion without an operation")
    retire.submitted = false
    if result == -EINTR && retire.step != .close { return }
    if result < 0 {
      counters.retireFailures &+= 1
      notices.push(.retireFailed(code: -result))
    }
    switch retire.step {
    case .syncContent: retire.step = .truncate
    case .truncate: retire.step = .syncLength
    case .syncLength: retire.step = .close
    case .close:
      retire.step = retire.current.used == 0 && !retire.current.isLost ? .unlink : .idle
    case .unlink: retire.step = .idle
    case .idle: preconditionFailure("a completion without a retirement")
    }
  }
}
