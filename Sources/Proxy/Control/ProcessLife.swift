// What the process's own thread and the control thread tell each other: where the process is in its life, the
// configuration in force, and that an operator asks for the end.

import Configuration
import Glibc
import MillraceEngine
import Synchronization

/// Where a process is in its life.
enum ProcessPhase: String, Sendable {
  /// Its listeners are not open yet.
  case starting
  case serving
  /// It was told to stop; what is under way is finished.
  case draining
}

/// Who asks for the end.
enum DrainRequest: Equatable, Sendable {
  case admin
  /// A process that has taken this one's place.
  case upgrade(process: Int64)
}

/// Shared by both threads.
final class ProcessLife: Sendable {
  private struct State {
    var phase = ProcessPhase.starting
    var configuration: ProxyConfiguration
    var generation = 1
    var wantedDrain: DrainRequest?
    var reloader: Reloader?
    var accessLog: AccessLog?
  }

  private let state: Mutex<State>
  /// Wall clock, in microseconds since 1970, and monotonic, in nanoseconds.
  let startedMicroseconds = SystemClock.wallMicroseconds()
  let startedNanoseconds = SystemClock.monotonicNanoseconds()

  /// Wakes the process's own thread, which waits for signals. Its default action is to be ignored, so that a
  /// stray one does no harm.
  static let wakeSignal = SIGURG

  init(_ configuration: ProxyConfiguration) {
    state = Mutex(State(configuration: configuration))
  }

  /// A drain that was asked for counts from then on: who was told of it must not hear anything else.
  var phase: ProcessPhase { state.withLock { $0.wantedDrain == nil ? $0.phase : .draining } }
  var configuration: ProxyConfiguration { state.withLock { $0.configuration } }
  /// 1 from the start; one more with each configuration that takes the place of another.
  var generation: Int { state.withLock { $0.generation } }

  func enter(_ phase: ProcessPhase) { state.withLock { $0.phase = phase } }

  /// Who reads the configuration again; nil: it cannot be.
  var reloader: Reloader? { state.withLock { $0.reloader } }
  func attach(_ reloader: Reloader) { state.withLock { $0.reloader = reloader } }

  /// Where the lines of the access log go; nil: it could not be made.
  var accessLog: AccessLog? { state.withLock { $0.accessLog } }
  func attach(_ accessLog: AccessLog) { state.withLock { $0.accessLog = accessLog } }

  /// Another configuration is in force. - Parameter generation: its number.
  func installed(_ configuration: ProxyConfiguration, generation: Int) {
    state.withLock {
      $0.configuration = configuration
      $0.generation = generation
    }
  }

  /// Asks the process's own thread to drain. - Returns: false if it does so already, or has not started.
  func askToDrain(for request: DrainRequest = .admin) -> Bool {
    let isNew = state.withLock { state in
      guard state.phase == .serving, state.wantedDrain == nil else { return false }
      state.wantedDrain = request
      return true
    }
    if isNew { kill(getpid(), Self.wakeSignal) }
    return isNew
  }

  /// The drain that was asked for and has not begun. It is told once.
  func takeDrainRequest() -> DrainRequest? {
    state.withLock { state in
      guard state.phase == .serving, let request = state.wantedDrain else { return nil }
      state.wantedDrain = nil
      state.phase = .draining
      return request
    }
  }
}
