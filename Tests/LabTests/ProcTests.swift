// What /proc says, from texts as kernels write them, and moments as the load writes them.

import Testing

@testable import Lab

@Suite struct ProcTests {
  @Test func processorsThatIdleOrWaitAreNotBusy() {
    let ticks = ProcText.processorTicks(
      """
      cpu  10 20 30 40 50 60 70 80 0 0
      cpu0 100 3 50 8000 40 7 9 11 5 0
      cpu13 1 2 3 4 5 6 7 8 9 10
      cpu2 1 2 3
      cpu3 1 2 3 4 5 6 seven 8 9 10
      intr 123 0 0
      cpufreq 1 2 3 4 5 6 7 8 9

      """)
    #expect(ticks.idle == [0: 8040, 13: 9])
    #expect(ticks.stolen == [0: 11, 13: 8])
    // Without guest time, which is in user's.
    #expect(ticks.total == [0: 8220, 13: 36])
    #expect(ProcText.processorTicks("") == ProcessorTicks())
  }

  @Test func aProcessMayBeCalledAnything() {
    let stat = "4 S 1 7 7 0 -1 4194560 31 0 0 0 120 45 0 0 20 0 1 0 99 1 2".split(separator: " ")
    for name in [
      "nginx", "nginx: worker process", "a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 (b", ")", "",
    ] {
      let text = "17 (\(name)) " + stat.dropFirst().joined(separator: " ")
      let ticks = ProcText.processTicks(text)
      #expect(ticks?.user == 120 && ticks?.system == 45, "\(name)")
    }
    #expect(ProcText.processTicks("") == nil)
    #expect(ProcText.processTicks("17 (x) S 1 2") == nil)
    #expect(ProcText.processTicks("17 x S 1 7 7 0 -1 4194560 31 0 0 0 120 45") == nil)
  }

  @Test func aLineIsFoundByItsWholeName() {
    let status =
      "Name:\tVmRSS: 1 kB\nVmRSS:\t    9876 kB\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t42\nOdd:\tx\n"
    #expect(ProcText.number("VmRSS", in: status) == 9876)
    #expect(ProcText.number("voluntary_ctxt_switches", in: status) == 42)
    #expect(ProcText.number("nonvoluntary_ctxt_switches", in: status) == 7)
    #expect(ProcText.number("Vm", in: status) == nil)
    #expect(ProcText.number("Odd", in: status) == nil)
    #expect(ProcText.number("Pss", in: "") == nil)
  }

  @Test(arguments: [
    ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:00.000001Z", 1),
    ("2000-03-01T00:00:00Z", 951_868_800_000_000),
    ("2026-11-21T10:12:00.123456Z", 1_795_255_920_123_456),
    ("2024-02-29T23:59:59.5Z", 1_709_251_199_500_000),
    ("2026-01-02T03:04:05.1234567Z", 1_767_323_045_123_456),
  ])
  func momentsAreMicroseconds(_ text: String, _ microseconds: Int64) {
    #expect(WallTime.microseconds(text) == microseconds)
  }

  @Test(arguments: [
    "", "Z", "2026-11-21T10:12:00", "2026-11-21 10:12:00Z", "2026-11-21T10:12Z",
    "2026-11T10:12:00Z",
    "2026-11-21T10:12:xZ", "2026-11-21T10:12:00.Z", "2026-11-21T10:12:00.1x3Z",
  ])
  func otherTextsAreNoMoments(_ text: String) { #expect(WallTime.microseconds(text) == nil) }
}
