// Reads the admin server's address, and refuses one that other machines could reach or that traffic is
// served on.

extension Reader {
  mutating func admin(_ value: Located, listeners: [ReadListener]) -> AdminConfiguration? {
    let example = "admin: {address: unix:\(AdminConfiguration.standardPath)}"
    guard let fields = fields(value, Shapes.admin, example: example) else { return nil }
    guard let place = fields["address"] else {
      return AdminConfiguration(addressLocation: location(value))
    }
    guard
      let address = address(
        place, as: .listener, key: "address", example: "unix:\(AdminConfiguration.standardPath)")
    else { return nil }
    if case .ip(let host, let port) = address, !Self.isLoopback(host) {
      report(
        place, "is \(address), which other machines can reach",
        "write unix:\(AdminConfiguration.standardPath), or a loopback address such as"
          + " 127.0.0.1:\(port)")
      return nil
    }
    for listener in listeners {
      guard let taken = listener.configuration, let overlap = address.overlap(taken.address)
      else { continue }
      report(
        place, overlap + " (line \(taken.addressLocation.line))",
        "use an address of its own: the admin server is never reachable from a listener")
      return nil
    }
    return AdminConfiguration(address: address, addressLocation: location(place))
  }

  /// Whether an address in canonical text is 127.0.0.0/8 (RFC 1122 3.2.1.3) or ::1 (RFC 4291 2.5.3).
  private static func isLoopback(_ host: String) -> Bool {
    host == "::1" || host.hasPrefix("127.")
  }
}
