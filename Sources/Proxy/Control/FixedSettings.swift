// What a running process cannot change, because memory was sized, threads were started or files were
// opened by it. A new plan that differs in any of it is refused, and each such key is named.

import Configuration

/// Settings that hold from the start of the process to its end.
enum FixedSettings {
  /// The keys in which a configuration differs from the one that the process was started with and
  /// that only a restart changes, in the order of the file; empty: it can take its place.
  static func changes(
    from running: ProxyConfiguration, to wanted: ProxyConfiguration
  ) -> [String] {
    var keys: [String] = []
    func compare<T: Equatable>(_ key: String, _ a: T, _ b: T) {
      if a != b { keys.append(key) }
    }
    compare("engine", running.engine, wanted.engine)
    compare("engine", running.engineSettings, wanted.engineSettings)
    compare("workers", running.workers, wanted.workers)
    compare("pin", running.pin, wanted.pin)
    compare("placement", running.placement, wanted.placement)
    for (index, new) in wanted.listeners.enumerated() {
      guard case .unix = new.address,
        let old = running.listeners.first(where: { $0.address == new.address })
      else { continue }
      compare("listeners[\(index)].mode", old.mode, new.mode)
    }
    compare("audit", running.audit == nil, wanted.audit == nil)
    if let old = running.audit, let new = wanted.audit {
      compare("audit.directory", old.directory, new.directory)
      compare("audit.durability", old.durability, new.durability)
      compare("audit.interval", old.intervalNanoseconds, new.intervalNanoseconds)
      compare("audit.when_full", old.whenFull, new.whenFull)
      compare("audit.hold", old.holdNanoseconds, new.holdNanoseconds)
      compare("audit.segment.size", old.segmentSize, new.segmentSize)
      compare("audit.segment.age", old.segmentAgeNanoseconds, new.segmentAgeNanoseconds)
    }
    compare("tracing", running.tracing, wanted.tracing)
    compare("admin", running.admin?.address, wanted.admin?.address)
    // Slots are made for as many as there were at the start; fewer may be used.
    if wanted.limits.connections > running.limits.connections { keys.append("limits.connections") }
    compare("limits.streams", running.limits.streams, wanted.limits.streams)
    compare("limits.request_head", running.limits.requestHead, wanted.limits.requestHead)
    compare("limits.request_target", running.limits.requestTarget, wanted.limits.requestTarget)
    compare("limits.request_fields", running.limits.requestFields, wanted.limits.requestFields)
    return keys.reduce(into: []) { if $0.last != $1 { $0.append($1) } }
  }
}
