// The control plane's address: where an operator and a scraper ask a running proxy. It is never one that
// others than this machine can reach.

/// The admin server's settings.
public struct AdminConfiguration: Sendable, Equatable {
  /// A UNIX socket, or a loopback address with a port.
  public var address: EndpointAddress
  public var addressLocation: SourceLocation

  /// Where it listens if nothing else is written, and where `millrace ctl` asks. The directory is the
  /// unit's RuntimeDirectory.
  public static let standardPath = "/run/millrace/admin.sock"
  /// Of the socket's file: its owner and its group.
  public static let socketMode: UInt32 = 0o660

  public init(
    address: EndpointAddress = .unix(path: AdminConfiguration.standardPath),
    addressLocation: SourceLocation = SourceLocation()
  ) {
    self.address = address
    self.addressLocation = addressLocation
  }
}
