// The forms that people write first: modes of files, numbers with a leading 0, words of other programs.

import Testing

@testable import Configuration

private func upstreamsAnd(_ more: String, listener: String = "address: unix:/run/x.sock") -> String
{
  """
  listeners: [{\(listener)}]
  upstreams: {w: {servers: ["a.b:1"]}}
  \(more)
  """
}

@Suite("Lenient forms")
struct FormTests {
  @Test(
    "a file mode is octal, quoted or not",
    arguments: [("\"0660\"", 0o660), ("0660", 0o660), ("660", 0o660), ("0", 0), ("0777", 0o777)])
  func modes(_ text: String, _ mode: Int) throws {
    let read = load(upstreamsAnd("", listener: "address: unix:/run/x.sock, mode: \(text)"))
    #expect(try #require(read.configuration).listeners[0].mode == UInt32(mode))
  }

  @Test(
    "an invalid mode is rejected",
    arguments: ["0888", "1000", "rw-rw-rw-", "-1", "00660", "[6]", "\"\""])
  func noModes(_ text: String) {
    let read = load(upstreamsAnd("", listener: "address: unix:/run/x.sock, mode: \(text)"))
    #expect(read.configuration == nil)
  }

  @Test("a mode of an IP address is a warning")
  func modeOfAnAddress() {
    let read = load(upstreamsAnd("", listener: "address: \":1\", mode: \"0600\""))
    #expect(read.configuration != nil)
    #expect(read.problems.map(\.severity) == [.warning])
  }

  @Test("a leading 0 is refused in durations, sizes and ports alike")
  func leadingZeros() {
    #expect(Quantity.duration("0s") == .value(0))
    #expect(Quantity.duration("10s") == .value(10_000_000_000))
    for text in ["010s", "00s", "07"] {
      guard case .malformed(let message, _) = Quantity.duration(text) else {
        Issue.record("\(text) is taken")
        continue
      }
      #expect(message.contains("octal"))
    }
    guard case .malformed = Quantity.size("010KiB") else {
      Issue.record("010KiB is taken")
      return
    }
    #expect(throws: EndpointAddress.ParseError.self) {
      try EndpointAddress.parse("127.0.0.1:0808")
    }
    #expect(throws: Never.self) { try EndpointAddress.parse("127.0.0.1:0") }
  }

  @Test("a number without a unit gets suggestions of accepted units only")
  func unitsInRange() {
    let timeout = Int64(1_000_000)...(24 * DurationUnit.hour)
    #expect(Quantity.duration("0", in: timeout) == .tooLarge)
    #expect(
      Quantity.duration("100000", in: timeout)
        == .malformed(
          "is 100000, a number without a unit", hint: "write 100000ms for milliseconds"))
  }

  @Test("what could be read stands beside the errors")
  func partial() throws {
    let read = load(upstreamsAnd("limits: {connections: many}"))
    #expect(read.configuration == nil)
    #expect(try #require(read.partial).listeners.count == 1)
  }

  @Test("whether the limit of connections was written is known")
  func configuredLimit() throws {
    let written = try #require(load(upstreamsAnd("limits: {connections: 7}")).configuration)
    #expect(written.connectionsAreConfigured)
    let other = try #require(load(upstreamsAnd("limits: {request_fields: 9}")).configuration)
    #expect(!other.connectionsAreConfigured)
  }
}
