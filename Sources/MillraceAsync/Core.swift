// What both sides share: the queue of commands from tasks to the engine's thread, its bounds, and the
// state of its life. Everything here is touched under one mutex or is atomic; nothing waits.

import MillraceEngine
import Synchronization

/// What a command names.
enum Kind: Sendable { case connection, listener, file }

/// What one file operation does.
enum FileWork: Sendable {
  case read(Int, Int64)
  case write([UInt8], Int64, durable: Bool)
  case synchronize(dataOnly: Bool)
  case truncate(Int64)
}

/// What tasks ask of the engine's thread.
enum Command: Sendable {
  case listen(Ticket, SocketAddress, Int32, Bool)
  case accept(Ticket, UInt64)
  case connect(Ticket, SocketAddress)
  case receive(Ticket, UInt64)
  case send(Ticket, UInt64, [UInt8], finishes: Bool)
  case open(Ticket, String, Int32, UInt32)
  case file(Ticket, UInt64, FileWork)
  case sleep(Ticket, Int64)
  case counters(Ticket)
  case cancel(Ticket)
  case close(Ticket, Kind, UInt64)
  /// Close, and nobody waits for it.
  case abandon(Kind, UInt64)
  case end
}

/// What the engine's thread answers.
enum Reply: Sendable {
  case done
  /// nil: the end of the stream.
  case bytes([UInt8]?)
  case socket(UInt64, SocketAddress?)
  case file(UInt64)
  case counters(EngineCounters)
}

/// The part of an `AsyncEngine` that its thread holds too.
final class Core: Sendable {
  private enum Life { case running, ending, ended }

  private struct State {
    var life = Life.running
    var commands: [Command] = []
    var waker: Waker?
    var waitingForEnd: [CheckedContinuation<Void, Never>] = []
  }

  let limits: AsyncLimits
  private let state = Mutex(State())
  private let underWay = Atomic<Int>(0)

  init(limits: AsyncLimits) { self.limits = limits }

  // MARK: The side of tasks

  /// Sends a command and waits for its reply; the task's cancellation is sent after it.
  func perform(_ command: (Ticket) -> Command) async throws -> Reply {
    let ticket = Ticket()
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        submit(command(ticket), ticket, continuation, limited: true)
      }
    } onCancel: {
      ticket.cancel { enqueue(.cancel(ticket)) }
    }
  }

  /// Closes and waits for it, whatever becomes of the task: a close cannot be taken back.
  func close(_ kind: Kind, _ id: UInt64) async {
    let ticket = Ticket()
    _ = try? await withCheckedThrowingContinuation { continuation in
      submit(.close(ticket, kind, id), ticket, continuation, limited: false)
    }
  }

  /// Closes what nobody holds any more. As many of these can wait as things were open.
  func abandon(_ kind: Kind, _ id: UInt64) { enqueue(.abandon(kind, id)) }

  private func submit(
    _ command: Command, _ ticket: Ticket,
    _ continuation: CheckedContinuation<Reply, any Error>, limited: Bool
  ) {
    let count = underWay.add(1, ordering: .relaxed).newValue
    if limited && count > limits.operations {
      underWay.subtract(1, ordering: .relaxed)
      return continuation.resume(throwing: AsyncEngineFailure.busy(limit: "operations"))
    }
    switch ticket.submit(continuation, { enqueue(command) }) {
    case nil: return
    case let refusal?:
      underWay.subtract(1, ordering: .relaxed)
      continuation.resume(throwing: refusal)
    }
  }

  /// - Returns: false when the engine takes no commands any more.
  @discardableResult
  private func enqueue(_ command: Command) -> Bool {
    let (taken, waker) = state.withLock { state -> (Bool, Waker?) in
      guard state.life == .running else {
        // What is under way ends anyhow, and what is open is closed.
        return (false, nil)
      }
      state.commands.append(command)
      return (true, state.commands.count == 1 ? state.waker : nil)
    }
    waker?.wake()
    return taken
  }

  /// Asks the thread to end, and to say so.
  func requestEnd(_ continuation: CheckedContinuation<Void, Never>? = nil) {
    let (over, waker) = state.withLock { state -> (Bool, Waker?) in
      if state.life == .ended { return (true, nil) }
      if let continuation { state.waitingForEnd.append(continuation) }
      guard state.life == .running else { return (false, nil) }
      state.life = .ending
      state.commands.append(.end)
      return (false, state.waker)
    }
    if over { continuation?.resume() }
    waker?.wake()
  }

  // MARK: The side of the engine's thread

  func started(_ waker: Waker) { state.withLock { $0.waker = waker } }

  /// Takes all commands, in order; the array given is emptied and used for the next ones.
  func takeCommands(_ into: inout [Command]) {
    into.removeAll(keepingCapacity: true)
    state.withLock { swap(&$0.commands, &into) }
  }

  func finish(_ ticket: Ticket, _ result: Result<Reply, any Error>) {
    guard let waiting = ticket.take() else { return }
    // Before the task runs, so that it finds room for what it does next.
    underWay.subtract(1, ordering: .relaxed)
    waiting.resume(with: result)
  }

  /// The engine is gone.
  func ended() {
    let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      state.life = .ended
      state.waker = nil
      state.commands = []
      defer { state.waitingForEnd = [] }
      return state.waitingForEnd
    }
    for continuation in waiting { continuation.resume() }
  }

  static func mismatch() -> Never { preconditionFailure("the reply to another operation") }
}
