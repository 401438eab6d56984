// Processor time between two moments that lie between samples, and the processes that it is of.

import Glibc
import MillraceEngine
import Testing

@testable import Lab

@Suite struct MeterTests {
  private func sample(
    _ milliseconds: Int64, cpu: Double, user: Double, system: Double, idle: [Int: Double]
  )
    -> UsageSample
  {
    UsageSample(
      wallMicroseconds: milliseconds * 1000, processNanoseconds: cpu * 1e9, userTicks: user,
      systemTicks: system, idle: idle)
  }

  /// A second of samples, each 100 ms: half a CPU of the subject, a quarter of it in user mode, and of two
  /// CPUs the first is 80% busy, the second 20%.
  private var steady: [UsageSample] {
    (0...10).map { (i: Int) -> UsageSample in
      let n = Double(i)
      let ticks = Usage.ticksPerSecond / 10
      let idle: [Int: Double] = [0: 100 + n * ticks * 0.2, 1: n * ticks * 0.8]
      return sample(Int64(i) * 100, cpu: 3 + n * 0.05, user: 7 + n, system: n * 3, idle: idle)
    }
  }

  @Test func momentsBetweenSamplesAreInterpolated() throws {
    let usage = try #require(Usage.between(250_000, 750_000, steady))
    #expect(usage.seconds == 0.5)
    #expect(abs(usage.processSeconds - 0.25) < 1e-9)
    #expect(abs(usage.userSeconds - 0.0625) < 1e-9 && abs(usage.systemSeconds - 0.1875) < 1e-9)
    #expect(abs(usage.busySeconds[0]! - 0.4) < 1e-9)
    #expect(abs(usage.machineSeconds - 0.5) < 1e-9)
  }

  @Test func timeThatIsNotUniformIsCountedWhereItWas() throws {
    let t = Usage.ticksPerSecond / 10
    let bursts = [
      sample(0, cpu: 0, user: 0, system: 0, idle: [0: 0]),
      sample(100, cpu: 0, user: 0, system: 0, idle: [0: t]),
      sample(200, cpu: 0.1, user: 10, system: 0, idle: [0: t]),
      sample(300, cpu: 0.1, user: 10, system: 0, idle: [0: 2 * t]),
    ]
    let all = try #require(Usage.between(0, 300_000, bursts))
    #expect(all.processSeconds == 0.1 && all.userSeconds == 0.1 && all.systemSeconds == 0)
    let before = try #require(Usage.between(10_000, 100_000, bursts))
    #expect(before.processSeconds == 0 && before.userSeconds == 0)
    #expect(abs(before.machineSeconds) < 1e-9 && abs(all.machineSeconds - 0.1) < 1e-9)
    let half = try #require(Usage.between(150_000, 280_000, bursts))
    #expect(abs(half.processSeconds - 0.05) < 1e-9)
  }

  @Test func aPartThatWasNotSeenIsNotGuessed() {
    #expect(Usage.between(0, 1_000_000, steady) != nil)
    #expect(Usage.between(-20_000, 1_020_000, steady) != nil)
    #expect(Usage.between(-20_001, 500_000, steady) == nil)
    #expect(Usage.between(500_000, 1_020_001, steady) == nil)
    #expect(Usage.between(500_000, 500_000, steady) == nil)
    #expect(Usage.between(600_000, 500_000, steady) == nil)
    #expect(Usage.between(0, 1, []) == nil)
  }

  @Test func aProcessorThatCameLaterCountsFromThere() throws {
    var late = steady
    late[10].idle[2] = 5000
    let usage = try #require(Usage.between(0, 1_000_000, late))
    #expect(usage.busySeconds[2] == nil && usage.busySeconds.count == 2)
  }

  /// A load that works between the kernel's ticks is in none of the kinds of time that it samples.
  /// Whatever else runs, the machine was busy for as long as this process was.
  @Test func workBetweenTwoTicksIsSeen() throws {
    let before = Self.ownSample()
    var due = SystemClock.monotonicNanoseconds()
    for _ in 0..<600 {
      due += 1_000_000
      while SystemClock.monotonicNanoseconds() < due { usleep(100) }
      while SystemClock.monotonicNanoseconds() < due + 500_000 {}
    }
    let after = Self.ownSample()
    let usage = try #require(
      Usage.between(before.wallMicroseconds, after.wallMicroseconds, [before, after]))
    #expect(usage.processSeconds > 0.2)
    #expect(usage.machineSeconds > usage.processSeconds * 0.9 - 0.02, "\(usage)")
  }

  /// This process alone: the children of other tests come and go.
  private static func ownSample() -> UsageSample {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    let machine = ProcText.processorTicks(TextFile.read("/proc/stat"))
    return UsageSample(
      wallMicroseconds: SystemClock.wallMicroseconds(),
      processNanoseconds: Double(time.tv_sec) * 1e9 + Double(time.tv_nsec), userTicks: 0,
      systemTicks: 0, idle: machine.idle.mapValues(Double.init))
  }

  // MARK: Processes

  /// A shell with a child, that live until the test ends.
  private func withFamily(_ body: (Int32) throws -> Void) throws {
    let child = try ChildProcess(
      Launch(command: ["/bin/sh", "-c", "sleep 60 & sleep 60 & wait"], output: "/dev/null"))
    defer { child.kill() }
    for _ in 0..<500 where ProcessTree(root: child.pid).pids.count < 3 { usleep(10_000) }
    try body(child.pid)
  }

  @Test func aTreeHoldsAllThatDescend() throws {
    try withFamily { root in
      let tree = ProcessTree(root: root)
      #expect(tree.pids.count == 3 && tree.pids[0] == root && tree.threads.count == 3)
      let sample = try #require(tree.sample())
      #expect(sample.processNanoseconds > 0 && !sample.idle.isEmpty)
      #expect((tree.residentBytes() ?? 0) > 100_000)
      #expect(tree.switches().voluntary >= 3)
      // One of them gone is a subject that fell apart, not one that took less.
      kill(tree.pids[2], SIGKILL)
      for _ in 0..<500 where tree.sample() != nil { usleep(10_000) }
      #expect(tree.sample() == nil)
    }
  }

  /// CPU time is counted whole, whichever thread took it.
  @Test func processorTimeIsTheProcesssOwn() throws {
    let child = try ChildProcess(
      Launch(
        command: ["/bin/sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 60"],
        output: "/dev/null"))
    defer { child.kill() }
    let tree = ProcessTree(root: child.pid)
    var before = 0.0
    for _ in 0..<20 {
      let now = try #require(tree.sample()).processNanoseconds
      #expect(now >= before)
      before = now
      usleep(10_000)
    }
    #expect(before > 1e6)
  }

  @Test func aChildSaysHowItEnded() throws {
    for (script, status) in [("exit 3", 3), ("kill -9 $$", 137), ("echo a; echo b >&2; exit 0", 0)]
    {
      let child = try ChildProcess(
        Launch(command: ["/bin/sh", "-c", script], output: "/tmp/millrace-meter-tests.\(getpid())"))
      for _ in 0..<500 where child.isRunning { usleep(10_000) }
      #expect(child.status == Int32(status))
      if status == 0 { #expect(child.lastLines() == ["a", "b"]) }
      unlink(child.launch.output)
    }
    #expect(throws: CompareFailure.self) {
      try ChildProcess(Launch(command: ["/nonexistent/x"], output: "/dev/null"))
    }
  }
}
