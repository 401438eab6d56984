// What others still hold of an engine that has ended: its waker, its mailbox. Neither may reach what
// has been given the engine's numbers since, and neither may keep the kernel's part of it alive.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct EndedEngines {
    /// The number of the eventfd was all that a waker had.
    @Test(.tags(.failure), arguments: kernelEngines)
    func aWakeAfterTheEndReachesNobody(_ kind: EngineKind) throws {
      // Theirs are the numbers that come free with the engine's end.
      let (wakers, count) = try wakersOfAnEndedEngine(kind)
      let later = (0..<count + 8).map { _ in eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) }
      defer { for number in later { Glibc.close(number) } }
      for waker in wakers { waker.wake() }
      for number in later {
        var value: UInt64 = 0
        #expect(Glibc.read(number, &value, 8) == -1, "a wake reached descriptor \(number)")
        #expect(errno == EAGAIN)
      }
    }

    /// What shares the eventfd gives it back in the end.
    @Test(arguments: kernelEngines)
    func theLastWakerClosesTheDescriptor(_ kind: EngineKind) throws {
      // The first engine of a process may leave descriptors of libraries behind.
      _ = try wakersOfAnEndedEngine(kind)
      let before = openDescriptors()
      var wakers = try wakersOfAnEndedEngine(kind).wakers
      #expect(wakers.count == 3)
      #expect(openDescriptors() == before + 1)
      wakers = []
      #expect(openDescriptors() == before)
    }
  }
}

/// - Returns: its wakers, and how many descriptors it had.
private func wakersOfAnEndedEngine(_ kind: EngineKind) throws -> (wakers: [Waker], count: Int) {
  let before = openDescriptors()
  let stage = try Stage(kind)
  stage.turn()
  let wakers = (0..<3).map { _ in stage.engine.waker }
  return (wakers, openDescriptors() - before)
}
