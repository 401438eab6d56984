// Reading the configuration again while the workers serve: it is checked whole, compiled, and given to all of
// them, or nothing is changed. A thread of its own does that, since names are resolved and files read; asked for
// while it is at work, it does it once more afterwards, however often it was asked.

import Configuration
import Glibc
import Logging
import MillraceEngine
import Synchronization
import TLS

/// What the first plan was made from, and what the process has besides.
struct ReloadParts {
  let source: ConfigurationSource
  /// As it was read; the limits are the process's own.
  let configuration: ProxyConfiguration
  /// With what the process could afford.
  let started: ProxyConfiguration
  let preflight: Preflight
  let maker: PlanMaker
  let board: ControlBoard
  let logger: Logger
  /// Of the engines.
  let descriptorLimit: Int
  /// Of each worker.
  let users: [PlanUsers]
  let notifier: ServiceNotifier?
  /// Told of each configuration that is in force.
  var life: ProcessLife?
  /// Copies of the sockets, for the next process; nil: none are kept.
  var copies: SocketCopies?
  /// Paths of sockets whose files are not this process's.
  var foreignPaths: Set<String> = []
}

/// Gives a running process its next configurations.
package final class Reloader: Sendable {
  private struct Requests {
    var reasons: [String] = []
    var answers: [@Sendable (ReloadOutcome) -> Void] = []
    var isStopping = false
    /// Files of the UNIX sockets that the process listens on, by path.
    var files: [String: UnixSocketFile] = [:]
  }

  /// Paths of sockets that were handed down, whose files are not this process's.
  private let foreignPaths: Set<String>

  private let requests: Mutex<Requests>
  private let signal: ThreadSignal
  private let users: [PlanUsers]
  private let newest = Atomic<Int>(1)

  /// Starts the thread.
  init(_ parts: ReloadParts) throws(SystemFailure) {
    users = parts.users
    foreignPaths = parts.foreignPaths
    signal = try ThreadSignal()
    requests = Mutex(Requests())
    noteFiles(parts.preflight.listenerAddresses)
    // SAFETY: given to the thread, and used by it alone from here on.
    nonisolated(unsafe) let parts = parts
    _ = try WorkerThread.start(name: "millrace-reload", cpu: nil) { [self] in
      var work = ReloadWork(parts)
      run(&work)
    }
  }

  // MARK: From any thread

  /// Asks for a reload. - Parameter answer: called once with what came of it, on the thread that reloads.
  package func request(
    reason: String, _ answer: (@Sendable (ReloadOutcome) -> Void)? = nil
  ) {
    let isStopping = requests.withLock { requests in
      if requests.isStopping { return true }
      if !requests.reasons.contains(reason) { requests.reasons.append(reason) }
      if let answer { requests.answers.append(answer) }
      return false
    }
    if isStopping {
      answer?(ReloadOutcome(.stopped, generation: generation))
    } else {
      signal.call()
    }
  }

  /// The number of the newest generation.
  package var generation: Int { newest.load(ordering: .acquiring) }

  /// The generations that are in use, the oldest first, and how many connections each still has.
  package var generations: [(generation: Int, connections: Int)] {
    var counts: [Int: Int] = [:]
    for each in users.flatMap(\.connections) {
      counts[each.generation, default: 0] += each.connections
    }
    return counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  /// No reload begins any more, and one that is at work changes nothing that is not given to the workers yet.
  func stop() {
    requests.withLock { $0.isStopping = true }
    signal.call()
  }

  /// Removes the files of the UNIX sockets that the process listens on. At its end.
  /// - Parameter addresses: of sockets that another process serves on now, whose files are its.
  func removeFiles(except addresses: Set<String> = []) {
    requests.withLock { requests in
      for (path, file) in requests.files where !addresses.contains("unix:" + path) { file.remove() }
      requests.files = [:]
    }
  }

  // MARK: On its own thread

  var isStopping: Bool { requests.withLock { $0.isStopping } }

  private func run(_ work: inout ReloadWork) {
    work.followFiles()
    while !isStopping {
      signal.wait(
        beside: work.watch.descriptor,
        nanoseconds: work.watch.deadline == .max
          ? .max : work.watch.deadline - SystemClock.monotonicNanoseconds())
      let isChanged = work.watch.look(now: SystemClock.monotonicNanoseconds())
      let (reasons, answers) = requests.withLock { requests in
        defer { (requests.reasons, requests.answers) = ([], []) }
        return (requests.reasons + (isChanged ? ["files"] : []), requests.answers)
      }
      guard !reasons.isEmpty else { continue }
      let outcome =
        isStopping
        ? ReloadOutcome(.stopped, generation: generation)
        : work.reload(reasons.joined(separator: ","), for: self)
      for answer in answers { answer(outcome) }
    }
    let left = requests.withLock { requests in
      defer { requests.answers = [] }
      return requests.answers
    }
    for answer in left { answer(ReloadOutcome(.stopped, generation: generation)) }
  }

  /// A generation has been given to the workers, which listen on these addresses from now on.
  func note(_ generation: Int, _ addresses: [SocketAddress]) {
    newest.store(generation, ordering: .releasing)
    noteFiles(addresses)
  }

  private func noteFiles(_ addresses: [SocketAddress]) {
    let paths = Set(addresses.compactMap(\.unixPath)).subtracting(foreignPaths)
    requests.withLock { requests in
      // Who connects from here on finds none rather than one that is about to close.
      for (path, file) in requests.files where !paths.contains(path) {
        file.remove()
        requests.files[path] = nil
      }
      for path in paths where requests.files[path] == nil {
        requests.files[path] = UnixSocketFile(path)
      }
    }
  }
}
