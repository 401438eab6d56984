// HTTP/2 towards clients: sessions, heads read from them, responses written as frames. It knows the
// wire format and what a connection keeps of it, and nothing of servers.

import Configuration
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import Transport

struct HTTP2Server: ~Copyable {
  /// By the connection's slot; initialised where a connection speaks HTTP/2.
  private let connections: UnsafeMutablePointer<HTTP2Connection>
  /// Heads and trailer sections as they are read.
  var reader: HTTP2HeadReader
  var head: HTTP2RequestHead
  var trailers: HTTP2Trailers
  private let memory = HTTP2Memory()
  private let options: HTTP2EndpointOptions
  private let fields: Int
  private var date = HTTPDate()

  init(_ limits: LimitsConfiguration) {
    connections = .allocate(capacity: limits.connections)
    var options = HTTP2EndpointOptions()
    options.headBytes = limits.requestHead
    self.options = options
    // Pseudo-fields are fields to HPACK.
    fields = limits.requestFields + 4
    reader = HTTP2HeadReader(bytes: options.headBytes, fields: fields)
    head = HTTP2RequestHead(fieldCapacity: fields, targetBytes: limits.requestTarget)
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

  // MARK: Responses

  /// Writes the head of a response that comes from a server.
  /// - Returns: false if it has no room.
  mutating func writeHead<E: Engine & ~Copyable>(
    _ response: ResponseView, to buffer: inout SendBuffer, _ stream: inout HTTP2ServerStream,
    announcesNoTable: Bool, method: HTTPMethod, _ loop: inout Loop<E>
  ) -> Bool {
    let forwarding = ResponseForwarding(response, pseudonym: loop.plan.via.raw)
    if forwarding.addsDate { date.refresh(wallMicroseconds: loop.engine.wallMicroseconds) }
    let content = response.content(for: method)
    let ends = content == .none || content == .length(0)
    if case .length(let length) = content { stream.remaining = Int64(clamping: length) }
    let id = stream.id
    let capacity = HTTP2ResponseWriter.capacity(block: FieldBlockWriter.capacity(for: forwarding))
    let written = buffer.write(capacity: capacity) { room in
      HTTP2ResponseWriter.writeHead(
        id, endsStream: ends, announcesNoTable: announcesNoTable, into: room
      ) { block in
        block.response(forwarding, method: method, date: date)
      }
    }
    stream.hasWrittenEnd = ends
    return written > 0
  }

  /// Writes an interim head, if there is room.
  func writeInterimHead<E: Engine & ~Copyable>(
    _ response: ResponseView, to buffer: inout SendBuffer, _ stream: borrowing HTTP2ServerStream,
    announcesNoTable: Bool, _ loop: inout Loop<E>
  ) {
    let forwarding = ResponseForwarding(response, pseudonym: loop.plan.via.raw)
    let id = stream.id
    let capacity = HTTP2ResponseWriter.capacity(block: FieldBlockWriter.capacity(for: forwarding))
    _ = buffer.write(capacity: capacity) { room in
      HTTP2ResponseWriter.writeHead(
        id, endsStream: false, announcesNoTable: announcesNoTable, into: room
      ) { $0.interimResponse(response) }
    }
  }

  /// Writes a response of the proxy's own: a short text with the reason.
  /// - Returns: bytes of its content; nil if it has no room.
  mutating func writeReply<E: Engine & ~Copyable>(
    status: UInt16, label: StaticString, to buffer: inout SendBuffer,
    _ stream: inout HTTP2ServerStream, announcesNoTable: Bool, isHead: Bool, window: Int,
    _ loop: inout Loop<E>
  ) -> Int? {
    let reason = staticBytes(reasonPhrase(status))
    let labelBytes = staticBytes(label)
    let size = 4 + reason.count + 3 + labelBytes.count + 1
    // A client without any window gets the status alone.
    let hasContent = !isHead && window >= size
    let ends = !stream.isMalformed
    let id = stream.id
    let written = date.withBytes(wallMicroseconds: loop.engine.wallMicroseconds) { date in
      buffer.write(capacity: 640) { room in
        var count = HTTP2ResponseWriter.writeHead(
          id, endsStream: ends && !hasContent, announcesNoTable: announcesNoTable, into: room
        ) { block in
          block.status(status)
          block.field("Date", date)
          block.field("Content-Type", "text/plain; charset=utf-8")
          if hasContent || isHead { block.contentLength(UInt64(size)) }
          if status == 405 || status == 200 {
            block.field("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")
          }
          if status == 503 { block.field("Retry-After", "1") }
        }
        guard count > 0, hasContent else { return count }
        guard let base = room.baseAddress,
          room.count - count >= HTTP2ResponseWriter.dataOverhead + size
        else { return -1 }
        HTTP2ResponseWriter.writeDataHead(id, count: size, endsStream: ends, to: base + count)
        count += HTTP2ResponseWriter.dataOverhead
        var text = HeadWriter(UnsafeMutableRawBufferPointer(rebasing: room[count...]))
        text.append(decimal: UInt64(status))
        text.append(" ")
        text.append(reason)
        text.append(" (")
        text.append(labelBytes)
        text.append(")\n")
        return text.overflowed ? -1 : count + text.count
      }
    }
    guard written > 0 else { return nil }
    stream.hasWrittenEnd = ends
    return hasContent ? size : 0
  }

  /// Writes what a call of gRPC gets instead: a head alone, which is the trailers of its response
  /// (Trailers-Only, PROTOCOL-HTTP2.md).
  /// - Returns: bytes of its content, which it has none of; nil if it has no room.
  mutating func writeGRPCReply<E: Engine & ~Copyable>(
    _ grpc: GRPCStatus, status: UInt16, label: StaticString, to buffer: inout SendBuffer,
    _ stream: inout HTTP2ServerStream, announcesNoTable: Bool, _ loop: inout Loop<E>
  ) -> Int? {
    let reason = staticBytes(reasonPhrase(status))
    let labelBytes = staticBytes(label)
    let size = 4 + reason.count + 2 + labelBytes.count + 1
    let id = stream.id
    let written = date.withBytes(wallMicroseconds: loop.engine.wallMicroseconds) { date in
      buffer.write(capacity: 640) { room in
        HTTP2ResponseWriter.writeHead(
          id, endsStream: true, announcesNoTable: announcesNoTable, into: room
        ) { block in
          block.status(200)
          block.field("Date", date)
          block.field("Content-Type", "application/grpc")
          block.field("grpc-status", decimal: UInt64(grpc.rawValue))
          withUnsafeTemporaryAllocation(byteCount: 4 * size, alignment: 1) { memory in
            var text = HeadWriter(UnsafeMutableRawBufferPointer(rebasing: memory[..<size]))
            text.append(decimal: UInt64(status))
            text.append(" ")
            text.append(reason)
            text.append(" (")
            text.append(labelBytes)
            text.append(")")
            let encoded = UnsafeMutableRawBufferPointer(rebasing: memory[size...])
            let count = GRPCStatus.encodeMessage(
              UnsafeRawBufferPointer(rebasing: memory[..<text.count]), into: encoded)
            block.field("grpc-message", UnsafeRawBufferPointer(rebasing: encoded[..<count]))
          }
        }
      }
    }
    guard written > 0 else { return nil }
    stream.hasWrittenEnd = true
    return 0
  }
}
