// What the admin server serves: reading is GET, changing is POST. It runs on the control thread; the workers
// notice a wake when somebody looks, and nothing else.

import Admin
import Configuration
import Glibc
import Logging
import Metrics
import MillraceEngine
import Synchronization

final class AdminService: AdminHandler, @unchecked Sendable {
  // Sendable: all of it is constant, or made for sharing (atomics, locks, read-only memory).
  let life: ProcessLife
  let metrics: ProxyMetrics
  let board: ControlBoard
  let reader: MetricReader
  /// A copy of it has the same level: setting one's sets all.
  let logger: Logger
  private let server: AdminServerSlot

  /// How long a worker has to publish its figures: a turn of its loop, and more where it is busy.
  private static let publishMilliseconds = 100

  private final class AdminServerSlot: Sendable {
    let server = Mutex<AdminServer?>(nil)
  }

  init(
    _ life: ProcessLife, _ metrics: ProxyMetrics, _ board: ControlBoard, _ logger: Logger
  ) throws(MetricFault) {
    self.life = life
    self.metrics = metrics
    self.board = board
    self.logger = logger
    reader = try metrics.board.reader()
    server = AdminServerSlot()
  }

  // MARK: The server

  /// Listens and serves, where the configuration says so.
  /// - Parameter isUnpublished: under another name, until `publish`.
  /// - Returns: false if it cannot, which is logged.
  func start(isUnpublished: Bool = false) -> Bool {
    guard let admin = life.configuration.admin else { return true }
    do {
      var address: SocketAddress?
      switch admin.address {
      case .unix(let path):
        address = SocketAddress(unixPath: path)
        address?.unixMode = AdminConfiguration.socketMode
        // A socket that nobody serves: what a crash leaves behind. The check before the start has looked.
        let bound = isUnpublished ? path + UnixSocketFile.unpublished : path
        if UnixPathTrial.look(bound) == .stale { _ = UnixPathTrial.remove(bound) }
      case .ip(let host, let port):
        address = try SocketAddress.resolve(host: host, port: port, passive: true).first
      }
      guard let address else {
        throw SystemFailure(code: EINVAL, operation: "admin address \(admin.address)")
      }
      let made = try AdminServer(address, self, isUnpublished: isUnpublished)
      _ = try made.start()
      server.server.withLock { $0 = made }
      let port = made.port == 0 ? "" : " port=\(made.port)"
      logger.info("admin server listening address=\(admin.address)\(port)")
      return true
    } catch {
      logger.critical(
        """
        cannot start admin server address=\(admin.address) error="\(error)" \
        hint="choose another address, or remove admin"
        """)
      return false
    }
  }

  /// Takes the place of another process's admin server.
  func publish() throws(SystemFailure) {
    guard case .unix(let path)? = life.configuration.admin?.address else { return }
    let made = server.server.withLock { $0 }
    try made?.publish(as: path)
  }

  /// At the end of the process.
  func end() { server.server.withLock { $0?.removeFile() } }

  var refusedPeers: Int { server.server.withLock { $0?.refusedPeers ?? 0 } }

  // MARK: Requests

  func respond(to request: AdminRequest) -> AdminResponse {
    let isReading = request.method == "GET" || request.method == "HEAD"
    switch request.path {
    case "/", "/index.html", "/metrics", "/status", "/status.json", "/health", "/ready", "/config":
      return isReading ? read(request) : .notAllowed("GET")
    case "/drain", "/server", "/log-level", "/reload", "/reopen-logs":
      return request.method == "POST" ? change(request) : .notAllowed("POST")
    default:
      return .problem(
        404, "there is no \(request.path)",
        hint:
          "GET / /metrics /status /health /ready /config; POST /drain /server /log-level /reload /reopen-logs"
      )
    }
  }

  private func read(_ request: AdminRequest) -> AdminResponse {
    switch request.path {
    case "/metrics":
      let format = MetricText(accept: request.accept)
      return AdminResponse(200, type: format.type, format.text(families()))
    case "/status", "/status.json": return .json(status())
    case "/config": return .json(life.configuration.document)
    case "/health": return .text("ok")
    case "/ready":
      let phase = life.phase
      return .text(phase.rawValue, status: phase == .serving ? 200 : 503)
    default: return StatusPage.response
    }
  }

  private func change(_ request: AdminRequest) -> AdminResponse {
    switch request.path {
    case "/drain":
      guard life.askToDrain() else {
        return .problem(
          409, "the process is \(life.phase.rawValue)", hint: "a drain has begun, or cannot yet")
      }
      logger.notice("drain requested source=admin")
      return .json(.object([.init("phase", .text("draining"))]), status: 202)
    case "/server": return setServer(JSONValue(parsing: request.content))
    case "/log-level": return setLogLevel(JSONValue(parsing: request.content))
    case "/reopen-logs":
      guard life.accessLog?.reopen() == true else {
        return .problem(409, "there is no access log", hint: "add access_log, and reload")
      }
      return .json(.object([.init("reopened", .text("access_log"))]))
    default: return reload()
    }
  }

  private func setServer(_ content: JSONValue?) -> AdminResponse {
    let words = ServerAdmission.allCases.map(\.name).joined(separator: ", ")
    guard let target = content?["server"]?.string,
      let admission = content?["state"]?.string.flatMap({ ServerAdmission(name: $0) })
    else {
      return .problem(
        400, "the content is not a server and a state",
        hint: "send {\"server\": \"UPSTREAM/ADDRESS\", \"state\": STATE}; states: \(words)")
    }
    let configuration = life.configuration
    for upstream in configuration.upstreams {
      for server in upstream.servers {
        let address = server.address.description
        guard "\(upstream.name)/\(address)" == target else { continue }
        metrics.switches.set(admission, upstream: upstream.name, server: address)
        board.request(WorkerRequest.servers)
        logger.notice(
          "server state set upstream=\(upstream.name) server=\(address) state=\(admission.name)")
        return .json(
          .object([
            .init("server", .text(target)), .init("state", .text(admission.name)),
          ]))
      }
    }
    let known = configuration.upstreams.flatMap { upstream in
      upstream.servers.map { "\(upstream.name)/\($0.address)" }
    }
    return .problem(
      404, "there is no server \(target)",
      hint: "known: \(known.prefix(20).joined(separator: ", "))")
  }

  private func setLogLevel(_ content: JSONValue?) -> AdminResponse {
    let words = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
    guard let level = content?["level"]?.string.flatMap({ Logger.Level(rawValue: $0) }) else {
      return .problem(
        400, "the content is not a log level", hint: "send {\"level\": LEVEL}; levels: \(words)")
    }
    var logger = logger
    let before = logger.logLevel
    logger.logLevel = level
    logger.log(level: max(level, .notice), "log level set from=\(before) to=\(level)")
    return .json(
      .object([
        .init("level", .text(level.rawValue)), .init("before", .text(before.rawValue)),
      ]))
  }

  // MARK: Figures

  /// The figures now. Workers are asked to publish what only they know; one that does not within a moment
  /// is shown as it was.
  func reading() -> MetricReading {
    func published() -> [Int] {
      (0..<board.count).map { metrics.counters($0)[.publishedAt] }
    }
    let before = published()
    if !board.allFinished { board.request(WorkerRequest.publish) }
    for _ in 0..<Self.publishMilliseconds {
      let isOver = zip(before, published()).enumerated().allSatisfy { i, pair in
        pair.0 != pair.1 || board.controls[i].finished.load(ordering: .acquiring)
      }
      if isOver { break }
      Pause.microseconds(1000)
    }
    return reader.read()
  }
}
