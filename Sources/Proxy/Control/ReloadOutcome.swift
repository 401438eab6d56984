// What came of a reload, as a value: for the log, and for whoever has asked for it.

public import Configuration

/// The end of one reload.
public struct ReloadOutcome: Sendable {
  public enum Result: Sendable {
    /// The configuration is in force on all workers. - Parameter changes: what is different, in words.
    case installed(changes: [String])
    /// The configuration, its files and the addresses of its names are what they were: nothing was done.
    case unchanged
    /// Nothing was changed.
    case rejected
    /// A worker has not taken the configuration in the time that was waited for; it will, once it gets to it.
    case pending(changes: [String])
    /// The process is stopping.
    case stopped
  }

  public let result: Result
  /// The number of the newest generation.
  public let generation: Int
  /// Errors and warnings.
  public let problems: [Problem]

  /// In a line, for a service manager.
  var status: String {
    switch result {
    case .rejected:
      "Configuration rejected (\(problems.count { $0.severity == .error }) errors);"
        + " generation \(generation) stays in force"
    case .pending: "Configuration generation \(generation) is not in force on all workers yet"
    case .stopped: "Stopping"
    case .installed, .unchanged: "Configuration generation \(generation) in force"
    }
  }

  init(_ result: Result, generation: Int, problems: [Problem] = []) {
    self.result = result
    self.generation = generation
    self.problems = problems
  }
}

/// Where a process's configuration comes from, so that it can be read again.
public struct ConfigurationSource: Sendable {
  /// The file to watch; nil: it is made of flags.
  public let path: String?
  /// Reads it. - Returns: nil where a problem is an error.
  public let load: @Sendable () -> (configuration: ProxyConfiguration?, problems: [Problem])

  public init(
    path: String?,
    load: @escaping @Sendable () -> (configuration: ProxyConfiguration?, problems: [Problem])
  ) {
    self.path = path
    self.load = load
  }
}
