// The life of one load thread: its engine, its worker, and its tally handed over at the end. The one
// place where the engine's type is chosen: below it everything is specialised.

import CLinux
import MillraceEngine
import Synchronization
import TLS

enum LoadThread {
  static func run(
    _ kind: EngineKind, _ parameters: LoadThreadParameters, _ gate: EngineGate, _ tallies: TallyBox
  ) {
    // The kernel may be late for a sleeper by 50 µs to save wake-ups (timer_slack_ns, prctl(2)), which
    // at 20,000 requests per second is the gap between two of them.
    clinux_timer_slack(1)
    do throws(EngineFailure) {
      switch kind {
      case .uring:
        let engine = try Uring(parameters.options)
        guard gate.pass(parameters.index) else { return }
        serve(parameters, engine, tallies)
      case .epoll:
        let engine = try Epoll(parameters.options)
        guard gate.pass(parameters.index) else { return }
        serve(parameters, engine, tallies)
      case .simulated:
        preconditionFailure("a simulated load runs in a SimulatedWorld, not on a thread")
      }
    } catch {
      return gate.fail(error)
    }
    parameters.board.finished.add(1, ordering: .releasing)
  }

  private static func serve<E: Engine & ~Copyable>(
    _ parameters: LoadThreadParameters, _ engine: consuming E, _ tallies: TallyBox
  ) {
    parameters.board.add(engine.waker)
    do throws(TLSFailure) {
      var worker = try LoadWorker<E>(parameters, engine: engine)
      worker.run()
      tallies.add(worker.end())
    } catch {
      parameters.board.refuse("cannot set up TLS: \(error)")
      parameters.board.settled.add(1, ordering: .releasing)
    }
  }
}
