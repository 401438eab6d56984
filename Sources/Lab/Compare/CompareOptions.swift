// What a comparison is asked to do, as one plain value: the command line fills it, the runner reads
// it. Flags of the load and of the origin are passed on as they were written.

/// What is compared, under which load, for how long.
public struct CompareOptions: Sendable {
  /// Which other proxies take part.
  public enum Peers: Sendable, Equatable {
    /// Those that are found on this machine.
    case found
    case none
    /// These; one that is not found is in the report with that as its failure.
    case named([String])
  }

  /// The user's configuration; nil: one that the comparison makes.
  public var configurationFile: String?
  /// Paths, or URLs whose host becomes the Host field.
  public var urls: [String] = []
  /// Flags of `millrace load`, less URL, rate, duration, warm-up and CPUs.
  public var loadArguments: [String] = []
  /// Connections of the load: also in `loadArguments`.
  public var connections = 128
  /// Flags of `millrace origin`, less its address and CPUs.
  public var originArguments: [String] = ["--size", "1KiB"]
  /// Whether the upstreams of the user's configuration give way to `millrace origin`.
  public var replacesOrigin = false
  public var variants: [Variant] = []
  public var peers = Peers.found
  public var measuresDefaults = true
  public var measuresTuned = true
  /// nil: as many as fit five minutes.
  public var rounds: Int?
  /// Minutes that the whole comparison takes; nil: five, or one where it is quick.
  public var minutes: Double?
  /// Deciding quantities; empty: those of the earlier run, or throughput at the maximum, and p99, CPU and
  /// machine time at the lowest equal load.
  public var decidedBy: [DecidingQuantity] = []
  /// Whether another process runs on the proxy's CPUs all the time.
  public var hasNeighbour = false
  /// Seconds that one measurement counts; nil: what fits.
  public var duration: Double?
  /// Requests per second of the stages after the maximum; empty: chosen from the maxima.
  public var rates: [Double] = []
  /// Whether the gaps between planned requests are exponentially distributed.
  public var gapsAreRandom = false
  public var proxyProcessors: [Int]?
  public var loadProcessors: [Int]?
  public var seed: UInt64 = 1
  /// Runs on a machine that is not fit, and says so.
  public var isForced = false
  /// One minute: fewer rounds, no peers unless named.
  public var isQuick = false
  /// Where everything that was written stays; nil: it goes.
  public var keptDirectory: String?
  /// Facts about a target that is not this machine, as text of a JSON file.
  public var containerProfile: String?
  /// The run that this one is going to be compared with: it gets the same rates and the same seconds
  /// where no others are asked for, and does not begin if it cannot be compared.
  public var earlier: Comparison?
  public var command: [String] = []
  public var version = ""
  /// The program whose `run`, `load` and `origin` are used.
  public var program = ""

  public init() {}
}

extension CompareOptions {
  /// The proxies that a comparison knows.
  public static var peerNames: [String] { Peer.all.map(\.name) }

  /// CPUs written as `0-2,5`; empty if they cannot be read.
  public static func processorList(_ text: String) -> [Int] {
    MachineReading.processorList(text)
  }
}
