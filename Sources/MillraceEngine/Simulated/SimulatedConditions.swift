// How a simulated world treats those who live in it. A calm one does what it is told, soon; any
// other injects, with the given probabilities, what a kernel, a network and a disk may legally do.

/// The weather of a world. Probabilities are per 1000; times are nanoseconds of virtual time.
public struct SimulatedConditions: Sendable {
  // MARK: The network

  /// One way, per segment.
  public var latency: ClosedRange<Int> = 5_000...50_000
  /// Bytes of a segment.
  public var segmentBytes: ClosedRange<Int> = 1448...65_536
  /// Receive buffer of a socket: what may arrive before somebody reads. Each socket has a size of
  /// its own within the range.
  public var receiveRoom: ClosedRange<Int> = 131_072...262_144
  /// Send buffer of a socket: what is taken before the other side has it.
  public var sendRoom: ClosedRange<Int> = 131_072...262_144
  /// The first try of a send takes only a part.
  public var shortSends = 0
  /// A segment comes late, by a latency spike.
  public var latencySpikes = 0
  public var latencySpike: ClosedRange<Int> = 1_000_000...200_000_000
  /// A segment arrives together with the one before it.
  public var coalescing = 0
  /// A segment is lost with its whole connection: both ends see a reset.
  public var resets = 0
  /// A reset overtakes the bytes that are under way, so that they are lost.
  public var overtakingResets = 0
  /// A connect that would succeed is refused.
  public var refusals = 0
  /// An accept meets the limit of descriptors: EMFILE.
  public var acceptExhaustions = 0
  /// A connection is gone before it is accepted: ECONNABORTED.
  public var acceptAborts = 0
  /// A datagram is lost; comes twice; comes late.
  public var datagramLoss = 0
  public var datagramDuplicates = 0
  public var datagramDelays = 0
  /// Bytes of datagrams that may wait in a socket.
  public var datagramRoom = 212_992

  // MARK: The engine

  /// A receive finds no buffer although there is one: ENOBUFS, seen by nobody above the engine.
  public var starvation = 0
  /// A wait returns early, with nothing: a signal, a spurious wake.
  public var emptyWaits = 0
  /// Completions of different descriptors change places, and a wait leaves some for the next.
  public var reordering = 0
  /// A send is tried only when the engine waits next, as a ring does.
  public var deferredSends = 0
  /// A quiet send's success is reported in its own turn, as epoll does, not with the next event.
  public var eagerQuietSends = 0
  /// A cancellation takes effect in the next turn, so that what it cancels may be faster.
  public var slowCancellations = 0
  /// `isLowOnBuffers` is true although there are enough.
  public var falseAlarms = 0
  /// A received piece is smaller than its buffer although more has arrived.
  public var shortReceives = 0
  /// A zero-copy send copies after all.
  public var copiedZeroCopies = 0
  /// Fewer buffers and frames than the options say; nil: as they say.
  public var smallBuffers: Int?
  public var largeBuffers: Int?
  public var frames: Int?

  // MARK: The disk

  public var diskLatency: ClosedRange<Int> = 10_000...80_000
  public var syncLatency: ClosedRange<Int> = 50_000...400_000
  /// A sync takes very long.
  public var slowSyncs = 0
  public var slowSync: ClosedRange<Int> = 50_000_000...2_000_000_000
  /// Bytes that the disk holds.
  public var diskCapacity = 1 << 40
  /// A read, write or sync ends with EIO.
  public var diskErrors = 0
  /// A write takes only a part, a multiple of 512 bytes.
  public var shortWrites = 0
  /// O_DIRECT is refused at open: EINVAL.
  public var refusesDirect = false
  /// RWF_DSYNC is refused at each write: EOPNOTSUPP.
  public var refusesDurableWrites = false

  /// Nothing out of the ordinary happens.
  public init() {}

  /// Nothing out of the ordinary happens.
  public static let calm = SimulatedConditions()

  /// Conditions of every kind, each there or not, by the dice. The contract of an engine and of a
  /// file system holds in all of them.
  public static func drawn(from dice: inout SimulatedDice) -> SimulatedConditions {
    var c = SimulatedConditions()
    /// Half of the worlds do not know the phenomenon at all.
    func maybe(_ highest: Int) -> Int { dice.chance(500) ? 1 + dice.roll(highest) : 0 }
    let base = [2_000, 20_000, 200_000, 5_000_000][dice.roll(4)]
    c.latency = base...(base * (2 + dice.roll(20)))
    c.segmentBytes =
      dice.chance(200) ? 1...(16 + dice.roll(1448)) : (1 + dice.roll(1448))...65_536
    let receive = 16_384 << dice.roll(5)
    c.receiveRoom = receive / 2...receive
    let send = 16_384 << dice.roll(5)
    c.sendRoom = send / 2...send
    c.shortSends = maybe(300)
    c.latencySpikes = maybe(20)
    c.coalescing = maybe(500)
    c.resets = dice.chance(250) ? 1 + dice.roll(4) : 0
    c.overtakingResets = maybe(1000)
    c.refusals = maybe(50)
    c.acceptExhaustions = maybe(30)
    c.acceptAborts = maybe(50)
    c.datagramLoss = maybe(100)
    c.datagramDuplicates = maybe(20)
    c.datagramDelays = maybe(200)
    c.starvation = maybe(200)
    c.emptyWaits = maybe(200)
    c.reordering = maybe(1000)
    c.deferredSends = maybe(1000)
    c.eagerQuietSends = maybe(1000)
    c.slowCancellations = maybe(1000)
    c.falseAlarms = maybe(300)
    c.shortReceives = maybe(500)
    c.copiedZeroCopies = maybe(1000)
    c.smallBuffers = dice.chance(300) ? 4 + dice.roll(60) : nil
    c.largeBuffers = dice.chance(300) ? 4 + dice.roll(28) : nil
    c.slowSyncs = maybe(100)
    c.shortWrites = maybe(50)
    c.refusesDirect = dice.chance(250)
    c.refusesDurableWrites = dice.chance(250)
    return c
  }
}
