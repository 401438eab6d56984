// What a connection has of the plans: the listener by whose rules it goes on, and the plans that must stay for it.

/// A connection's hold on plans. Only `LivePlan`, which counts the holds, changes it.
struct PlanUse {
  /// Index of its listener in `LivePlan`.
  let listener: Int32
  /// The places of the plans that it holds, as bits: its listener's, and with HTTP/2 those on which streams
  /// began that may still be in progress.
  let places: UInt64

  init(listener: Int32, places: UInt64) {
    self.listener = listener
    self.places = places
  }
}
