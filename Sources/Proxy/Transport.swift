// One socket as the proxy sees it: what is in flight in each direction, what waits to leave, what
// came too early, and how far its end has got. Downstream and upstream connections both have one;
// what the bytes mean is theirs.

import Glibc
import MillraceEngine

/// Steps of a connection's end, each of which requires the one before.
enum ClosingStep: UInt8 {
  /// In use.
  case open
  /// Nothing more is read as requests; what is to be sent still leaves.
  case flushing
  /// Our side is shut down; what the peer still sends is read and dropped, for a while.
  case lingering
  /// Operations in flight are being joined; then the descriptor is closed.
  case joining
}

struct Transport: ~Copyable {
  var socket: Descriptor
  /// True exactly while a receive is in flight.
  var receiving = false
  /// The mode of the receive in flight, or of the next one.
  var mode = ReceiveMode.stream
  /// True while the receive in flight is being stopped.
  var stopping = false
  /// True while whoever consumes the input wants no more.
  var paused = false
  /// True after end of stream or an error of the receive, which `endResult` tells apart.
  var readClosed = false
  /// 0, or the negated errno that the last receive ended with.
  var endResult: Int32 = 0
  /// True exactly while a send is in flight.
  var sending = false
  /// Bytes of the send in flight.
  var inFlightBytes = 0
  /// Progress of the send in flight when it was last looked at; `.min`: not yet.
  var progressSeen = Int.min
  /// True while the wheel is to look at the connection soon: see Worker+Watch.swift.
  var isWatched = false
  /// What leaves next.
  var pending: SendFrame?
  var pendingBytes = 0
  /// Input that could not be used yet.
  var held = HeldBytes()
  var closing = ClosingStep.open
  /// True when the close shall be seen as a reset.
  var reset = false
  /// Monotonic nanoseconds at which the current phase has lasted too long; Int64.max: never.
  var deadline = Int64.max

  init(socket: Descriptor) { self.socket = socket }

  /// Bytes that the peer has still to take.
  @inline(__always) var outstanding: Int { inFlightBytes + pendingBytes }
  @inline(__always) var isIdle: Bool { !sending && pendingBytes == 0 }
}

/// Bounds of the relay.
enum Watermark {
  /// Bytes waiting for a slow peer at which nothing more is taken for it; what has arrived
  /// already is held. The kernel's own socket buffers come on top.
  static let high = 262_144
  /// Bytes waiting for a peer above which its sender is not asked for more, and down to which it
  /// is asked again. One large buffer: one leaves while the next one fills, and what arrives
  /// always fits below `high`, so that nothing has to be copied aside.
  static let low = 131_072
  /// Remaining content from which a body is read in large buffers. A smaller one arrives within
  /// two or three bursts of small ones, which a change of mode would only delay.
  static let largeBody: UInt64 = 32_768
  /// What a lingering close reads and drops at most, in bytes: an upload that was refused goes on
  /// for a while before its sender looks at the answer.
  static let lingerBytes = 67_108_864
  /// How long a lingering close waits for the peer's end, in nanoseconds; nginx's
  /// lingering_timeout is the same.
  static let lingerNanoseconds: Int64 = 5_000_000_000
}
