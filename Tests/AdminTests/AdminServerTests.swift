// The admin server with real sockets: what it serves, whom it refuses, and that neither bytes nor silence
// of a client harm it.

import Glibc
import MillraceEngine
import Testing

@testable import Admin

private struct Echo: AdminHandler {
  func respond(to request: AdminRequest) -> AdminResponse {
    if request.path == "/large" {
      return .text(String(repeating: "x", count: 4_000_000))
    }
    return .text("\(request.method) \(request.path) \(request.query) \(request.content.count)")
  }
}

/// A server on a loopback address or a UNIX socket, stopped at the end.
private final class Served {
  let server: AdminServer
  let address: SocketAddress
  let thread: WorkerThread

  init(unix path: String? = nil) throws {
    if let path {
      var unix = try #require(SocketAddress(unixPath: path))
      unix.unixMode = 0o660
      address = unix
      server = try AdminServer(unix, Echo())
    } else {
      let any = try #require(
        try SocketAddress.resolve(host: "127.0.0.1", port: 0, passive: true).first)
      server = try AdminServer(any, Echo())
      address = try #require(
        try SocketAddress.resolve(host: "127.0.0.1", port: server.port, passive: false).first)
    }
    thread = try server.start()
  }

  deinit {
    server.stop()
    thread.join()
  }

  /// Sends bytes and reads to the end of the stream.
  func exchange(_ text: String) throws -> String {
    let descriptor = try ControlSockets.connect(address, milliseconds: 8000)
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    shutdown(descriptor, Int32(SHUT_WR))
    var found: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { return String(decoding: found, as: UTF8.self) }
      found += chunk[..<count]
    }
  }
}

private let host = "Host: 127.0.0.1:9\r\n"

private let siteCases: [(fields: String, status: String)] = [
  ("Host: attacker.example\r\n", "421"), ("Host: 127.0.0.1.attacker.example\r\n", "421"),
  ("Host: 10.0.0.1\r\n", "421"), ("Host: 0.0.0.0:9\r\n", "421"),
  ("\(host)Origin: http://attacker.example\r\n", "403"), ("\(host)Origin: null\r\n", "403"),
  ("\(host)Origin: https://127.0.0.1:9\r\n", "403"),
  ("\(host)SEC-fetch-SITE: cross-site\r\n", "403"),
  ("\(host)Sec-Fetch-Site: same-site\r\n", "403"),
  ("\(host)", "200"), ("Host: LocalHost\r\n", "200"), ("Host: [::1]:9\r\n", "200"),
  ("Host: 127.1.2.3\r\n", "200"), ("\(host)Origin: http://127.0.0.1:9\r\n", "200"),
  ("\(host)Sec-Fetch-Site: same-origin\r\n", "200"),
  ("\(host)Sec-Fetch-Site: none\r\n", "200"),
]

private let hostileBytes: [String] = [
  "\0\0\0\0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n\(host)Content-Length: 99999999\r\n\r\n",
  "GET / HTTP/1.1\r\n\(host)Content-Length: 18446744073709551615\r\n\r\n",
  "POST / HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "GET / HTTP/1.1\r\n\(host)X: \(String(repeating: "x", count: 20_000))\r\n\r\n",
  "GET /\(String(repeating: "x", count: 5000)) HTTP/1.1\r\n\(host)\r\n",
  "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", "\r\n\r\n\r\n\r\n", "GET",
]

@Suite("The admin server")
struct AdminServerTests {
  @Test("requests on one connection are answered in order")
  func pipelined() throws {
    let served = try Served()
    let text = try served.exchange(
      "GET /a?b=c HTTP/1.1\r\n\(host)\r\nPOST /p HTTP/1.1\r\n\(host)Content-Length: 3\r\n\r\nabc"
        + "HEAD /h HTTP/1.1\r\n\(host)Connection: close\r\n\r\n")
    let parts = text.components(separatedBy: "HTTP/1.1 ")
    #expect(parts.count == 4)
    #expect(parts[1].hasSuffix("\r\n\r\nGET /a b=c 0\n"))
    #expect(parts[2].hasSuffix("\r\n\r\nPOST /p  3\n"))
    #expect(parts[3].hasSuffix("Connection: close\r\n\r\n"))
    #expect(text.contains("X-Content-Type-Options: nosniff"))
  }

  @Test("a response that is larger than socket buffers arrives whole")
  func large() throws {
    let served = try Served()
    let response = try AdminClient(served.address).get("/large")
    #expect(response.status == 200 && response.content.count == 4_000_001)
  }

  @Test(
    "what another site's page can send is refused",
    arguments: siteCases)
  func sites(_ fields: String, _ status: String) throws {
    let served = try Served()
    let text = try served.exchange("POST /x HTTP/1.1\r\n\(fields)Content-Length: 0\r\n\r\n")
    #expect(text.hasPrefix("HTTP/1.1 \(status) "), "\(text)")
  }

  @Test(
    "bytes that are no request are refused, and the server goes on",
    arguments: hostileBytes)
  func hostile(_ bytes: String) throws {
    let served = try Served()
    let text = try served.exchange(bytes)
    #expect(!text.hasPrefix("HTTP/1.1 200"), "\(text)")
    #expect(try AdminClient(served.address).get("/").status == 200)
  }

  @Test("a connection that says nothing keeps nobody out, and more than the limit are not kept")
  func silent() throws {
    let served = try Served()
    var descriptors: [Int32] = []
    for _ in 0..<(AdminServer.connectionsMaximum + 8) {
      descriptors.append(try ControlSockets.connect(served.address, milliseconds: 8000))
    }
    defer { for descriptor in descriptors { close(descriptor) } }
    #expect(try AdminClient(served.address).get("/").status == 200)
  }

  @Test(
    "a UNIX socket has mode 0660, serves its owner whatever Host says, and goes with the server")
  func unix() throws {
    let path = "/tmp/millrace-admin-test-\(getpid()).sock"
    unlink(path)
    do {
      let served = try Served(unix: path)
      var facts = stat()
      #expect(stat(path, &facts) == 0 && facts.st_mode & 0o777 == 0o660)
      let text = try served.exchange(
        "GET /u HTTP/1.1\r\nHost: what.ever\r\nConnection: close\r\n\r\n")
      #expect(text.hasPrefix("HTTP/1.1 200 "))
      #expect(
        try AdminClient(served.address).post("/p", "ab").content == Array("POST /p  2\n".utf8))
    }
    #expect(access(path, F_OK) != 0)
  }

  @Test("a client tells apart what is no answer")
  func client() throws {
    #expect(throws: AdminClientFailure.self) { try AdminClient.response([]) }
    #expect(throws: AdminClientFailure.self) {
      try AdminClient.response(Array("SSH-2.0\r\n\r\n".utf8))
    }
    #expect(throws: AdminClientFailure.self) {
      try AdminClient.response(Array("HTTP/1.1 x\r\n\r\n".utf8))
    }
    #expect(try AdminClient.response(Array("HTTP/1.1 204 N\r\n\r\n".utf8)).status == 204)
  }
}

extension String {
  fileprivate func components(separatedBy separator: String) -> [String] {
    var parts: [String] = []
    var rest = self[...]
    while let range = rest.firstRange(of: separator) {
      parts.append(String(rest[..<range.lowerBound]))
      rest = rest[range.upperBound...]
    }
    return parts + [String(rest)]
  }
}
