// Asks a running proxy: one request on a connection of its own, which blocks for ten seconds at most.

import Glibc
package import MillraceEngine

/// Why there is no answer.
package struct AdminClientFailure: Error, CustomStringConvertible {
  package let description: String

  package init(description: String) { self.description = description }
}

package struct AdminClient: Sendable {
  private let address: SocketAddress

  /// The proxy that listens there.
  package init(_ address: SocketAddress) { self.address = address }

  /// In milliseconds, for each call: a drain or a status takes none of it.
  private static let waitMilliseconds = 10_000
  /// In bytes: more than a thousand servers need.
  private static let responseMaximum = 64 << 20

  package func get(_ path: String) throws(AdminClientFailure) -> AdminResponse {
    try ask("GET", path)
  }

  package func post(
    _ path: String, _ content: String = ""
  ) throws(AdminClientFailure) -> AdminResponse {
    try ask("POST", path, content)
  }

  private func ask(
    _ method: String, _ path: String, _ content: String = ""
  ) throws(AdminClientFailure) -> AdminResponse {
    let descriptor: Int32
    do throws(SystemFailure) {
      descriptor = try ControlSockets.connect(address, milliseconds: Self.waitMilliseconds)
    } catch {
      throw AdminClientFailure(
        description: "cannot connect to \(address): \(String(cString: strerror(error.code)))")
    }
    defer { close(descriptor) }
    let request =
      "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
      + (method == "POST" ? "Content-Length: \(content.utf8.count)\r\n" : "") + "\r\n" + content
    try write(Array(request.utf8), descriptor)
    return try Self.response(read(descriptor))
  }

  private func write(_ bytes: [UInt8], _ descriptor: Int32) throws(AdminClientFailure) {
    var at = 0
    while at < bytes.count {
      let count = bytes.withUnsafeBytes { bytes in
        send(
          descriptor, bytes.baseAddress.map { $0 + at }, bytes.count - at,
          Int32(MSG_NOSIGNAL))
      }
      if count > 0 { at += count } else if errno != EINTR { throw failure("sent") }
    }
  }

  private func read(_ descriptor: Int32) throws(AdminClientFailure) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while bytes.count < Self.responseMaximum {
      let count = chunk.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      if count == 0 { return bytes }
      if count > 0 { bytes += chunk[..<count] } else if errno != EINTR { throw failure("received") }
    }
    throw AdminClientFailure(description: "the response of \(address) is too large")
  }

  private func failure(_ what: String) -> AdminClientFailure {
    let reason = errno == EAGAIN ? "no answer in time" : String(cString: strerror(errno))
    return AdminClientFailure(description: "nothing could be \(what) (\(address)): \(reason)")
  }

  /// Reads a response that ends with its connection. - Parameter bytes: foreign ones.
  static func response(_ bytes: [UInt8]) throws(AdminClientFailure) -> AdminResponse {
    let malformed = AdminClientFailure(
      description: "the response is not HTTP: not an admin address?")
    let separator: [UInt8] = [13, 10, 13, 10]
    var end = 0
    while end + 4 <= bytes.count, !bytes[end..<(end + 4)].elementsEqual(separator) { end += 1 }
    guard end + 4 <= bytes.count else {
      if bytes.isEmpty {
        throw AdminClientFailure(description: "connection refused: this user has no access")
      }
      throw malformed
    }
    let head = String(decoding: bytes[..<end], as: UTF8.self)
    let words = head.prefix { $0 != "\r\n" && $0 != "\r" }.split(separator: " ")
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
      throw malformed
    }
    var response = AdminResponse(status, type: "", "")
    response.content = Array(bytes[(end + 4)...])
    return response
  }
}
