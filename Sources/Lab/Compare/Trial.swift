// A subject that is ready to be started: its facts for the report, its command line, its port, and what
// has to be cleared before each start. Made once, started anew for each measurement, so that no
// measurement inherits the memory, the tickets or the log of another.

import Configuration
import Glibc

struct Trial {
  var facts: SubjectFacts
  var launch: Launch
  /// The port that the load goes to.
  var port: UInt16
  /// Emptied before each start: audit logs and access logs would grow without end.
  var scratch: [String] = []
  /// Millrace shares its metrics; a build that is too old for it leaves them empty.
  var hasMetrics: Bool { facts.kind == .variant }

  /// A variant of Millrace.
  static func variant(
    _ variant: Variant, _ setup: Setup, _ workspace: Workspace, program: String, processors: [Int]
  ) throws(CompareFailure) -> Trial {
    let folder = try workspace.subdirectory(folderName(variant.name))
    var overrides = setup.overrides + variant.overrides
    var port: UInt16 = 0
    for index in setup.configuration.listeners.indices {
      let each = try workspace.freePort()
      if index == setup.listener { port = each }
      overrides.append(
        Override(path: "listeners[\(index)].address", value: "\"127.0.0.1:\(each)\""))
    }
    var facts = SubjectFacts()
    var scratch: [String] = []
    if let audit = setup.configuration.audit {
      let directory = try workspace.scratch(like: audit.directory)
      overrides.append(Override(path: "audit.directory", value: Setup.yaml(directory)))
      scratch.append(directory)
    }
    let configuration = try setup.read(overrides)
    facts.name = variant.name
    facts.kind = .variant
    facts.engine = configuration.engine.rawValue
    for option in variant.options { facts.options[option.name] = option.value }
    facts.program = variant.program ?? program
    let flags = overrides.flatMap { ["--set", "\($0.path)=\($0.value)"] }
    facts.arguments = ["run", setup.file] + flags
    facts.configurations = ["millrace.yaml": setup.text]
    return Trial(
      facts: facts,
      launch: Launch(
        command: [facts.program] + facts.arguments, output: folder + "/log", processors: processors),
      port: port, scratch: scratch)
  }

  /// A peer; what keeps it from taking part is in the facts.
  static func peer(
    _ peer: Peer, isTuned: Bool, _ setup: Setup, _ workspace: Workspace, processors: [Int],
    connections: Int, speaksHTTP2: Bool
  ) throws(CompareFailure) -> Trial {
    var facts = SubjectFacts()
    facts.name = isTuned ? "\(peer.name) tuned" : peer.name
    facts.kind = .peer
    facts.isTuned = isTuned
    facts.source = isTuned ? peer.documentation : nil
    let folder = try workspace.subdirectory(folderName(facts.name))
    var trial = Trial(
      facts: facts, launch: Launch(command: [], output: folder + "/log", processors: processors),
      port: try workspace.freePort(), scratch: [])
    guard let path = peer.path else {
      trial.facts.failure = "\(peer.program) is not installed"
      return trial
    }
    trial.facts.program = path
    do throws(CompareFailure) {
      var plan = try peerPlan(setup, folder: folder, port: trial.port)
      plan.isTuned = isTuned
      plan.connections = connections
      plan.threads = max(1, processors.count)
      plan.speaksHTTP2 = speaksHTTP2
      try trial.prepare(peer.setUp(plan), plan, path)
      if plan.logsRequests { trial.facts.options["request log"] = peer.logNote }
    } catch {
      guard error.status == 1 else { throw error }
      trial.facts.failure = error.description
    }
    return trial
  }

  private mutating func prepare(
    _ setup: PeerSetup, _ plan: PeerPlan, _ path: String
  ) throws(CompareFailure) {
    try TextFile.write(plan.path(setup.configuration.name), setup.configuration.text)
    facts.configurations[setup.configuration.name] = setup.configuration.text
    if setup.needsBothInOneFile, let certificate = plan.certificate {
      let both = TextFile.read(certificate) + "\n" + TextFile.read(plan.key)
      try TextFile.write(plan.path("both.pem"), both, isPrivate: true)
    }
    facts.arguments = setup.arguments
    launch.command = [path] + setup.arguments
    launch.environment = setup.environment
    launch.directory = plan.folder
    scratch = [plan.path("access.jsonl")]
  }

  /// What a peer has to do to be a peer here; only one upstream for everything translates.
  private static func peerPlan(
    _ setup: Setup, folder: String, port: UInt16
  ) throws(CompareFailure) -> PeerPlan {
    let configuration = setup.configuration
    guard configuration.upstreams.count == 1, let upstream = configuration.upstreams.first else {
      throw CompareFailure(
        "the configuration has \(configuration.upstreams.count) upstreams, and routes are not"
          + " translated for peers", hint: "compare with one upstream")
    }
    var servers: [String] = []
    for server in upstream.servers {
      guard case .ip = server.address else {
        throw CompareFailure(
          "the upstream's \(server.address) is a Unix socket, which is not translated for peers",
          hint: "compare with a TCP address")
      }
      servers.append(server.address.description)
    }
    var plan = PeerPlan(port: port, servers: servers, folder: folder)
    if let tls = setup.configuration.listeners[setup.listener].tls,
      let pair = tls.certificates.first
    {
      plan.certificate = absolute(pair.certificatePath)
      plan.key = absolute(pair.keyPath)
      plan.minimumVersion = tls.minimumVersion == .tls13 ? "1.3" : "1.2"
    }
    plan.logsRequests = configuration.audit != nil
    return plan
  }

  private static func absolute(_ path: String) -> String {
    guard let found = realpath(path, nil) else { return path }
    defer { free(found) }
    return String(cString: found)
  }

  /// A name that a path can have.
  private static func folderName(_ name: String) -> String {
    String(name.map { $0 == "/" || $0 == " " ? "_" : $0 })
  }
}
