// How engines of different threads tell each other things: a bounded box that any thread may put
// messages in. Between two rings the kernel carries the message instead (IORING_OP_MSG_RING).

import CLinux
import Glibc
import Synchronization

/// The receiving end of `post`, for other threads. Lives as long as somebody holds it, engine or
/// not.
public final class Mailbox: Sendable {
  /// Messages that may wait, 1 and up.
  public static let capacity = 1024

  struct Message {
    let token: Token
    let value: Int32
  }

  private struct State {
    var messages: [Message] = []
    var isClosed = false
    /// The first message was put in by a ring that will wake this one with its next submission,
    /// which may be late: who comes after it does not rely on that.
    var awaitsRing = false
  }

  private let state: Mutex<State>
  private let waker: Waker
  /// A duplicate of the ring's descriptor, so that the number cannot come to mean another ring
  /// while somebody holds this mailbox; -1 where messages go through memory.
  let ringDescriptor: Int32

  init(waker: Waker, ring: Int32) {
    state = Mutex(State())
    self.waker = waker
    ringDescriptor = ring < 0 ? -1 : fcntl(ring, F_DUPFD_CLOEXEC, 0)
  }

  deinit {
    if ringDescriptor >= 0 { Glibc.close(ringDescriptor) }
  }

  /// Puts a message in from any thread, without an engine of one's own.
  /// - Returns: 0, or a negated errno: ENOBUFS when full, ESHUTDOWN when the engine has ended.
  public func put(_ value: Int32, _ token: Token) -> Int32 {
    let (code, mustWake) = insert(value, token, byRing: false)
    if mustWake { wake() }
    return code
  }

  /// Puts a message in without waking the engine.
  /// - Parameter byRing: the caller's ring will wake it, if it must be.
  /// - Returns: whether it must be woken: it may sleep and nobody else has.
  func insert(
    _ value: Int32, _ token: Token, byRing: Bool
  ) -> (code: Int32, mustWake: Bool) {
    state.withLock { state in
      if state.isClosed { return (-ESHUTDOWN, false) }
      guard state.messages.count < Self.capacity else { return (-ENOBUFS, false) }
      state.messages.append(Message(token: token, value: value))
      let mustWake = state.messages.count == 1 || (state.awaitsRing && !byRing)
      if mustWake { state.awaitsRing = byRing }
      return (0, mustWake)
    }
  }

  /// Wakes the engine, unless it has ended: the number of its descriptor may be another's by then,
  /// which is why the lock is held.
  func wake() {
    state.withLock { if !$0.isClosed { waker.wake() } }
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }

  /// Takes all messages, in order, into an empty list; the engine's side.
  /// - Returns: how many there are.
  func takeAll(_ into: inout [Message]) -> Int {
    state.withLock { state in
      state.awaitsRing = false
      guard !state.messages.isEmpty else { return 0 }
      swap(&state.messages, &into)
      return into.count
    }
  }

  /// The engine has ended.
  func close() {
    state.withLock {
      $0.isClosed = true
      $0.messages = []
    }
  }
}
