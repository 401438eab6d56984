// The access log as it was configured: where its lines go, what they look like, and which exchanges have
// one.

public import Variables

/// The access log's settings.
public struct AccessLogConfiguration: Sendable, Equatable {
  public enum Destination: Sendable, Equatable {
    case standardOutput
    /// A path; the file is appended to, and made where it is missing.
    case file(String)
    case syslog(SyslogConfiguration)
  }

  public var destination: Destination
  public var format: LineFormat
  /// How many of a million exchanges have a line.
  public var samplePerMillion: Int
  /// Whether those that fail have one in any case.
  public var keepsErrors: Bool
  /// Lines carry no query.
  public var redactQuery: Bool

  public init(
    destination: Destination, format: LineFormat = .combined, samplePerMillion: Int = 1_000_000,
    keepsErrors: Bool = true, redactQuery: Bool = false
  ) {
    self.destination = destination
    self.format = format
    self.samplePerMillion = samplePerMillion
    self.keepsErrors = keepsErrors
    self.redactQuery = redactQuery
  }
}
