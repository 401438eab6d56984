// Where messages of syslog go, and what their header says.

/// A receiver of syslog's messages (RFC 5424).
public struct SyslogConfiguration: Sendable, Equatable {
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
