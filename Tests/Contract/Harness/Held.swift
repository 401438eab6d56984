// What a harness keeps of completions for the test to look at: boxes for what cannot be copied.

import MillraceEngine

/// What became of an operation, so far.
struct Outcome {
  /// Results of the completions without bytes, in order.
  var results: [Int32] = []
  /// Received bytes, in order, whatever the pieces.
  var bytes: [UInt8] = []
  var pieces = 0
  var datagrams: [ReceivedDatagram] = []
  var status: FileStatus?
  var terminals = 0
  /// The result of the terminal completion.
  var ending: Int32?
  /// Of a relay: its sink has failed.
  var isOfSink = false
}

/// A datagram as a plain value.
struct ReceivedDatagram {
  let content: [UInt8]
  let sender: SocketAddress
  let segmentSize: Int
  let isTruncated: Bool
}

/// Received bytes that a test keeps.
final class HeldSlice {
  let slice: BufferSlice
  init(_ slice: consuming BufferSlice) { self.slice = slice }
}

final class HeldFileBuffer {
  let buffer: FileBuffer
  init(_ buffer: consuming FileBuffer) { self.buffer = buffer }
  func bytes(_ count: Int) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: buffer.base, count: count))
  }
}

final class HeldFileBuffers {
  let list: FileBufferList
  init(_ list: consuming FileBufferList) { self.list = list }
  func bytes(_ index: Int) -> [UInt8] { Array(list.bytes(index)) }
}
