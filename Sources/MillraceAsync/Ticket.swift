// A ticket is one operation between the task that waits for it and the thread that does it. It decides
// the race between submission and cancellation, and gives its task up exactly once.

import Synchronization

final class Ticket: Sendable {
  private enum Phase {
    case new
    /// Cancelled before it was submitted.
    case refused
    case submitted(CheckedContinuation<Reply, any Error>)
    case over
  }

  private let phase = Mutex(Phase.new)
  /// What it waits for. SAFETY: touched by the engine's thread only.
  nonisolated(unsafe) var place = Place.nowhere
  /// The task was cancelled while it waited. SAFETY: touched by the engine's thread only.
  nonisolated(unsafe) var isCancelled = false

  /// Where the engine's thread keeps an operation.
  enum Place {
    case nowhere
    case accept(UInt64)
    case connect(UInt64)
    case receive(UInt64)
    case send(UInt64)
    case file
    case sleep
  }

  /// Runs `enqueue` under the ticket's lock, so that a cancellation comes after it in the queue.
  /// - Returns: why not, or nil.
  func submit(
    _ continuation: CheckedContinuation<Reply, any Error>, _ enqueue: () -> Bool
  ) -> (any Error)? {
    phase.withLock { phase -> (any Error)? in
      guard case .new = phase else { return CancellationError() }
      guard enqueue() else {
        phase = .over
        return AsyncEngineFailure.ended
      }
      phase = .submitted(continuation)
      return nil
    }
  }

  /// Runs `enqueue` if the operation is under way; refuses it if it is still to come.
  func cancel(_ enqueue: () -> Void) {
    phase.withLock { phase in
      switch phase {
      case .new: phase = .refused
      case .submitted: enqueue()
      case .refused, .over: break
      }
    }
  }

  /// The task that waits, once: to be resumed by whoever took it.
  func take() -> CheckedContinuation<Reply, any Error>? {
    phase.withLock { phase in
      guard case .submitted(let continuation) = phase else { return nil }
      phase = .over
      return continuation
    }
  }
}
