// What one worker's journal is made from: the settings of the audit log in the journal's terms, and the
// chain as recovery found it.

import AuditLog
import Configuration

struct JournalSeed: Sendable {
  var configuration: JournalConfiguration
  let recovered: ChainState
  /// nil: no other process can reach the directory.
  var directory: AuditDirectory?

  /// - Parameter connections: `limits.connections`; each may have an exchange at any worker.
  init(
    _ audit: AuditConfiguration, worker: Int, connections: Int, run: RunIdentity,
    recovered: RecoveredLog
  ) {
    configuration = JournalConfiguration(directory: audit.directory, worker: worker, run: run)
    switch audit.durability {
    case .beforeResponse: configuration.durability = .beforeResponse
    case .interval: configuration.durability = .interval
    case .none: configuration.durability = .none
    }
    configuration.intervalNanoseconds = audit.intervalNanoseconds
    configuration.segmentSize = audit.segmentSize
    configuration.firstSegmentSize = min(configuration.firstSegmentSize, audit.segmentSize)
    configuration.segmentAgeNanoseconds = audit.segmentAgeNanoseconds
    configuration.fit(exchanges: connections)
    self.recovered = recovered.chain(worker: worker)
  }

  /// The same, with the directory that this process holds.
  func using(_ directory: AuditDirectory) -> JournalSeed {
    var seed = self
    seed.directory = directory
    return seed
  }
}
