// SegmentName is a segment's file name, `w003-0000000042.jsonl`: worker, then the segment's number
// in the worker's chain, which only grows, over all runs. It carries no time, so that a clock that
// was set back cannot change the order in which segments are read.

/// The name of one segment, and of the files that accompany it.
struct SegmentName: Equatable, Comparable, Sendable {
  static let blockSize = 4096

  /// The least number of bytes in whole blocks that is not below this.
  static func roundUp(_ bytes: Int) -> Int { (bytes + blockSize - 1) & ~(blockSize - 1) }

  var worker: Int
  var number: UInt64

  /// What may follow the name of a segment.
  enum Companion: String, CaseIterable {
    case segment = ".jsonl"
    /// A segment that is being prefilled.
    case preparing = ".prepare"
    /// A torn tail that recovery set aside.
    case torn = ".jsonl.torn"
    /// A torn tail that is being copied.
    case tornPartial = ".jsonl.torn.partial"
    /// A recovery segment that is being written.
    case recovering = ".recover"
  }

  static func < (left: SegmentName, right: SegmentName) -> Bool {
    (left.worker, left.number) < (right.worker, right.number)
  }

  func text(_ companion: Companion = .segment) -> String {
    let workerDigits = String(worker)
    let numberDigits = String(number)
    return "w" + String(repeating: "0", count: max(0, 3 - workerDigits.count)) + workerDigits
      + "-" + String(repeating: "0", count: max(0, 10 - numberDigits.count)) + numberDigits
      + companion.rawValue
  }

  /// Parses a file name; nil for names that are none of ours.
  static func parse(_ text: String) -> (name: SegmentName, companion: Companion)? {
    let bytes = Array(text.utf8)
    guard bytes.count > 15, bytes[0] == 0x77, bytes[4] == 0x2D else { return nil }
    var worker = 0
    var number: UInt64 = 0
    for digit in bytes[1..<4] {
      guard digit >= 0x30 && digit <= 0x39 else { return nil }
      worker = worker * 10 + Int(digit - 0x30)
    }
    for digit in bytes[5..<15] {
      guard digit >= 0x30 && digit <= 0x39 else { return nil }
      number = number * 10 + UInt64(digit - 0x30)
    }
    guard let companion = Companion(rawValue: String(decoding: bytes[15...], as: UTF8.self)) else {
      return nil
    }
    return (SegmentName(worker: worker, number: number), companion)
  }
}
