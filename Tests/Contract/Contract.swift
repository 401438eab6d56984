// The contract of an engine, in tests that run on each of them. One after the other: descriptor
// numbers, resource limits and the process's memory are shared by all.

import MillraceEngine
import Testing

@Suite(.serialized, Counted()) struct Contract {
  /// The engines that this machine lets run.
  static let engines: [EngineKind] = kernelEngines + [.simulated]
  /// Those of them that are the kernel's: for tests whose subject is a property of the process.
  static let kernelEngines: [EngineKind] = ringFailure == nil ? [.uring, .epoll] : [.epoll]

  static let ringFailure: String? = {
    do throws(EngineFailure) {
      _ = try Uring(Stage.options)
      return nil
    } catch {
      return "\(error)"
    }
  }()

  @Test(.enabled(if: ringFailure == nil, "io_uring is refused: the suite ran on the others only"))
  func theSuiteRunsOnEveryEngine() { #expect(Self.engines == EngineKind.allCases) }
}
