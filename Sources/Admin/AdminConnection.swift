// One connection of the control plane: what has come in, what is still to go out, and until when. It reads
// HTTP/1.1 by the parser that the proxy has, and believes nothing: heads and content have limits, and a page
// in a browser on this machine that was made elsewhere can neither read an answer nor change anything.

import Glibc
import HTTP
import HTTP1

struct AdminConnection {
  /// In bytes. No request of ours has more than a few hundred.
  static let headLimits = HeadLimits(headBytes: 16_384, targetBytes: 4096, fields: 64)
  static let contentMaximum = 65_536
  /// In nanoseconds: for a request to be there whole, for a response to be taken, between two requests.
  static let requestTime: Int64 = 5_000_000_000
  static let responseTime: Int64 = 10_000_000_000
  static let idleTime: Int64 = 60_000_000_000

  enum Step: Equatable {
    /// Nothing can be done before more bytes come.
    case waits
    case serve(AdminRequest, keepsAlive: Bool)
    /// The answer to what is no request, or to one that is not allowed. It is the connection's last.
    case refuse(AdminResponse)
  }

  let descriptor: Int32
  /// A TCP connection: any page in a browser can open one.
  let isTCP: Bool
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var sent = 0
  private(set) var deadline: Int64
  private(set) var closesAfterOutput = false

  init(_ descriptor: Int32, isTCP: Bool, now: Int64) {
    self.descriptor = descriptor
    self.isTCP = isTCP
    deadline = now + Self.requestTime
  }

  var isSending: Bool { sent < output.count }
  /// Between two requests.
  var isIdle: Bool { !isSending && input.isEmpty }

  // MARK: Reading

  /// Takes what has come. - Returns: false at the end of the stream, or if it failed.
  mutating func receive(now: Int64) -> Bool {
    var chunk = [UInt8](repeating: 0, count: 16_384)
    let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    if count > 0 {
      if input.isEmpty { deadline = now + Self.requestTime }
      input += chunk[..<count]
      return true
    }
    return count < 0 && (errno == EAGAIN || errno == EINTR)
  }

  /// The next request of what has come.
  mutating func step(_ head: inout RequestHead) -> Step {
    if isSending || closesAfterOutput || input.isEmpty { return .waits }
    let outcome = input.withUnsafeBytes { head.parse($0, limits: Self.headLimits) }
    switch outcome {
    case .incomplete: return .waits
    case .rejected(let rejection):
      return .refuse(
        .problem(
          Int(rejection.status), "the request cannot be read: \(rejection)",
          hint: "send HTTP/1.1"))
    case .complete(let length): return step(&head, length)
    }
  }

  private mutating func step(_ head: inout RequestHead, _ length: Int) -> Step {
    var count = 0
    switch head.framing {
    case .none: break
    case .length(let declared):
      guard declared <= UInt64(Self.contentMaximum) else {
        return .refuse(
          .problem(413, "the content is too large", hint: "send at most 64 KiB"))
      }
      count = Int(declared)
    default:
      return .refuse(
        .problem(411, "the content has no length", hint: "send Content-Length"))
    }
    guard input.count >= length + count else { return .waits }
    let request = input.withUnsafeBytes { bytes -> Result<AdminRequest, AdminRefusal> in
      let view = head.view(in: bytes)
      if let refusal = AdminRefusal(view, isTCP: isTCP) { return .failure(refusal) }
      return .success(Self.request(view, Array(bytes[length..<(length + count)])))
    }
    input.removeFirst(length + count)
    switch request {
    case .success(let request): return .serve(request, keepsAlive: head.isPersistent)
    case .failure(let refusal): return .refuse(refusal.response)
    }
  }

  private static func request(_ view: RequestView, _ content: [UInt8]) -> AdminRequest {
    func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }
    var accept: [String] = []
    for i in 0..<view.fieldCount {
      let line = view.field(i)
      if AdminRefusal.isNamed(view, line, "accept") { accept.append(text(view.slice(line.value))) }
    }
    return AdminRequest(
      method: text(view.methodName), path: text(view.path), query: text(view.query),
      accept: accept.joined(separator: ","), content: content)
  }

  // MARK: Writing

  /// Puts a response in front of what is to go out.
  mutating func answer(_ response: AdminResponse, keepsAlive: Bool, withContent: Bool, now: Int64) {
    var head = "HTTP/1.1 \(response.status) \(Self.reason(response.status))\r\n"
    head += "Content-Type: \(response.type)\r\nContent-Length: \(response.content.count)\r\n"
    head += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    for field in response.fields { head += field + "\r\n" }
    head += keepsAlive ? "\r\n" : "Connection: close\r\n\r\n"
    output = Array(head.utf8)
    if withContent { output += response.content }
    sent = 0
    closesAfterOutput = !keepsAlive
    deadline = now + Self.responseTime
  }

  /// Sends what goes without waiting. - Returns: false if the connection is to be closed.
  mutating func flush(now: Int64) -> Bool {
    while isSending {
      let count = output.withUnsafeBytes { bytes in
        send(
          descriptor, bytes.baseAddress.map { $0 + sent }, bytes.count - sent,
          Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        sent += count
      } else {
        return count < 0 && (errno == EAGAIN || errno == EINTR)
      }
    }
    if !output.isEmpty {
      output = []
      sent = 0
      deadline = now + (input.isEmpty ? Self.idleTime : Self.requestTime)
    }
    return !closesAfterOutput
  }

  private static func reason(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 202: "Accepted"
    case 400: "Bad Request"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 411: "Length Required"
    case 413: "Content Too Large"
    case 421: "Misdirected Request"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    default: "Error"
    }
  }
}
