// Where a running proxy is asked.

import Admin
import ArgumentParser
import Configuration
import MillraceEngine

struct AdminAddressOptions: ParsableArguments {
  @Option(
    name: [.customShort("a"), .customLong("address")],
    help: ArgumentHelp(
      "Admin address of the proxy: unix:PATH or HOST:PORT (default unix:\(AdminConfiguration.standardPath)).",
      valueName: "address"))
  var text: String?

  /// - Throws: exit status 2 for a text that is no address, which is told.
  func client() throws -> AdminClient {
    var problems: [Problem] = []
    let written = text ?? "unix:\(AdminConfiguration.standardPath)"
    guard let address = Reporting.address(written, .upstream, "--address", &problems) else {
      throw Reporting.fail(problems)
    }
    switch address {
    case .unix(let path):
      if let socket = SocketAddress(unixPath: path) { return AdminClient(socket) }
    case .ip(let host, let port):
      if let socket = try? SocketAddress.resolve(host: host, port: port, passive: false).first {
        return AdminClient(socket)
      }
    }
    throw Reporting.fail([
      Reporting.flag(
        "--address", "is \(written), which cannot be resolved", "write an IP address, or unix:PATH")
    ])
  }
}

extension AdminClientFailure {
  /// What to do about it.
  var hint: String {
    "check that the proxy runs with `admin` in its configuration, and the address (--address)"
  }
}
