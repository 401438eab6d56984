// The whole configuration of one proxy as a plain value, replaceable as a whole at run time. It is
// built by `load` from the bytes of a file, or by hand from command-line flags. It owns no file, no
// clock and no environment: what it needs of them is passed in.

/// Which I/O engine the workers run on.
public enum EngineChoice: String, Sendable, Equatable, CaseIterable {
  /// io_uring where the probe proves it, else epoll.
  case automatic = "auto"
  case uring = "io_uring"
  case epoll = "epoll"
}

/// How many workers run.
public enum WorkerCount: Sendable, Equatable {
  /// One per CPU that the process may use.
  case automatic
  /// Within `range`.
  case count(Int)

  /// As many as the three digits of a segment's name tell apart; a default kernel affinity mask
  /// holds little more (sched.h, CPU_SETSIZE: 1024).
  public static let range = 1...999
}

/// Whether each worker is bound to a CPU of its own.
public enum Pinning: String, Sendable, Equatable, CaseIterable {
  /// Only when the workers number the CPUs of the affinity mask and no cgroup quota is below it.
  case automatic = "auto"
  case on = "on"
  case off = "off"
}

/// Which worker a new connection goes to.
public enum Placement: String, Sendable, Equatable, CaseIterable {
  /// Any, by a hash of its addresses: evenly spread.
  case off
  /// The one that is pinned to the CPU that handled the connection's first packet.
  case cpu
  /// The one that serves the device queue that the connection's first packet came by.
  case queue
}

/// What is written into Via (RFC 9110 7.6.3), in both directions.
public enum ViaSetting: Sendable, Equatable {
  /// Nothing; what others wrote passes on.
  case off
  /// This name as the received-by: token characters, a host or a host with a port, at most
  /// `pseudonymBytesMaximum` bytes.
  case pseudonym(String)

  /// The name of every instance that is not given one.
  public static let standard = ViaSetting.pseudonym("millrace")
  /// Half of what a head's margin has room for; a host name in use is far below it.
  static let pseudonymBytesMaximum = 128
}

/// Everything that a proxy is told at start.
public struct ProxyConfiguration: Sendable, Equatable {
  public var engine: EngineChoice
  public var engineSettings: EngineSettings
  public var workers: WorkerCount
  public var pin: Pinning
  public var placement: Placement
  /// In file order; routes refer to them by index.
  public var listeners: [ListenerConfiguration]
  /// In file order; the first that matches wins.
  public var routes: [RouteConfiguration]
  /// In file order; routes refer to them by index.
  public var upstreams: [UpstreamConfiguration]
  /// nil: no audit log is written.
  public var audit: AuditConfiguration?
  /// nil: no access log is written.
  public var accessLog: AccessLogConfiguration?
  /// nil: no exchange is traced.
  public var tracing: TracingConfiguration?
  /// nil: there is no admin server.
  public var admin: AdminConfiguration?
  public var limits: LimitsConfiguration
  public var via: ViaSetting
  /// Whether `limits.connections` was written, rather than left to its default.
  public var connectionsAreConfigured = false
  public var drain: DrainConfiguration
  public var reload = ReloadConfiguration()

  public init(
    engine: EngineChoice = .automatic,
    engineSettings: EngineSettings = EngineSettings(),
    workers: WorkerCount = .automatic,
    pin: Pinning = .automatic,
    placement: Placement = .off,
    listeners: [ListenerConfiguration] = [],
    routes: [RouteConfiguration] = [],
    upstreams: [UpstreamConfiguration] = [],
    audit: AuditConfiguration? = nil,
    admin: AdminConfiguration? = nil,
    limits: LimitsConfiguration = LimitsConfiguration(),
    via: ViaSetting = .standard,
    drain: DrainConfiguration = DrainConfiguration()
  ) {
    self.engine = engine
    self.engineSettings = engineSettings
    self.workers = workers
    self.pin = pin
    self.placement = placement
    self.listeners = listeners
    self.routes = routes
    self.upstreams = upstreams
    self.audit = audit
    self.admin = admin
    self.limits = limits
    self.via = via
    self.drain = drain
  }
}

/// What `ProxyConfiguration.load` found.
public struct LoadResult: Sendable, Equatable {
  /// nil if any problem is an error.
  public var configuration: ProxyConfiguration?
  /// What could be read, also where there are errors: for further checks, not for use.
  public var partial: ProxyConfiguration?
  /// All of them, errors and warnings, in file order; at most `maximumProblems` and one that
  /// says how many more there are.
  public var problems: [Problem]

  /// Past this many, a person stops reading: the first few are the cause of the rest.
  public static let maximumProblems = 100

  public init(
    configuration: ProxyConfiguration?, partial: ProxyConfiguration? = nil, problems: [Problem]
  ) {
    self.configuration = configuration
    self.partial = partial
    self.problems = problems
  }
}
