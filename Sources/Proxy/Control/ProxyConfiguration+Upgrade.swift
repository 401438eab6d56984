// Where an old process and a new one find each other: beside the socket of the admin server, by the configuration
// that both have.

public import Configuration
import MillraceEngine

extension ProxyConfiguration {
  /// Where a running process is asked for its sockets; nil: the admin server has no UNIX socket, or one with
  /// too long a path.
  public var upgradePath: String? {
    guard case .unix(let path)? = admin?.address else { return nil }
    // sun_path has 107 bytes, unix(7), and a name for the time until it is published takes some.
    let name = path + ".upgrade"
    return name.utf8.count + UnixSocketFile.unpublished.utf8.count <= 107 ? name : nil
  }
}
