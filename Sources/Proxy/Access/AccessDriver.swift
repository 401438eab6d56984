// A worker's part of the access log: the texts of each request until its exchange ends, and then its line.
// It knows no connection; the relay lends it the facts.

import Glibc
import MillraceEngine
import Synchronization
import Variables

struct AccessDriver: ~Copyable {
  /// nil: there never is an access log.
  private let source: LineSource?
  /// Texts of requests, by the exchange's slot. From calloc, so that what is never used is never touched. nil where
  /// the kernel has not that much: all of them go to cold memory then.
  private let texts: UnsafeMutableRawPointer?
  private let capacity: Int
  private let line: UnsafeMutableRawBufferPointer

  /// The texts of most requests; longer ones go to cold memory.
  static var textBytes: Int { 1024 }

  /// - Parameter exchanges: slots of exchanges, numbered from 0.
  init(_ source: LineSource?, exchanges: Int) {
    self.source = source
    capacity = source == nil ? 0 : exchanges
    texts = calloc(max(capacity, 1), Self.textBytes)
    line = .allocate(byteCount: source == nil ? 64 : LineWriter.lineMaximum, alignment: 64)
  }

  deinit {
    free(texts)
    line.deallocate()
  }

  /// Whether lines are wanted.
  @inline(__always)
  var isOn: Bool { source?.isOpen ?? false }

  /// What the worker has put into its ring, and what is not where it should be.
  var totals: (lines: Int, missing: Int) {
    guard let ring = source?.ring else { return (0, 0) }
    return (
      ring.pointee.lines.load(ordering: .relaxed),
      ring.pointee.dropped.load(ordering: .relaxed) + ring.pointee.lost.load(ordering: .relaxed)
    )
  }

  /// Where the texts of an exchange's request lie if they are short.
  @inline(__always)
  func memory(_ slot: UInt32) -> UnsafeMutableRawBufferPointer {
    guard let texts, Int(slot) < capacity else {
      return UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }
    return UnsafeMutableRawBufferPointer(
      start: texts + Int(slot) * Self.textBytes, count: Self.textBytes)
  }

  /// Writes the line of an exchange.
  /// - Parameter now: wall clock, in microseconds.
  mutating func write(_ access: AccessPlan, _ values: inout ExchangeValues, now: Int64) {
    guard let source else { return }
    let length = LineWriter.write(access.shape, &values, into: line)
    guard length > 0 else { return }
    source.append(UnsafeRawBufferPointer(rebasing: line[..<length]), microseconds: now)
  }
}
