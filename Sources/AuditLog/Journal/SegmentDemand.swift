// SegmentDemand is what the rest of a journal wants of the prepare lane at one moment. Journal gathers
// it; the lane decides by it and looks at nothing else.

struct SegmentDemand {
  /// The log's directory or its live segment has gone.
  var isLost: Bool
  /// It is lost, and its segments are not given up yet.
  var isLosing: Bool
  var isShuttingDown: Bool
  /// Another segment follows the active one.
  var hasReady: Bool
  /// Records wait for a segment that can take them.
  var isWaiting: Bool
  /// Less room is left than requests need while a segment is made.
  var lacksRoom: Bool
  /// Nothing is promised, and nothing waits to be committed.
  var isSettled: Bool

  /// At shutdown only what is still to be written justifies another segment.
  var endNeedsSegment: Bool { !hasReady && isWaiting }
}
