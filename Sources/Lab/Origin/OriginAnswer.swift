// The answer to one request: what the plan says, what the draw chooses, and what the path asks for
// in their place (`/bytes/65536/delay/20ms/status/503/fault/reset`).

import Glibc

/// What one request gets.
struct OriginAnswer {
  var status: UInt16 = 200
  /// Bytes of content.
  var length = 0
  var delayNanoseconds: Int64 = 0
  var fault = OriginFault.none
  /// 0: as fast as the client takes them.
  var bytesPerSecond = 0
  var isChunked = false
  /// Whether the request's content comes back.
  var isEcho = false
}

/// Chooses answers. The plan's parts that are used per request, unpacked once.
struct OriginChooser {
  private let base: OriginAnswer
  private let size: Distribution
  private let delay: Distribution
  /// In memory of its own, for good: an array would be retained for each request.
  private let faults: UnsafeMutableBufferPointer<(fault: OriginFault, below: UInt64)>
  private let seed: UInt64

  init(_ plan: OriginPlan) {
    var base = OriginAnswer()
    base.status = plan.status
    base.bytesPerSecond = plan.bytesPerSecond ?? 0
    base.isChunked = plan.isChunked
    self.base = base
    size = plan.size
    delay = plan.delay
    seed = plan.seed
    var sum = 0.0
    faults = .allocate(capacity: plan.faults.count)
    for (i, (fault, share)) in plan.faults.enumerated() {
      sum += share
      // 2⁶⁴ itself has no place in 64 bits.
      faults.initializeElement(at: i, to: (fault, sum >= 1 ? .max : UInt64(sum * 0x1p64)))
    }
  }

  /// - Returns: the answer, or nil if the path asks for something that cannot be.
  func answer(
    _ path: UnsafeRawBufferPointer, connection: UInt64, request: UInt64
  ) -> OriginAnswer? {
    let draw = OriginDraw(seed: seed, connection: connection, request: request)
    var answer = base
    answer.length = size.value(draw.size, maximum: OriginText.sizeMaximum)
    answer.delayNanoseconds = Int64(delay.value(draw.delay, maximum: OriginText.durationMaximum))
    if faults.count > 0 {
      let number = draw.fault
      for entry in faults where number < entry.below {
        answer.fault = entry.fault
        break
      }
    }
    if path.count > 1, !Self.read(path, draw, &answer) { return nil }
    switch answer.fault {
    case .status(let status): answer.status = status
    case .slow: answer.bytesPerSecond = OriginFault.slowBytesPerSecond
    case .unfinished: answer.isChunked = true
    default: break
    }
    // 204 and 304 have no content (RFC 9110, sections 15.3.5 and 15.4.5).
    if answer.status == 204 || answer.status == 304 { answer.length = 0 }
    return answer
  }

  /// Reads what a path asks for. A path that does not begin with one of the words is just a name.
  private static func read(
    _ path: UnsafeRawBufferPointer, _ draw: OriginDraw, _ answer: inout OriginAnswer
  ) -> Bool {
    var rest = path[...]
    while let word = segment(&rest) {
      if word.spells("echo") {
        answer.isEcho = true
      } else if word.spells("chunked") {
        answer.isChunked = true
      } else if word.spells("bytes") {
        guard let text = segment(&rest), let size = OriginText.distribution(text, OriginText.size)
        else { return false }
        answer.length = size.value(draw.size, maximum: OriginText.sizeMaximum)
      } else if word.spells("delay") {
        guard let text = segment(&rest),
          let delay = OriginText.distribution(text, OriginText.duration)
        else { return false }
        answer.delayNanoseconds = Int64(
          delay.value(draw.delay, maximum: OriginText.durationMaximum))
      } else if word.spells("status") {
        guard let text = segment(&rest), let status = OriginText.decimal(text), status >= 200,
          status <= 599
        else { return false }
        answer.status = UInt16(status)
      } else if word.spells("rate") {
        guard let text = segment(&rest), let rate = OriginText.size(text), rate >= 1 else {
          return false
        }
        answer.bytesPerSecond = Int(rate)
      } else if word.spells("fault") {
        guard let text = segment(&rest) else { return false }
        if text.spells("none") {
          answer.fault = .none
        } else {
          guard let fault = OriginFault(text) else { return false }
          answer.fault = fault
        }
      } else {
        return true
      }
    }
    return true
  }

  /// The next segment of a path, or nil at its end.
  private static func segment(
    _ rest: inout Slice<UnsafeRawBufferPointer>
  ) -> UnsafeRawBufferPointer? {
    guard rest.first == UInt8(ascii: "/") else { return nil }
    rest = rest.dropFirst()
    let end = rest.firstIndex(of: UInt8(ascii: "/")) ?? rest.endIndex
    let found = rest[..<end]
    rest = rest[end...]
    return found.isEmpty ? nil : UnsafeRawBufferPointer(rebasing: found)
  }
}
