// A worker's part of tracing: which exchanges are traced, their identifiers, the field traceparent for
// servers, and spans as text. Without tracing, and for exchanges that are not traced, it does nothing.

import Configuration
import Glibc
import MillraceEngine
import Synchronization
import Variables

/// What a worker is given.
struct TraceParameters {
  let source: LineSource
  let samplePerMillion: Int
  /// Random; one of its own for each worker.
  let seed: UInt64
}

struct TraceDriver: ~Copyable {
  private let source: LineSource?
  /// Of 2^32.
  private let threshold: UInt64
  private var state: UInt64
  private let text: UnsafeMutableRawBufferPointer
  private let field: UnsafeMutableRawBufferPointer

  init(_ parameters: TraceParameters?) {
    source = parameters?.source
    threshold = UInt64(parameters?.samplePerMillion ?? 0) << 32 / 1_000_000
    state = parameters?.seed ?? 0
    text = .allocate(byteCount: parameters == nil ? 64 : SpanWriter.maximum, alignment: 64)
    field = .allocate(byteCount: 64, alignment: 64)
  }

  deinit {
    text.deallocate()
    field.deallocate()
  }

  @inline(__always)
  var isOn: Bool { source != nil }

  /// Traced exchanges, and those of them whose spans are lost.
  var totals: (exchanges: Int, lost: Int) {
    guard let ring = source?.ring else { return (0, 0) }
    let dropped = ring.pointee.dropped.load(ordering: .relaxed)
    return (
      ring.pointee.lines.load(ordering: .relaxed) + dropped,
      dropped + ring.pointee.lost.load(ordering: .relaxed)
    )
  }

  /// Decides whether an exchange is traced. A trace that the request brings has been decided on by its flag;
  /// without one the share does, and a new one is made.
  mutating func begin(_ trace: inout TraceContext) {
    guard isOn else { return }
    if trace.isEmpty {
      guard next() >> 32 < threshold else { return }
      trace.high = next()
      trace.low = identifier()
      trace.isSampled = true
    } else if !trace.isSampled {
      return
    }
    trace.span = identifier()
  }

  /// SplitMix64: unlike every other worker's by its seed.
  private mutating func next() -> UInt64 {
    defer { state &+= 0x9E37_79B9_7F4A_7C15 }
    return AccessPlan.spread(state)
  }

  private mutating func identifier() -> UInt64 {
    let number = next()
    return number == 0 ? 1 : number
  }

  /// The field traceparent for the server; empty where an exchange is not traced. Lives until the next call.
  @inline(__always)
  mutating func field(of trace: borrowing TraceContext) -> UnsafeRawBufferPointer {
    trace.span == 0 ? UnsafeRawBufferPointer(start: nil, count: 0) : write(trace)
  }

  @inline(never)
  private mutating func write(_ trace: TraceContext) -> UnsafeRawBufferPointer {
    var forServer = trace
    forServer.span = SpanWriter.clientSpan(of: trace)
    forServer.write(into: field)
    return UnsafeRawBufferPointer(rebasing: field[..<TraceContext.fieldBytes])
  }

  /// Writes the spans of an exchange that has ended. - Parameter now: wall clock, in microseconds.
  mutating func write(_ values: inout ExchangeValues, isSecureUpstream: Bool, now: Int64) {
    guard let source else { return }
    let length = SpanWriter.write(&values, isSecureUpstream: isSecureUpstream, into: text)
    guard length > 0 else { return }
    source.append(UnsafeRawBufferPointer(rebasing: text[..<length]), microseconds: now)
  }
}
