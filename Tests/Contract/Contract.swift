// The contract of an engine, in tests that run on each of them. One after the other: descriptor
// numbers, resource limits and the process's memory are shared by all.

import Glibc
import MillraceEngine
import Testing

@Suite(.serialized, Counted()) struct Contract {
  /// The engines that this machine lets run, or those of them that MILLRACE_ENGINES names.
  static let engines = EngineKind.allCases.filter { kind in
    guard kind != .uring || ringFailure == nil else { return false }
    guard let named = getenv("MILLRACE_ENGINES") else { return true }
    return String(cString: named).split(separator: ",").contains { $0 == kind.rawValue }
  }
  /// Those of them that are the kernel's: for tests whose subject is a property of the process.
  static let kernelEngines = engines.filter { $0 != .simulated }

  /// Engines that do not do every operation of the seam yet and would trap at the others. Empty in
  /// the end: `theSuiteRunsOnEveryEngine` fails until then.
  private static let unfinished: Set<EngineKind> = []
  static let completeEngines = engines.filter { !unfinished.contains($0) }
  static let completeKernelEngines = kernelEngines.filter { !unfinished.contains($0) }

  static let ringFailure: String? = {
    do throws(EngineFailure) {
      _ = try Uring(Harness.options)
      return nil
    } catch {
      return "\(error)"
    }
  }()

  @Test(.enabled(if: ringFailure == nil, "io_uring is refused: the suite ran on the others only"))
  func theSuiteRunsOnEveryEngine() {
    #expect(Self.engines == EngineKind.allCases || getenv("MILLRACE_ENGINES") != nil)
    #expect(Self.completeEngines == Self.engines, "an engine does not do everything yet")
  }
}
