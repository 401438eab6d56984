// What a client's protocol keeps of one request and its response.

import HTTP
import HTTP1
import MillraceEngine

struct ServerStream: ~Copyable {
  /// How the content reaches the server: as it came, and from HTTP/2 in chunks where its length is not
  /// announced.
  private(set) var framing: BodyFraming
  let version: HTTPVersion
  /// Field lines of the request that go no further for their name.
  var droppedFields = 0

  // HTTP/1.1
  /// Finds the request's content.
  var body: BodyDecoder
  /// True when the response's content leaves in chunks.
  var sendsChunks = false

  var http2 = HTTP2ServerStream()

  @inline(__always)
  init(framing: BodyFraming, version: HTTPVersion) {
    self.framing = framing
    self.version = version
    body = BodyDecoder(framing, trailerLimits: .trailers)
  }

  /// What follows has no framing.
  mutating func becomeTunnel() {
    framing = .untilClose
    body.begin(.untilClose)
    sendsChunks = false
  }

  @inline(__always) var isHTTP2: Bool { version == .http2 }
}
