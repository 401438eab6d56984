// The trailer section of a chunked message (RFC 9112 7.1.2), gathered into memory of its own since
// it may arrive in pieces after the buffers before it are gone. Memory is taken with the first
// trailer byte, bounded by the limits and freed with the section; most messages take none. Field
// lines that may not stand in a trailer (RFC 9110 6.5.1) are dropped.
//
// TRAP: (file) indices are counted to `count` by callers, and a line that was counted has memory.

import HTTP

struct TrailerSection: ~Copyable {
  enum Outcome {
    case needsMore
    case complete
    case rejected(BodyRejection)
  }

  /// Room for the usual section; it doubles up to the limit.
  private static let initialBytes = 512

  /// Lines that are kept; no more than 65535, as `parse` sees to.
  var count: Int { Int(kept) }
  private var kept: UInt16 = 0
  private var leftOut: UInt16 = 0
  /// Whether names with an underscore are left out.
  var dropsUnderscores = false
  private let limits: HeadLimits
  private var scanner = HeadScanner(fieldsOnly: true)
  private var memory: UnsafeMutableRawPointer?
  private var capacity = 0
  private var used = 0
  private var lines: UnsafeMutablePointer<FieldLine>?
  /// Lines that were left out because of an ambiguous name.
  var ambiguous: Int { Int(leftOut) }
  /// Names that the head's Connection nominates.
  private var nominated: NominatedNames?

  init(limits: HeadLimits) {
    self.limits = limits
  }

  deinit {
    memory?.deallocate()
    lines?.deallocate()
  }

  mutating func leaveOut(_ names: consuming NominatedNames) {
    nominated = consume names
  }

  /// Takes what belongs to the section from `available` bytes at `input`.
  ///
  /// - Parameter consumed: set to the bytes taken; none past the section's empty line.
  mutating func gather(
    _ input: UnsafeRawPointer, _ available: Int, consumed: inout Int
  ) -> Outcome {
    consumed = 0
    let taken = min(available, limits.ceiling - used)
    guard taken > 0 else { return .rejected(.trailerTooLarge) }
    reserve(used + taken)
    guard let memory else { return .rejected(.trailerTooLarge) }
    (memory + used).copyMemory(from: input, byteCount: taken)
    let gathered = UnsafeRawBufferPointer(start: memory, count: used + taken)
    switch scanner.scan(gathered, limits: limits, isRequest: true) {
    case .incomplete:
      used += taken
      consumed = taken
      return .needsMore
    case .complete(let length):
      consumed = length - used
      used = length
      return parse()
    case .rejected(.headTooLarge): return .rejected(.trailerTooLarge)
    case .rejected(.bareLF): return .rejected(.bareLF)
    case .rejected(.bareCR): return .rejected(.bareCR)
    case .rejected: return .rejected(.invalidTrailer)
    }
  }

  /// Name and value of a kept line, valid as long as the section; traps outside `0..<count`.
  func line(_ index: Int) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    precondition(index >= 0 && index < count, "no such trailer line")
    guard let lines, let memory else { preconditionFailure("no memory for the field lines") }
    let bytes = UnsafeRawBufferPointer(start: memory, count: used)
    return (lines[index].name.slice(of: bytes), lines[index].value.slice(of: bytes))
  }

  /// Whether a line goes on to the next hop.
  private mutating func mayPass(_ line: FieldLine, _ base: UnsafeRawPointer) -> Bool {
    switch line.trailerFate(base, dropsUnderscores: dropsUnderscores) {
    case .passes: break
    case .dropped: return false
    case .ambiguous:
      leftOut += 1
      return false
    }
    switch nominated {
    case .some(let names): return !names.nominates(line, base)
    case .none: return true
    }
  }

  private mutating func reserve(_ needed: Int) {
    guard needed > capacity else { return }
    let grown = min(limits.ceiling, max(needed, max(Self.initialBytes, capacity * 2)))
    let larger = UnsafeMutableRawPointer.allocate(byteCount: grown, alignment: 8)
    if let memory {
      larger.copyMemory(from: memory, byteCount: used)
      memory.deallocate()
    }
    memory = larger
    capacity = grown
  }

  /// Reads the complete section into the table, without the lines that may not stand there.
  private mutating func parse() -> Outcome {
    guard let memory else { return .rejected(.invalidTrailer) }
    let maximum = max(0, min(limits.fields, Int(UInt16.max)))
    let table = UnsafeMutablePointer<FieldLine>.allocate(capacity: max(1, maximum))
    lines = table
    var position = 0
    var seen = 0
    var line = FieldLine()
    while true {
      switch FieldLineParser.next(UnsafeRawPointer(memory), &position, used, &line) {
      case .line:
        guard seen < maximum else { return .rejected(.trailerTooLarge) }
        seen += 1
        if !mayPass(line, memory) { continue }
        (table + count).initialize(to: line)
        kept += 1
      case .endOfSection: return .complete
      case .needsMore, .rejected: return .rejected(.invalidTrailer)
      }
    }
  }
}
