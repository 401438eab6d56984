// What an engine counts.

/// An operator's view of an engine: gauges and counters.
public struct EngineCounters: Sendable {
  /// Buffers that are held outside the engine, now.
  public var leasedBuffers = 0
  /// Bytes of memory outside the pools, now.
  public var coldBytes = 0
  /// The highest `coldBytes` so far: each pool's own maximum, summed.
  public var coldBytesHighest = 0
  /// Sends in the making or in flight, now.
  public var framesInUse = 0
  /// Operations that have not had their terminal completion.
  public var operationsInFlight = 0
  /// Calls of `wait`.
  public var turns = 0
  /// Those that waited for several completions (`wait(until:coalescing:before:)`).
  public var coalescedWaits = 0
  /// System calls on the path of data; those of set-up are not counted.
  public var systemCalls = 0
  /// Completions of the kernel; on epoll, readiness events.
  public var completions = 0
  /// Bytes that the kernel copied between sockets and this engine's buffers, both ways; a send's when it ends.
  /// Excludes bytes moved by splice(2), zero-copy sends that copied nothing, and file operations.
  public var bytesCopied = 0
  /// Receives that waited because no buffer was free.
  public var receivesStarved = 0
  /// Receives that the kernel had lost the end of, and that the engine found and armed again.
  public var receivesRevived = 0
  /// Sends that needed more than one try: a measure of slow readers.
  public var sendsShort = 0
  /// Frames whose bytes were copied out of the pools because buffers were few.
  public var framesEvacuated = 0
  /// Times that the submission queue was full within a turn and was submitted early.
  public var submissionQueueFull = 0
  /// Times that the completion queue was full; should stay 0.
  public var completionQueueOverflows = 0
  /// Times that the completion queue was doubled (`EngineFeatures.ringResize`).
  public var completionQueueGrowths = 0
  /// Times that the rings were halved at set-up because memory was short.
  public var ringReductions = 0
  /// Frames that were asked for when all were in use.
  public var frameRefusals = 0
  /// Connections closed at once because their number was beyond `descriptorLimit`.
  public var connectionsRefused = 0
  /// Control operations that ended with ENOBUFS because all their slots were in use.
  public var operationsRefused = 0
  /// Direct slots that were asked for when none was free.
  public var slotRefusals = 0
  /// Registered buffers that were asked for when all were out.
  public var registeredBufferRefusals = 0
  /// Direct slots that are taken, now.
  public var directDescriptorsInUse = 0
  /// Registered buffers that are out, now.
  public var registeredBuffersInUse = 0
  /// Times that a kernel thread had to be woken to take submissions.
  public var submissionThreadWakes = 0
  /// Messages that another engine or thread sent here.
  public var messages = 0
  /// Mailboxes of other engines that this one keeps for its messages, now; at most 64.
  public var correspondents = 0
  /// Times that one of them had to make room for another.
  public var correspondentsReplaced = 0
}
