// A template made ready for the wire, once per thread: its head as bytes, its content in memory that
// sends can refer to instead of copying, and what its response has to be.

import Glibc
import HTTP
import HTTP1
import MillraceEngine

/// The bytes of a response head and what the parser made of them. A server answers one request with
/// the same head for as long as its Date stays, and equal bytes parse equally: comparing 240 of them
/// takes 5 ns, parsing them 300 (nginx's head, hot).
struct RememberedHead {
  /// False takes the fast path away.
  static var isOn: Bool { true }
  /// With more templates none is remembered: it would be a kilobyte for each on each thread, and one
  /// that is asked for rarely finds another Date in its next head anyway.
  static let templatesMaximum = 1000
  /// Longer heads are parsed each time.
  private static let limit = 1024

  /// nil: none is remembered.
  private let bytes: UnsafeMutableRawPointer?
  private(set) var count = 0
  private(set) var status: UInt16 = 0
  private(set) var isPersistent = false
  private(set) var framing = BodyFraming.none

  init(_ remembers: Bool) {
    bytes = remembers && Self.isOn ? .allocate(byteCount: Self.limit, alignment: 64) : nil
  }

  func deallocate() { bytes?.deallocate() }

  @inline(__always)
  func begins(_ input: UnsafeRawBufferPointer) -> Bool {
    count > 0 && input.count >= count && memcmp(input.baseAddress!, bytes!, count) == 0
  }

  @inline(__always)
  mutating func remember(
    _ input: UnsafeRawBufferPointer, _ length: Int, _ head: borrowing ResponseHead,
    _ framing: BodyFraming
  ) {
    guard let bytes, length <= Self.limit else { return }
    bytes.copyMemory(from: input.baseAddress!, byteCount: length)
    count = length
    status = head.status
    isPersistent = head.isPersistent
    self.framing = framing
  }
}

struct PreparedRequest: ~Copyable {
  /// The head, Content-Length included.
  let head: UnsafeRawBufferPointer
  /// The head of a connection's last request: with `Connection: close`, so that the server closes
  /// first and no port of ours stays in TIME_WAIT (RFC 9293, section 3.6).
  let lastHead: UnsafeRawBufferPointer
  /// The content; frames refer to parts of it.
  var content: BufferSlice
  let contentCount: Int
  /// As far as a response's framing depends on it.
  let method: HTTPMethod
  let expectedStatus: UInt16?
  let expectedLength: Int?
  let expectedContent: UnsafeRawBufferPointer?
  let server: Int
  /// Where it is counted (`RequestRows`).
  let row: UInt32
  /// The last head that answered it.
  var remembered: RememberedHead

  init<E: Engine & ~Copyable>(
    _ template: RequestTemplate, _ server: LoadServer, row: UInt32, remembersHeads: Bool,
    _ engine: inout E
  ) {
    self.row = row
    remembered = RememberedHead(remembersHeads)
    head = Self.bytes(Self.head(template, server, isLast: false))
    lastHead = Self.bytes(Self.head(template, server, isLast: true))
    content = engine.coldMemory(max(1, template.content.count))
    content.mutableBytes.copyBytes(from: template.content)
    contentCount = template.content.count
    method =
      switch template.method {
      case "HEAD": .head
      case "CONNECT": .connect
      default: .other
      }
    expectedStatus = template.expectedStatus.map { UInt16(clamping: $0) }
    expectedLength = template.expectedLength
    expectedContent = template.expectedContent.map(Self.bytes)
    self.server = template.server
  }

  deinit {
    head.deallocate()
    lastHead.deallocate()
    expectedContent?.deallocate()
    remembered.deallocate()
  }

  /// Whether a response of this status is a success.
  @inline(__always)
  func accepts(_ status: UInt16) -> Bool {
    if let expectedStatus { return status == expectedStatus }
    return status >= 200 && status < 400
  }

  private static func bytes(_ source: [UInt8]) -> UnsafeRawBufferPointer {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: source.count, alignment: 8)
    memory.copyBytes(from: source)
    return UnsafeRawBufferPointer(memory)
  }

  private static func head(
    _ template: RequestTemplate, _ server: LoadServer, isLast: Bool
  ) -> [UInt8] {
    var text = "\(template.method) \(template.target) HTTP/1.1\r\n"
    func has(_ name: String) -> Bool {
      template.fields.contains { $0.name.lowercased() == name }
    }
    if !has("host") { text += "Host: \(server.authority)\r\n" }
    for field in template.fields { text += "\(field.name): \(field.value)\r\n" }
    // RFC 9110, section 8.6: a method that content is expected with says so when there is none.
    let expectsContent = ["POST", "PUT", "PATCH"].contains(template.method)
    if !has("content-length"), !template.content.isEmpty || expectsContent {
      text += "Content-Length: \(template.content.count)\r\n"
    }
    if isLast && !has("connection") { text += "Connection: close\r\n" }
    return Array((text + "\r\n").utf8)
  }
}
