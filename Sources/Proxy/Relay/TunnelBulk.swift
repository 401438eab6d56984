// How much goes through a tunnel: what decides whether its bytes are still looked at, or left to the kernel.

/// The two directions of a tunnel.
struct TunnelBulk: BitwiseCopyable {
  var request = BulkFlow()
  var response = BulkFlow()

  @inline(__always)
  var isDraining: Bool { request.step == .draining || response.step == .draining }
}

/// One direction of a tunnel.
struct BulkFlow: BitwiseCopyable {
  enum Step: UInt8, BitwiseCopyable {
    /// Bytes come and go by buffers.
    case copying
    /// They are to be left to the kernel: nothing more is received until what was has left.
    case draining
    /// They go by the kernel.
    case passing
  }

  var step = Step.copying
  /// Bytes that had gone through when the window began.
  private var before: UInt64 = 0
  /// When it began, in monotonic nanoseconds.
  private var since: Int64 = 0

  /// The window, in nanoseconds.
  private static var window: Int64 { 1_000_000_000 }
  /// How long a direction that the kernel would not take is not tried again.
  private static var pause: Int64 { 60_000_000_000 }

  /// The bytes in a second from which on a direction is left to the kernel, by default. Below, the pipe, its two
  /// system calls a piece and the way there and back cost as much as copies save.
  static var standardThreshold: Int { 4 << 20 }

  /// Takes note that bytes have come. - Returns: whether there are enough to be left to the kernel.
  mutating func note(_ total: UInt64, _ now: Int64, threshold: Int) -> Bool {
    guard now >= since else { return false }
    if now - since > Self.window {
      since = now
      before = total
    }
    return total &- before >= UInt64(threshold)
  }

  /// The kernel would not.
  mutating func refuse(_ now: Int64) {
    step = .copying
    since = now + Self.pause
  }
}
