// One request to the collector on a connection of its own: batches are rare, and a connection that is not kept
// cannot be stale. Every call ends within its time; what comes back is foreign bytes.

import Configuration
import Glibc
import MillraceEngine

/// Where spans are posted to.
struct Collector {
  enum Result {
    case done
    /// Not worth another try.
    case refused(String)
    /// Nanoseconds that the collector asks to wait; 0: it does not say.
    case later(String, Int64)
  }

  let name: String
  private let tracing: TracingConfiguration

  /// Of each call on the socket, and of all of a request.
  private static let callMilliseconds = 5_000
  private static let requestNanoseconds: Int64 = 10_000_000_000
  private static let responseMaximum = 64 << 10

  init(_ tracing: TracingConfiguration) {
    self.tracing = tracing
    name = "http://\(tracing.authority)\(tracing.path)/v1/traces"
  }

  func post(_ body: [UInt8]) -> Result {
    do {
      let descriptor = try connect()
      guard descriptor >= 0 else { return .later("the name has no address", 0) }
      defer { Glibc.close(descriptor) }
      let head =
        "POST \(tracing.path)/v1/traces HTTP/1.1\r\nHost: \(tracing.authority)\r\n"
        + "Content-Type: application/json\r\nContent-Length: \(body.count)\r\nConnection: close\r\n\r\n"
      let end = SystemClock.monotonicNanoseconds() + Self.requestNanoseconds
      try send(Array(head.utf8) + body, descriptor, until: end)
      return Self.result(try receive(descriptor, until: end))
    } catch {
      return .later("\(error)", 0)
    }
  }

  /// Tries the addresses of the name one after the other: localhost is ::1 first, and a collector may not be there.
  /// - Returns: negative if the name has none.
  private func connect() throws -> Int32 {
    guard case .ip(let host, let port) = tracing.address else { return -1 }
    let addresses = try SocketAddress.resolve(host: host, port: port, passive: false)
    for address in addresses.dropLast() {
      if let found = try? ControlSockets.connect(address, milliseconds: Self.callMilliseconds) {
        return found
      }
    }
    guard let last = addresses.last else { return -1 }
    return try ControlSockets.connect(last, milliseconds: Self.callMilliseconds)
  }

  private func send(_ bytes: [UInt8], _ descriptor: Int32, until end: Int64) throws(SystemFailure) {
    var at = 0
    while at < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress.map { $0 + at }, $0.count - at, Int32(MSG_NOSIGNAL))
      }
      if count > 0 { at += count } else { try check("send", end) }
      if SystemClock.monotonicNanoseconds() > end {
        throw SystemFailure(code: ETIMEDOUT, operation: "send")
      }
    }
  }

  /// The head of the response; what is behind it says nothing that is used.
  private func receive(_ descriptor: Int32, until end: Int64) throws(SystemFailure) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < Self.responseMaximum {
      let count = chunk.withUnsafeMutableBytes {
        Glibc.recv(descriptor, $0.baseAddress, $0.count, 0)
      }
      if count == 0 { break }
      if count > 0 { bytes += chunk[..<count] } else { try check("receive", end) }
      if Self.headEnd(bytes) != nil { break }
      if SystemClock.monotonicNanoseconds() > end {
        throw SystemFailure(code: ETIMEDOUT, operation: "receive")
      }
    }
    return bytes
  }

  private func check(_ operation: String, _ end: Int64) throws(SystemFailure) {
    let code = errno
    if code == EINTR { return }
    throw SystemFailure(code: code == EAGAIN ? ETIMEDOUT : code, operation: operation)
  }

  // MARK: The response

  private static func headEnd(_ bytes: [UInt8]) -> Int? {
    guard bytes.count >= 4 else { return nil }
    return (0...(bytes.count - 4)).first {
      bytes[$0] == 13 && bytes[$0 + 1] == 10 && bytes[$0 + 2] == 13 && bytes[$0 + 3] == 10
    }
  }

  /// What a response means (OTLP/HTTP): 2xx is success, and 429, 502, 503 and 504 may be tried again.
  static func result(_ bytes: [UInt8]) -> Result {
    guard let end = headEnd(bytes) else { return .later("the response has no head", 0) }
    let lines = String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\r\n")
    let words = (lines.first ?? "").split(separator: " ")
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
      return .refused("the response is not HTTP")
    }
    switch status {
    case 200..<300: return .done
    case 429, 502, 503, 504:
      var wait: Int64 = 0
      for line in lines.dropFirst() where line.lowercased().hasPrefix("retry-after:") {
        let value = line.dropFirst(12).drop { $0 == " " }
        // A date is not worth reading: the usual wait does.
        if let seconds = Int64(value.prefix(9)) { wait = max(0, seconds) * 1_000_000_000 }
      }
      return .later("status \(status)", wait)
    default: return .refused("status \(status)")
    }
  }
}
