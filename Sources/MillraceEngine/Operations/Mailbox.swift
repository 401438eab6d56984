// How engines of different threads tell each other things: a bounded box that any thread may put
// messages in. Between two rings the kernel carries the message instead (IORING_OP_MSG_RING).

import CLinux
import Glibc
import Synchronization

/// The receiving end of `post`, for other threads. Lives as long as somebody holds it, engine or
/// not; of an engine that has ended it keeps nothing open.
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
    /// Nothing more is put in; what is there is still delivered.
    var isRefusing = false
    /// The first message was put in by a ring that will wake this one with its next submission,
    /// which may be late: who comes after it does not rely on that.
    var awaitsRing = false
    /// A duplicate of the ring's descriptor, so that the number cannot come to mean another ring
    /// while a ring may still name it; -1 where messages go through memory.
    var ring: Int32
    /// Entries of other rings that name `ring` and have not completed.
    var carriers = 0
  }

  /// Who wakes the engine for a message.
  enum Wake {
    /// It is awake, or somebody else wakes it.
    case nobody
    /// Whoever put the message in, by `wake`.
    case putter
    /// The putter's ring, by an entry that names this descriptor; `carried` must follow.
    case ring(Int32)
  }

  private let state: Mutex<State>
  /// What `Waker.wake` takes. The engine's: good until `close`.
  private let wakeNumber: Int32
  /// True until `close`, held while the engine is woken, and never taken by the engine that wakes: an
  /// engine on the same CPU runs before the wake has returned, and would spin on a lock that `takeAll`
  /// wants too. A message to another thread and back cost 25 µs of CPU that way, and 2.6 now.
  private let mayWake = Mutex(true)

  init(waking number: Int32, ring: Int32) {
    state = Mutex(State(ring: ring < 0 ? -1 : fcntl(ring, F_DUPFD_CLOEXEC, 0)))
    wakeNumber = number
  }

  /// An entry that named the ring may never have completed: its own ring has ended with it.
  deinit {
    state.withLock { if $0.ring >= 0 { Glibc.close($0.ring) } }
  }

  /// Puts a message in from any thread, without an engine of one's own.
  /// - Returns: 0, or a negated errno: ENOBUFS when full, ESHUTDOWN when the engine has ended or
  ///   refuses messages.
  public func put(_ value: Int32, _ token: Token) -> Int32 {
    let (code, wake) = insert(value, token, byRing: false)
    if case .putter = wake { self.wake() }
    return code
  }

  /// Puts a message in without waking the engine.
  /// - Parameter byRing: the caller has a ring that can wake it.
  func insert(_ value: Int32, _ token: Token, byRing: Bool) -> (code: Int32, wake: Wake) {
    state.withLock { state in
      if state.isClosed || state.isRefusing { return (-ESHUTDOWN, .nobody) }
      guard state.messages.count < Self.capacity else { return (-ENOBUFS, .nobody) }
      state.messages.append(Message(token: token, value: value))
      let byRing = byRing && state.ring >= 0
      guard state.messages.count == 1 || (state.awaitsRing && !byRing) else {
        return (0, .nobody)
      }
      state.awaitsRing = byRing
      guard byRing else { return (0, .putter) }
      state.carriers += 1
      return (0, .ring(state.ring))
    }
  }

  /// The entry of a ring that was to wake the engine has completed.
  /// - Parameter succeeded: false: the engine is woken here instead.
  /// - Returns: true if the engine has ended.
  func carried(succeeded: Bool) -> Bool {
    let hasEnded = state.withLock { state in
      state.carriers -= 1
      if state.isClosed { Self.closeUnused(&state) }
      return state.isClosed
    }
    if !succeeded { wake() }
    return hasEnded
  }

  /// Wakes the engine, unless it has ended: the number of its descriptor may be another's by then,
  /// which is why the lock is held.
  func wake() {
    mayWake.withLock { if $0 { Waker.wake(wakeNumber) } }
  }

  /// Whatever is sent from now on ends with ESHUTDOWN; what was taken until then the engine's next
  /// turns still report. For an engine whose messages own something, before its end: what nobody
  /// takes any more would be lost with it.
  public func refuse() { state.withLock { $0.isRefusing = true } }

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

  /// The engine has ended. Its ring goes with it, or when no entry of another names it any more.
  func close() {
    mayWake.withLock { $0 = false }
    state.withLock {
      $0.isClosed = true
      $0.messages = []
      Self.closeUnused(&$0)
    }
  }

  private static func closeUnused(_ state: inout sending State) {
    guard state.carriers == 0, state.ring >= 0 else { return }
    Glibc.close(state.ring)
    state.ring = -1
  }
}
