// Reads the audit log's settings, and says so where two of them contradict each other.

extension Reader {
  mutating func audit(_ value: Located) -> AuditConfiguration? {
    let example = "audit: {directory: /var/log/millrace}"
    guard let fields = fields(value, Shapes.audit, example: example) else { return nil }
    let directory = text(fields, "directory")
    var audit = AuditConfiguration(directory: directory?.text ?? "")
    if let directory { audit.directoryLocation = location(directory.value) }
    if let durability = word(fields, "durability").flatMap(AuditConfiguration.Durability.init) {
      audit.durability = durability
    }
    if let interval = duration(fields, "interval") {
      audit.intervalNanoseconds = interval
      if audit.durability != .interval, let place = fields["interval"] {
        report(
          location(place), "has no effect with durability: \(audit.durability.rawValue)",
          "write durability: interval, or remove it", .warning)
      }
    }
    if let whenFull = word(fields, "when_full").flatMap(AuditConfiguration.WhenFull.init) {
      audit.whenFull = whenFull
    }
    if let hold = duration(fields, "hold") {
      audit.holdNanoseconds = hold
      if audit.durability != .beforeResponse, let place = fields["hold"] {
        report(
          location(place), "has no effect with durability: \(audit.durability.rawValue)",
          "write durability: before_response, or remove it", .warning)
      }
    }
    if let redact = boolean(fields, "redact_query") { audit.redactQuery = redact }
    if let segment = fields["segment"] { readSegment(segment, into: &audit) }
    if audit.durability == .interval, audit.intervalNanoseconds > audit.segmentAgeNanoseconds {
      let own = fields["interval"] ?? fields["segment"] ?? value
      report(
        own,
        "is \(durationText(audit.intervalNanoseconds)), longer than the lifetime of a segment"
          + " (segment.age is \(durationText(audit.segmentAgeNanoseconds)))",
        "make interval shorter or segment.age longer")
    }
    return directory == nil ? nil : audit
  }

  private mutating func readSegment(_ value: Located, into audit: inout AuditConfiguration) {
    let example = "segment: {size: 64MiB, age: 1h}"
    guard let fields = fields(value, Shapes.segment, example: example) else { return }
    if let age = duration(fields, "age") { audit.segmentAgeNanoseconds = age }
    guard let size = size(fields, "size"), let place = fields["size"] else { return }
    audit.segmentSize = size
    // Commits are written with O_DIRECT in blocks of 4096 bytes.
    if size % 4096 != 0 {
      report(
        place, "is \(size) bytes, which is not a multiple of 4096",
        "write \(sizeText(max(1 << 20, size / 4096 * 4096)))")
    }
  }
}
