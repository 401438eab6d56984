// A reload that an operator asks for through the admin server: what came of it is the answer.

import Admin
import Configuration
import MillraceEngine
import Synchronization

extension AdminService {
  /// How long an answer waits; others wait behind it. Beyond it the reload goes on: names may take long to be
  /// resolved.
  private static let waitMilliseconds = 1_000

  private typealias Member = JSONValue.Member

  func reload() -> AdminResponse {
    guard let reloader = life.reloader else {
      return .problem(501, "this process cannot reload its configuration", hint: "restart it")
    }
    let answer = ReloadAnswer()
    reloader.request(reason: "admin") { answer.set($0) }
    for _ in 0..<Self.waitMilliseconds {
      if let outcome = answer.outcome { return Self.response(to: outcome) }
      Pause.microseconds(1000)
    }
    return .json(
      .object([
        Member("result", .text("pending")),
        Member("message", .text("the reload is still at work; the log will say what came of it")),
      ]), status: 202)
  }

  private static func response(to outcome: ReloadOutcome) -> AdminResponse {
    var changes: [String] = []
    let (result, status, message): (String, Int, String) =
      switch outcome.result {
      case .installed(let list):
        ("installed", 200, note(&changes, list, "generation \(outcome.generation) is in force"))
      case .unchanged: ("unchanged", 200, "nothing has changed")
      case .pending(let list):
        (
          "pending", 202,
          note(
            &changes, list,
            "generation \(outcome.generation) is not in force on all workers yet")
        )
      case .rejected:
        ("rejected", 409, "refused; generation \(outcome.generation) stays in force")
      case .stopped: ("stopped", 409, "the process is stopping")
      }
    var members = [
      Member("result", .text(result)), Member("message", .text(message)),
      Member("generation", .count(outcome.generation)),
      Member("changes", .array(changes.map { .text($0) })),
      Member("problems", .array(outcome.problems.map { .text($0.description) })),
    ]
    if status >= 400 {
      let lines = [message] + outcome.problems.map(\.description)
      members.append(Member("error", .text(lines.joined(separator: "\n"))))
    }
    return .json(.object(members), status: status)
  }

  private static func note(
    _ changes: inout [String], _ list: [String], _ message: String
  ) -> String {
    changes = list
    return message
  }
}

/// What the thread that reloads leaves for the one that answers.
private final class ReloadAnswer: Sendable {
  private let stored = Mutex<ReloadOutcome?>(nil)
  func set(_ outcome: ReloadOutcome) { stored.withLock { $0 = outcome } }
  var outcome: ReloadOutcome? { stored.withLock { $0 } }
}
