// Reads the engine: a word, or a mapping of its kind, its switches and their sizes.

extension Reader {
  mutating func engine(_ root: Fields) -> (kind: EngineChoice?, settings: EngineSettings)? {
    guard let value = root["engine"] else { return nil }
    var settings = EngineSettings()
    guard case .mapping = value.node.content else {
      return (word(root, "engine").flatMap { EngineChoice(rawValue: $0) }, settings)
    }
    guard let fields = fields(value, Shapes.engine, example: "engine: io_uring") else {
      return nil
    }
    let kind = word(fields, "kind").flatMap { EngineChoice(rawValue: $0) }
    for (name, _) in EngineSettings.switches {
      if let isOn = boolean(fields, name) { settings.features[name] = isOn }
    }
    settings.submissionThreadIdle = integer(fields, "sqpoll_idle")
    settings.submissionThreadCPU = integer(fields, "sqpoll_cpu")
    settings.batchCompletions = integer(fields, "batch_completions")
    settings.batchMicroseconds = integer(fields, "batch_microseconds")
    settings.busyPollMicroseconds = integer(fields, "busy_poll_microseconds")
    settings.busyPollBudget = integer(fields, "busy_poll_budget")
    settings.coalesceMicroseconds = integer(fields, "coalesce_microseconds")
    return (kind, settings)
  }
}
