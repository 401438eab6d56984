// The bounds that an operator may move: how many connections the process holds and how large a
// request's head may grow. Everything is bounded even where nothing is configured.

/// Bounds on what downstream may ask for.
public struct LimitsConfiguration: Sendable, Equatable {
  /// Downstream connections, process-wide; 1…1048576 (the kernel's default fs.nr_open).
  public var connections: Int
  /// Requests in progress at once at each worker, 1…1048576; nil: as many as `connections`. One more
  /// is refused with 503, and counted.
  public var streams: Int?
  /// Bytes of request line and field section together, 1 KiB…1 MiB; past it 431.
  public var requestHead: Int
  /// Bytes of the request target, 256 B…64 KiB and no more than `requestHead`; past it 414.
  /// RFC 9112, section 3, asks for at least 8000.
  public var requestTarget: Int
  /// Field lines of one request, 8…1000; past it 431.
  public var requestFields: Int

  public init(
    connections: Int = 65536,
    streams: Int? = nil,
    requestHead: Int = 64 << 10,
    requestTarget: Int = 8 << 10,
    requestFields: Int = 100
  ) {
    self.connections = connections
    self.streams = streams
    self.requestHead = requestHead
    self.requestTarget = requestTarget
    self.requestFields = requestFields
  }

  /// Slots for requests in progress, at each worker.
  public var exchanges: Int { streams ?? connections }

  /// The key that says how many those are.
  public var exchangesKey: String { streams == nil ? "limits.connections" : "limits.streams" }
}

/// How the proxy stops.
public struct DrainConfiguration: Sendable, Equatable {
  /// 0…24 h from the signal to the end of whatever is still running; 0 waits for nothing.
  public var deadlineNanoseconds: Int64
  /// How long tunnels may go on after another process has taken this one's place; nil: as long as they like.
  public var tunnelsNanoseconds: Int64?

  public init(
    deadlineNanoseconds: Int64 = 30 * DurationUnit.second, tunnelsNanoseconds: Int64? = nil
  ) {
    self.deadlineNanoseconds = deadlineNanoseconds
    self.tunnelsNanoseconds = tunnelsNanoseconds
  }
}

/// When the proxy reads its configuration again without being asked.
public struct ReloadConfiguration: Sendable, Equatable {
  /// The file and the certificates that it names are watched.
  public var watch: Bool

  public init(watch: Bool = false) { self.watch = watch }
}
