// The admin server's address: what is taken, and what is refused because others could reach it.

import Configuration
import Testing

@Suite("The admin server's address")
struct AdminTests {
  @Test("a UNIX socket by default, or a loopback address")
  func taken() throws {
    func address(_ text: String) -> EndpointAddress? {
      let result = load(minimal(text))
      #expect(result.problems == [])
      return result.configuration?.admin?.address
    }
    #expect(address("") == nil)
    #expect(address("admin: {}") == .unix(path: "/run/millrace/admin.sock"))
    #expect(address("admin: {address: unix:/tmp/a.sock}") == .unix(path: "/tmp/a.sock"))
    #expect(address("admin: {address: 127.3.0.1:9}") == .ip(host: "127.3.0.1", port: 9))
    #expect(address("admin: {address: '[::1]:0'}") == .ip(host: "::1", port: 0))
  }

  @Test(
    "an address that other machines reach is refused, and one of a listener",
    arguments: [
      ("0.0.0.0:9901", "which other machines can reach"),
      ("10.0.0.1:9901", "which other machines can reach"),
      ("':9901'", "which other machines can reach"),
      ("'[::ffff:127.0.0.1]:9901'", "which other machines can reach"),
      ("localhost:9901", "write 127.0.0.1:9901"),
      ("127.0.0.1:8080", "another listener already uses"),
      ("9901", "without a colon"),
    ])
  func refused(_ text: String, _ message: String) {
    let problems = load(minimal("admin: {address: \(text)}")).problems
    #expect(problems.count == 1)
    #expect(problems.first?.description.contains(message) == true, "\(problems)")
    #expect(problems.first?.location.keyPath == "admin.address")
  }
}
