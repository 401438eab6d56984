// Whether the sessions of a context tend to send long plaintext. OpenSSL tells secrets as text, which takes some 20 µs of
// a handshake: only where long sessions are likely does sealing their records repay that.

import Synchronization

/// How many of the last sessions of a context have sent much at a time, of those that could seal their records. Sessions of several threads share it.
struct SessionLengths: ~Copyable {
  /// Bytes of long plaintext that save more than the secret costs: 0.13 µs for each KiB behind the first 64.
  static let worthwhile = 224 * 1024
  /// One long session in eight is enough: what it saves has no bound.
  private static let weight = 7
  /// As many short sessions as pass before none is expected to be long, at first and at most.
  private static let most = 64
  /// One session in so many is taken for a long one whatever others were.
  private static let trial: UInt = 64

  private let score = Atomic<Int>(most)
  private let begun = Atomic<UInt>(0)

  /// Whether the next session should know its secret.
  func expectsLong() -> Bool {
    let number = begun.wrappingAdd(1, ordering: .relaxed).oldValue
    return score.load(ordering: .relaxed) > 0 || number % Self.trial == 0
  }

  /// Notes a session: a long one as soon as it is one, a short one at its end. Two at once may count as one: it is an
  /// estimate.
  func note(isLong: Bool) {
    let now = score.load(ordering: .relaxed) + (isLong ? Self.weight : -1)
    score.store(min(Self.most, max(-Self.most, now)), ordering: .relaxed)
  }
}
