// From what an operator wrote to what an engine is made with.

import Configuration
import MillraceEngine

extension EngineOptions {
  /// The standard options with the switches and sizes that were written.
  init(_ settings: EngineSettings) {
    self.init()
    // Each has a pipe, which is two descriptors, and is kept. A tunnel without one goes by copy.
    relays = 128
    for (name, isOn) in settings.features {
      guard let feature = EngineFeatures(name: name) else { continue }
      if isOn { features.insert(feature) } else { features.remove(feature) }
    }
    submissionThreadIdle = settings.submissionThreadIdle ?? submissionThreadIdle
    submissionThreadCPU = settings.submissionThreadCPU ?? submissionThreadCPU
    batchCompletions = settings.batchCompletions ?? batchCompletions
    batchMicroseconds = settings.batchMicroseconds ?? batchMicroseconds
    busyPollMicroseconds = settings.busyPollMicroseconds ?? busyPollMicroseconds
    busyPollBudget = settings.busyPollBudget ?? busyPollBudget
  }
}
