// What HTTP/2 keeps of one request on its way to a server, and of the response to it. A stream has a slot
// among the connections to servers, since to its exchange it is one: with output of its own, input that
// waits, and a deadline.

import MillraceEngine
import Transport

struct HTTP2ClientStream: ~Copyable {
  /// Slot of the connection that it is on; -1: that has ended.
  var connection: Int32 = -1
  /// Its place in the session; -1: the session has forgotten it.
  var place: Int32 = -1
  /// Its number on the wire.
  var id: UInt32 = 0
  /// It is none yet: whether its server takes a tunnel is known with its SETTINGS.
  var awaitsSettings = false
  /// Its request is kept until the server has chosen HTTP/2 on its connection.
  var awaitsChoice = false
  /// It is in `HTTP2Connection.ready`.
  var isReady = false
  /// A frame of it has been given to the connection: it can no longer be taken back without a reset.
  var hasLeft = false
  /// END_STREAM has been written behind the request.
  var hasWrittenEnd = false
  /// Request content waits for a window to open.
  var awaitsWindow = false
  /// Bytes of DATA in `outgoing`, for which a window was taken.
  var reserved = 0
  /// Bytes of content that the request has still to bring; -1: unknown.
  var remaining: Int64 = -1
  /// The response is whole, behind what is unread.
  var hasEnded = false
  /// The last byte of the content waits, unread, for END_STREAM to say that the response is whole.
  var holdsLast = false
  /// The last content, between its event and that of the end, which comes next.
  var lastContent: BufferSlice?
  /// The trailers behind it, as lines of HTTP/1.1.
  var trailers: BufferSlice?
}
