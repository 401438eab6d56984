// What flags and paths of the origin say, and what draws make of it: grammar, distributions, shares.

import Testing

@testable import Lab

@Suite struct OriginValueTests {
  @Test(arguments: [
    ("0", Distribution.constant(0)), ("128", .constant(128)), ("1.5KiB", .constant(1536)),
    ("1GiB", .constant(1_073_741_824)), ("64B", .constant(64)),
    ("uniform(1KiB,64KiB)", .uniform(1024, 65536)), ("uniform(5, 5)", .uniform(5, 5)),
    ("exponential(8KiB)", .exponential(mean: 8192)),
    ("lognormal(4KiB, 1.5)", .lognormal(median: 4096, sigma: 1.5)),
  ])
  func sizesAreRead(_ text: String, _ expected: Distribution) {
    #expect(OriginText.sizes(text) == expected)
  }

  @Test(arguments: [
    "", "x", "1KB", "-1", "1.", ".5", "1e3", "2000GiB", "uniform(9,1)", "uniform(1)", "uniform(1,2",
    "exponential(1,2)", "lognormal(0,1)", "lognormal(1,9)", "lognormal(1,1ms)", "normal(1,2)",
    "0000000000000001",
  ])
  func whatIsNoSizeIsRefused(_ text: String) { #expect(OriginText.sizes(text) == nil) }

  @Test func durationsNeedAUnit() {
    #expect(OriginText.durations("0") == .constant(0))
    #expect(OriginText.durations("1.5ms") == .constant(1.5e6))
    #expect(OriginText.durations("uniform(0,2s)") == .uniform(0, 2e9))
    for text in ["5", "5h", "1.5", "25hours", "9999m"] {
      #expect(OriginText.durations(text) == nil, "\(text)")
    }
  }

  @Test func stallsAreShorterThanTheirPeriod() {
    #expect(
      OriginText.stall("200ms every 1s")
        == OriginStall(pauseNanoseconds: 200_000_000, everyNanoseconds: 1_000_000_000))
    for text in ["1s every 1s", "0 every 1s", "200ms", "1s each 2s"] {
      #expect(OriginText.stall(text) == nil, "\(text)")
    }
  }

  @Test func aStallHoldsBackWhatIsDueInItAndNothingElse() {
    let stall = OriginStall(pauseNanoseconds: 200, everyNanoseconds: 1000)
    for (due, leaves) in [
      (0, 0), (799, 799), (800, 1000), (999, 1000), (1000, 1000), (1799, 1799), (1850, 2000),
    ] as [(Int64, Int64)] {
      #expect(stall.leave(50_000 + due, since: 50_000) == 50_000 + leaves)
    }
  }

  @Test func faultsHaveNamesAndShares() throws {
    #expect(try #require(OriginText.fault("reset=0.1%")) == (.reset, 0.001))
    #expect(try #require(OriginText.fault("503=0.25")) == (.status(503), 0.25))
    for text in ["reset", "reset=", "reset=101%", "reset=-1%", "boom=1%", "200=1%", "reset=nan"] {
      #expect(OriginText.fault(text) == nil, "\(text)")
    }
    for (name, fault) in OriginFault.names {
      #expect(OriginText.fault("\(name)=1")?.fault == fault)
      #expect(OriginFault.list.contains("\(name)"))
    }
  }

  /// Draws as a run makes them: of many connections with few requests each.
  static let draws: [OriginDraw] = (0..<40_000).map {
    OriginDraw(seed: 9, connection: UInt64($0 / 40), request: UInt64($0 % 40))
  }

  @Test func valuesLieAsTheirDistributionSays() {
    func sorted(_ distribution: Distribution) -> [Int] {
      Self.draws.map { distribution.value($0.size, maximum: 1 << 40) }.sorted()
    }
    func mean(_ values: [Int]) -> Double { Double(values.reduce(0, +)) / Double(values.count) }
    // 40,000 draws: bounds are six standard errors.
    let uniform = sorted(.uniform(1000, 3000))
    #expect(uniform.first! >= 1000 && uniform.last! <= 3000)
    #expect(abs(mean(uniform) - 2000) < 6 * 577.4 / 200)
    let exponential = sorted(.exponential(mean: 1e6))
    #expect(abs(mean(exponential) - 1e6) < 6 * 1e6 / 200)
    #expect(abs(Double(exponential[20_000]) - 693_147) < 6 * 1e6 / 200)
    let lognormal = sorted(.lognormal(median: 1e6, sigma: 1))
    #expect(abs(Double(lognormal[20_000]) - 1e6) < 6 * 1e6 * 1.2533 / 200)
    // 84.13% lie below one deviation of the logarithm.
    let below = lognormal.filter { Double($0) < 1e6 * 2.718281828 }.count
    #expect(abs(Double(below) - 33_654) < 6 * 73)
  }

  @Test func drawsOfDifferentKindsDoNotMoveTogether() {
    var both = 0
    for draw in Self.draws where draw.size > 1 << 63 && draw.fault > 1 << 63 { both += 1 }
    #expect(abs(both - 10_000) < 6 * 87)
  }

  @Test func faultsHappenToTheirShareOfRequests() {
    var plan = OriginPlan()
    plan.faults = [(.reset, 0.01), (.status(503), 0.25), (.truncate, 0)]
    let chooser = OriginChooser(plan)
    var counts: [UInt16: Int] = [:]
    var resets = 0
    for connection in 0..<1000 as Range<UInt64> {
      for request in 0..<40 as Range<UInt64> {
        let answer = Self.answer(chooser, "/", connection, request)!
        counts[answer.status, default: 0] += 1
        if answer.fault == .reset { resets += 1 }
        #expect(answer.fault != .truncate)
      }
    }
    #expect(abs(counts[503, default: 0] - 10_000) < 6 * 87)
    #expect(abs(resets - 400) < 6 * 20)
  }

  @Test func allRequestsFailWhenTheSharesAreAll() {
    var plan = OriginPlan()
    plan.faults = (0..<10).map { _ in (.status(500), 0.1) }
    let chooser = OriginChooser(plan)
    for request in 0..<10_000 as Range<UInt64> {
      #expect(Self.answer(chooser, "/", 1, request)!.status == 500)
    }
  }

  static func answer(
    _ chooser: OriginChooser, _ path: String, _ connection: UInt64 = 0, _ request: UInt64 = 0
  ) -> OriginAnswer? {
    var path = path
    return path.withUTF8 {
      chooser.answer(UnsafeRawBufferPointer($0), connection: connection, request: request)
    }
  }

  @Test func pathsAskForAnswersOfTheirOwn() throws {
    let chooser = OriginChooser(OriginPlan())
    let all = try #require(
      Self.answer(chooser, "/bytes/64KiB/delay/20ms/status/404/rate/2KiB/chunked/fault/short"))
    #expect(all.length == 65_536 && all.delayNanoseconds == 20_000_000 && all.status == 404)
    #expect(all.bytesPerSecond == 2048 && all.isChunked && all.fault == .short)
    #expect(try #require(Self.answer(chooser, "/echo")).isEcho)
    #expect(try #require(Self.answer(chooser, "/index.html/bytes/5")).length == 128)
    #expect(try #require(Self.answer(chooser, "")).length == 128)
    #expect(try #require(Self.answer(chooser, "/status/304")).length == 0)
    for path in [
      "/bytes", "/bytes/", "/bytes/x", "/delay/5", "/status/99", "/status/600", "/rate/0",
      "/fault/x", "/bytes/5/status/abc",
    ] {
      #expect(Self.answer(chooser, path) == nil, "\(path)")
    }
  }

  @Test func aPathsFaultStandsInForTheOneThatWasDrawn() throws {
    var plan = OriginPlan()
    plan.faults = [(.reset, 1)]
    let chooser = OriginChooser(plan)
    #expect(try #require(Self.answer(chooser, "/fault/none")).fault == .none)
    #expect(try #require(Self.answer(chooser, "/fault/502")).status == 502)
    #expect(try #require(Self.answer(chooser, "/")).fault == .reset)
  }

  @Test func contentTellsWhereItStands() {
    let text = String(decoding: (0..<40).map { OriginContent.byte(at: $0) }, as: UTF8.self)
    #expect(text == "000000000000000\n000000000000010\n00000000")
    #expect(OriginContent.byte(at: OriginContent.period + 33) == OriginContent.byte(at: 33))
    #expect(OriginContent.byte(at: 131_070) == UInt8(ascii: "0"))
    #expect(OriginContent.byte(at: 131_068) == UInt8(ascii: "f"))
  }

  @Test func momentsComeInOrder() {
    var heap = DeadlineHeap<Int64>(capacity: 0)
    var state: UInt64 = 3
    var expected: [Int64] = []
    for _ in 0..<500 {
      state = OriginDraw.mix(state)
      let due = Int64(state % 1000)
      expected.append(due)
      heap.insert(due, at: due)
    }
    expected.sort()
    var found: [Int64] = []
    for now in stride(from: 0, through: 1001, by: 7) as StrideThrough<Int64> {
      while let due = heap.takeDue(now) {
        #expect(due <= now && due > now - 7)
        found.append(due)
      }
    }
    #expect(found == expected && heap.count == 0 && heap.nextDue == .max)
  }
}
