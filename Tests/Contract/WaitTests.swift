// The turn: deadlines, wakes, clocks.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Waiting {
    @Test(arguments: engines, [Int64.min, -1, 0])
    func aDeadlineInThePastDoesNotWait(_ kind: EngineKind, _ deadline: Int64) throws {
      try withHarness(kind) { harness in
        let start = SystemClock.monotonicNanoseconds()
        for _ in 0..<100 { harness.engine.wait(until: deadline) }
        #expect(SystemClock.monotonicNanoseconds() - start < 1_000_000_000)
        #expect(harness.engine.next() == nil)
      }
    }

    @Test(arguments: engines, [Int64(1), 999_999, 1_000_000, 1_000_001, 20_000_000])
    func aDeadlineIsNeverReportedEarly(_ kind: EngineKind, _ ahead: Int64) throws {
      try withHarness(kind) { harness in
        harness.engine.refreshClocks()
        let deadline = harness.engine.now + ahead
        // A signal may end a wait; a deadline may take as many waits as it likes, but few.
        var waits = 0
        while harness.engine.now < deadline && waits < 10 {
          harness.engine.wait(until: deadline)
          waits += 1
        }
        #expect(harness.engine.now >= deadline)
        #expect(waits <= 2)
      }
    }

    @Test(arguments: kernelEngines, [Int64.max, Int64.max - 1, nil])
    func aWakeEndsAWaitThatHasNoEnd(_ kind: EngineKind, _ deadline: Int64?) throws {
      try withHarness(kind) { harness in
        let waker = harness.engine.waker
        let start = SystemClock.monotonicNanoseconds()
        let thread = try WorkerThread.start(name: "waker", cpu: nil) {
          usleep(20_000)
          waker.wake()
        }
        // The end of a former ring on this thread, as a signal, may interrupt a wait.
        var waits = 0
        while harness.engine.now - start < 15_000_000 && waits < 4 {
          harness.engine.wait(until: deadline)
          waits += 1
        }
        #expect(harness.engine.now - start >= 15_000_000)
        thread.join()
        #expect(harness.engine.next() == nil, "a wake is no completion")
      }
    }

    @Test(arguments: engines)
    func aWakeBeforeTheWaitIsNotLostAndCountsOnce(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        for _ in 0..<3 { harness.engine.waker.wake() }
        harness.engine.wait(until: nil)
        // And it is used up: the next wait lasts until its deadline.
        harness.engine.wait(until: harness.engine.now)
        harness.engine.refreshClocks()
        let deadline = harness.engine.now + 20_000_000
        var waits = 0
        while harness.engine.now < deadline {
          harness.engine.wait(until: deadline)
          waits += 1
        }
        #expect(waits <= 2)
      }
    }

    @Test(arguments: kernelEngines)
    func manyWakesFromManyThreadsAreAllSeen(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        for _ in 0..<50 {
          let waker = harness.engine.waker
          let threads = try (0..<4).map { _ in
            try WorkerThread.start(name: "waker", cpu: nil) { waker.wake() }
          }
          harness.engine.wait(until: nil)
          for thread in threads { thread.join() }
          harness.engine.wait(until: 0)
        }
      }
    }

    @Test(arguments: kernelEngines)
    func theClocksMoveWithTheTurnsOnly(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        harness.engine.wait(until: 0)
        let before = harness.engine.now
        usleep(2000)
        #expect(harness.engine.now == before)
        harness.engine.wait(until: 0)
        #expect(harness.engine.now >= before + 2_000_000)
      }
    }

    @Test func aThreadOfOursBlocksTheSignalsOfOthers() throws {
      var before = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &before)
      let box = UnsafeMutablePointer<sigset_t>.allocate(capacity: 1)
      box.initialize(to: sigset_t())
      let address = UInt(bitPattern: box)
      try WorkerThread.start(name: "a name that is cut off", cpu: nil) {
        pthread_sigmask(SIG_BLOCK, nil, UnsafeMutablePointer(bitPattern: address)!)
      }.join()
      #expect(sigismember(box, SIGTERM) == 1)
      #expect(sigismember(box, SIGSEGV) == 0)
      var after = sigset_t()
      pthread_sigmask(SIG_BLOCK, nil, &after)
      for signal: Int32 in 1...31 {
        let was = sigismember(&before, signal)
        #expect(sigismember(&after, signal) == was, "the maker's own mask, signal \(signal)")
      }
      box.deallocate()
    }
  }
}
