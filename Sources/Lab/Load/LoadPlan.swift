// What a load run does, as one plain value: whom it asks for what, how fast, over which connections,
// and for how long. Flags, request files and logs are turned into it; the load threads only read it.

public import MillraceEngine
public import TLS

/// A load run.
public struct LoadPlan: Sendable {
  /// The servers that are asked; `RequestTemplate.server` is an index into them.
  public var servers: [LoadServer] = []
  /// What is asked, with weights.
  public var requests: [RequestTemplate] = []
  /// How the moments at which requests leave are chosen.
  public var pacing = LoadPacing.closed
  /// Connections in all, over all threads.
  public var connections = 64
  /// Threads, each with an engine of its own.
  public var threads = 1
  /// Which engine the threads use; nil: io_uring where it works, otherwise epoll.
  public var engine: EngineKind?
  /// CPUs that the threads are pinned to, in order and over again; empty: none.
  public var processors: [Int] = []
  /// Requests in flight on one connection: pipelined in HTTP/1.1, streams in HTTP/2.
  public var requestsInFlight = 1
  /// Requests after which a connection is closed and another one opened; nil: never.
  public var requestsPerConnection: Int?
  public var version = LoadVersion.http11
  /// Whether a TLS connection offers the session of an earlier one (RFC 8446, section 2.2).
  public var resumesSessions = false
  public var trust = TLSClientContext.Trust.anyone
  /// Nanoseconds of load that are not counted, before those that are.
  public var warmUpNanoseconds: Int64 = 1_000_000_000
  /// Nanoseconds that are counted; a replay ends with its log, if that is earlier
  /// (`LoadSchedule.wholeNanoseconds`).
  public var durationNanoseconds: Int64 = 10_000_000_000
  /// Requests after which the run ends, if that is earlier; nil: no limit.
  public var requestLimit: Int?
  /// Nanoseconds from the moment of sending after which a request has failed and its connection is closed.
  public var timeoutNanoseconds: Int64 = 10_000_000_000
  /// Connections that read no faster than `slowReaderBytesPerSecond`, out of `connections`.
  public var slowReaders = 0
  public var slowReaderBytesPerSecond = 16_384
  /// Chooses templates and Poisson gaps: the same seed sends the same requests.
  public var seed: UInt64 = 1

  public init() {}
}

/// One server, resolved before the run.
public struct LoadServer: Sendable {
  /// As in the URL: what Host, :authority and SNI say.
  public var host: String
  /// The text of the Host field (with a port where it is not the scheme's own).
  public var authority: String
  public var address: SocketAddress
  public var usesTLS: Bool

  public init(host: String, authority: String, address: SocketAddress, usesTLS: Bool) {
    self.host = host
    self.authority = authority
    self.address = address
    self.usesTLS = usesTLS
  }
}

/// One kind of request, and what its response must be.
public struct RequestTemplate: Sendable {
  /// The name under which results are given apart; the method and target otherwise.
  public var name: String
  public var server = 0
  public var method = "GET"
  /// Origin form: path and query (RFC 9112, section 3.2.1).
  public var target = "/"
  /// Field lines beside Host and Content-Length, which are made.
  public var fields: [(name: String, value: String)] = []
  /// The request's content; empty: none.
  public var content: [UInt8] = []
  /// How often it is sent, in proportion to the others.
  public var weight = 1.0
  /// The status that counts as success; nil: 200 to 399.
  public var expectedStatus: Int?
  /// The content that the response must have, byte by byte; nil: any.
  public var expectedContent: [UInt8]?
  /// The length of content that the response must have; nil: any.
  public var expectedLength: Int?

  public init(name: String) { self.name = name }
}

/// When requests leave.
public enum LoadPacing: Sendable {
  /// Each connection sends the next request when a response is there: the most that the server can.
  case closed
  /// So many requests per second at equal gaps, whatever the server does; latency counts from the
  /// planned moment.
  case constant(rate: Double)
  /// The same rate with exponentially distributed gaps.
  case poisson(rate: Double)
  /// Moments taken from a log: nanoseconds from the start (ascending) and the index of the
  /// template.
  case replay(LoadSchedule)

  /// Whether the moments are chosen beforehand.
  public var isOpen: Bool {
    if case .closed = self { return false }
    return true
  }
}

/// The moments of a replay.
public struct LoadSchedule: Sendable {
  /// Nanoseconds from the start, ascending.
  public var sendTimes: [Int64]
  /// For each moment the index of its template.
  public var templates: [UInt32]

  /// From the first moment to the last.
  public var spanNanoseconds: Int64 { sendTimes.last ?? 0 }
  /// A duration in which all of it is sent. A second more than its span, so that the last requests are
  /// still in time when they leave a little late; the run ends with the log all the same.
  public var wholeNanoseconds: Int64 { spanNanoseconds + 1_000_000_000 }

  public init(sendTimes: [Int64], templates: [UInt32]) {
    self.sendTimes = sendTimes
    self.templates = templates
  }
}

/// What is spoken.
public enum LoadVersion: String, Sendable, CaseIterable {
  case http11 = "http/1.1"
  /// By ALPN over TLS, with prior knowledge otherwise (RFC 9113, section 3.3).
  case http2 = "h2"
}
