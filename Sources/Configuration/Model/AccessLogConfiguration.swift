// The access log as it was configured: where its lines go, what they look like, and which exchanges have
// one.

public import Variables

/// The access log's settings.
public struct AccessLogConfiguration: Sendable, Equatable {
  public enum Destination: Sendable, Equatable {
    case standardOutput
    /// A path; the file is appended to, and made where it is missing.
    case file(String)
    case syslog(Syslog)
  }

  /// A receiver of syslog's messages (RFC 5424).
  public struct Syslog: Sendable, Equatable {
    /// A UNIX datagram socket, or an address of UDP.
    public var address: EndpointAddress
    /// 0…23, RFC 5424 6.2.1.
    public var facility: Int
    /// Informational.
    public let severity = 6
    /// APP-NAME.
    public var tag: String

    public static let standardPath = "/dev/log"
    /// By facility number.
    public static let facilities = [
      "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
      "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
      "local5", "local6", "local7",
    ]

    public init(
      address: EndpointAddress = .unix(path: standardPath), facility: Int = 23,
      tag: String = "millrace"
    ) {
      self.address = address
      self.facility = facility
      self.tag = tag
    }
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
