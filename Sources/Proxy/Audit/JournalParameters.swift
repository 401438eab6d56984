// What one worker's journal is made from: the settings of the audit log in the journal's terms, and the
// chain as recovery found it.

import AuditLog
import Configuration

struct JournalParameters: Sendable {
  var configuration: JournalConfiguration
  let recovered: ChainState
  /// nil: no other process can reach the directory.
  var directory: AuditDirectory?

  /// - Parameter exchanges: `limits.exchanges`; any worker may have all of them.
  init(
    _ audit: AuditConfiguration, worker: Int, exchanges: Int, run: RunIdentity,
    recovered: RecoveredLog
  ) {
    let number = recovered.number(worker: worker)
    configuration = JournalConfiguration(directory: audit.directory, worker: number, run: run)
    switch audit.durability {
    case .beforeResponse: configuration.durability = .beforeResponse
    case .interval: configuration.durability = .interval
    case .none: configuration.durability = .none
    }
    configuration.intervalNanoseconds = audit.intervalNanoseconds
    configuration.segmentSize = audit.segmentSize
    configuration.firstSegmentSize = min(configuration.firstSegmentSize, audit.segmentSize)
    configuration.segmentAgeNanoseconds = audit.segmentAgeNanoseconds
    configuration.fit(exchanges: exchanges)
    self.recovered = recovered.chain(worker: number)
  }

  /// The same, with the directory that this process holds.
  func using(_ directory: AuditDirectory) -> JournalParameters {
    var parameters = self
    parameters.directory = directory
    return parameters
  }
}
