// The contract of an engine, in tests that run on each of them. One after the other: descriptor
// numbers, resource limits and the process's memory are shared by all.

import MillraceEngine
import Testing

@Suite(.serialized) struct Contract {
  /// The engines that this machine lets run.
  static let engines: [EngineKind] = ringFailure == nil ? [.uring, .epoll] : [.epoll]

  static let ringFailure: String? = {
    do throws(EngineFailure) {
      _ = try Uring(Stage.options)
      return nil
    } catch {
      return "\(error)"
    }
  }()

  @Test(.enabled(if: ringFailure == nil, "io_uring is refused: the suite ran on epoll only"))
  func theSuiteRunsOnBothEngines() { #expect(Self.engines == [.uring, .epoll]) }
}
