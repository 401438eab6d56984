// How a connection of HTTP/2 is read after what its receives have brought.

import MillraceEngine
import Testing

@testable import Proxy

@Suite("How HTTP/2 is read")
struct ReceiveSizeTests {
  private static let full = ReceiveSize.smallBuffer

  /// The mode after each of the receives.
  private func modes(_ counts: [Int]) -> [ReceiveMode] {
    var size = ReceiveSize()
    var mode = ReceiveMode.stream
    return counts.map { count in
      mode = size.mode(after: count, in: mode)
      return mode
    }
  }

  @Test("a large buffer after two full small ones in a row, not after n-1 bytes or after one")
  func grows() {
    #expect(modes([Self.full, Self.full]) == [.stream, .once])
    #expect(modes([Self.full - 1, Self.full - 1, Self.full - 1]) == [.stream, .stream, .stream])
    #expect(modes([Self.full, 1, Self.full, 1]) == [.stream, .stream, .stream, .stream])
    #expect(modes([Self.full, 1, Self.full, Self.full]) == [.stream, .stream, .stream, .once])
  }

  @Test("small buffers again after two receives in a row that would fit one")
  func shrinks() {
    let bulk = [Self.full, Self.full]
    #expect(modes(bulk + [Self.full + 1, Self.full]) == [.stream, .once, .once, .once])
    #expect(modes(bulk + [Self.full - 1, Self.full - 1]) == [.stream, .once, .once, .stream])
    #expect(modes(bulk + [1, 65_536, 1]) == [.stream, .once, .once, .once, .once])
    #expect(modes(bulk + [1, 1, Self.full]) == [.stream, .once, .once, .stream, .stream])
  }

  @Test("a large buffer at a time for a peer that is read in pieces, whatever comes")
  func paced() {
    var size = ReceiveSize()
    size.isPaced = true
    for count in [1, 1, 1, Self.full, Self.full] {
      #expect(size.mode(after: count, in: .once) == .once)
      #expect(size.mode(after: count, in: .stream) == .once)
    }
  }

  @Test("a small buffer is what the engine has by default")
  func matches() {
    #expect(EngineOptions().smallBufferSize == Self.full)
  }
}
