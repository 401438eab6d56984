// HTTP/2 towards servers: sessions, requests written as frames, heads read from them. It knows the wire
// format and what a connection keeps of it, and nothing of clients.

import Configuration
import HTTP
import HTTP2
import MillraceEngine
import Transport

struct HTTP2Client: ~Copyable {
  /// By the connection's slot; initialised where a connection speaks HTTP/2.
  private let connections: UnsafeMutablePointer<HTTP2Connection>
  /// Heads and trailer sections as they are read.
  var reader: HTTP2HeadReader
  var head: HTTP2ResponseHead
  var trailers: HTTP2Trailers
  private let memory = HTTP2Memory()
  private let options: HTTP2EndpointOptions
  private let fields: Int

  /// Streams that a connection has at most, whatever its server allows.
  static var streamsMaximum: Int { 128 }

  /// - Parameter connections: slots for connections to servers.
  init(_ limits: LimitsConfiguration, connections: Int) {
    self.connections = .allocate(capacity: connections)
    var options = HTTP2EndpointOptions()
    options.side = .client
    options.streams = Self.streamsMaximum
    options.headBytes = limits.requestHead
    self.options = options
    // A server's head is bounded like a request's; its fields by what a head can hold.
    fields = max(limits.requestFields, 256)
    reader = HTTP2HeadReader(bytes: options.headBytes, fields: fields)
    head = HTTP2ResponseHead(fieldCapacity: fields)
    trailers = HTTP2Trailers(fieldCapacity: fields)
  }

  deinit { connections.deallocate() }

  @inline(__always)
  subscript(slot: UInt32) -> UnsafeMutablePointer<HTTP2Connection> { connections + Int(slot) }

  /// Begins a session on a connection.
  func open(_ slot: UInt32) {
    let session = HTTP2Endpoint(options, fields: fields, memory: memory)
    (connections + Int(slot)).initialize(to: HTTP2Connection(session: session))
  }

  func close(_ slot: UInt32) { (connections + Int(slot)).deinitialize(count: 1) }

  /// Moves a session to another slot: another address of its server is tried.
  func move(_ slot: UInt32, to next: UInt32) {
    (connections + Int(next)).moveInitialize(from: connections + Int(slot), count: 1)
  }

  // MARK: Requests

  /// Writes a request's head. - Returns: false if it has no room.
  mutating func writeHead(
    _ forwarding: RequestForwarding, to buffer: inout SendBuffer, _ stream: inout HTTP2ClientStream
  ) -> Bool {
    let announces = self[UInt32(bitPattern: stream.connection)].pointee.session.announcesNoTable
    let content = forwarding.request.content
    let ends = content == .none || content == .length(0)
    if case .length(let length) = content { stream.remaining = Int64(clamping: length) }
    let id = stream.id
    let capacity = HTTP2ResponseWriter.capacity(block: FieldBlockWriter.capacity(for: forwarding))
    let written = buffer.write(capacity: capacity) { room in
      HTTP2ResponseWriter.writeHead(
        id, endsStream: ends, announcesNoTable: announces, into: room
      ) { $0.request(forwarding) }
    }
    stream.hasWrittenEnd = ends
    return written > 0
  }
}
