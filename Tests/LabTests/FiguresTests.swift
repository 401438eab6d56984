// Numbers as a person reads them.

import Lab
import Testing

@Suite struct FiguresTests {
  @Test(arguments: [
    (0.0, "0 ns"), (999, "999 ns"), (999.6, "1.00 µs"), (4310, "4.31 µs"), (12_000_000, "12.0 ms"),
    (999_400_000, "999 ms"), (999_600_000, "1.00 s"), (1_250_000_000, "1.25 s"),
  ])
  func timesHaveThreeFiguresAndAUnit(_ nanoseconds: Double, _ text: String) {
    #expect(Figures.time(nanoseconds) == text)
  }

  @Test(arguments: [
    (0.0, "0"), (0.0456, "0.046"), (0.12, "0.12"), (9.99, "9.99"), (9.996, "10.0"), (99.94, "99.9"),
    (99.96, "100"), (-1.5, "-1.50"), (.infinity, "–"), (.nan, "–"),
  ])
  func threeFigures(_ value: Double, _ text: String) { #expect(Figures.three(value) == text) }

  @Test(arguments: [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")])
  func thousandsStandApart(_ value: Int, _ text: String) { #expect(Figures.grouped(value) == text) }

  @Test func bytesHaveBinaryUnits() {
    #expect(Figures.bytes(1023) == "1023 B" && Figures.bytes(1536) == "1.50 KiB")
    #expect(Figures.bytes(3 * 1_073_741_824) == "3.00 GiB")
  }
}
