// The windows of a connection as a whole, beside those that each of its streams has (RFC 9113 5.2 and 6.9).

struct ConnectionWindows {
  /// Bytes that the peer may have under way, as configured.
  let target: Int
  /// Bytes of DATA that the peer lets us send on all streams together.
  var send = 65_535
  /// Bytes of DATA that the peer may still send.
  private(set) var receive: Int
  /// Bytes that were consumed and are not given back yet.
  private(set) var credit = 0
  /// Bytes by which windows of streams have grown.
  var growth = 0

  /// - Parameter target: below 65,535 the protocol's own size is what counts, since no frame makes it smaller.
  init(target: Int) {
    self.target = target
    receive = max(target, 65_535)
  }

  /// Bytes that a window of this size must have lost before they are given back: half of it.
  static func worthwhile(_ window: Int) -> Int { window / 2 }

  /// Takes a frame of DATA into account. - Returns: false if it is larger than its peer was allowed.
  mutating func received(_ count: Int) -> Bool {
    receive -= count
    return receive >= 0
  }

  /// Bytes are free again.
  mutating func giveBack(_ count: Int) { credit += count }

  /// Whether a WINDOW_UPDATE is due.
  var isUpdateDue: Bool { credit >= Self.worthwhile(target) }

  /// Gives back what was consumed. - Returns: by how many bytes the window opens, for the WINDOW_UPDATE.
  mutating func takeCredit() -> Int {
    let count = credit
    receive += count
    credit = 0
    return count
  }
}
