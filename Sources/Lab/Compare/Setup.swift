// What every subject is put into: the configuration that the variants run with (the user's, or one that
// is made), the origin behind it, and what the load asks. The configuration's file stays as it is; what
// differs from it is said beside it (`millrace run FILE --set …`), where the proxy checks it like the
// file's own text, and where the report shows it.

import Configuration
import Glibc
import TLS

struct Setup {
  /// Path and text of the file that all variants start from.
  var file = ""
  var text = ""
  /// What the file says, with the origin put in where that was asked for.
  var configuration = ProxyConfiguration()
  /// Values beside the file that all variants share.
  var overrides: [Override] = []
  /// The listener that the load goes to.
  var listener = 0
  /// Paths that the load asks for.
  var paths: [String] = []
  /// The Host field, where a URL named one.
  var host: String?
  /// The certificate that the load is to believe; nil: any.
  var authority: String?
  var workload = WorkloadFacts()

  var usesTLS: Bool { configuration.listeners[listener].tls != nil }

  /// Where the load finds a subject's port.
  func urls(port: UInt16) -> [String] {
    paths.map { "\(usesTLS ? "https" : "http")://127.0.0.1:\(port)\($0)" }
  }

  // MARK: One that is made

  /// TLS, keep-alive, small responses, and an audit log that is durable before each of them: the
  /// work that this project was begun for.
  static func made(
    in workspace: Workspace, origin: String
  ) throws(CompareFailure) -> Setup {
    let (certificate, key) = try trialCertificate(in: workspace)
    var setup = Setup()
    setup.text = """
      # Made by millrace compare. The listener's address and the audit log's directory are replaced
      # for each variant.
      listeners:
        - name: edge
          address: "127.0.0.1:8443"
          tls:
            certificates: [{certificate: \(yaml(certificate)), key: \(yaml(key))}]
      upstreams:
        origin: {servers: ["\(origin)"]}
      audit:
        directory: \(yaml(workspace.path("audit")))
        durability: before_response

      """
    setup.file = workspace.path("millrace.yaml")
    try TextFile.write(setup.file, setup.text)
    setup.authority = certificate
    setup.workload.name = "TLS with a durable audit log"
    setup.workload.description =
      "TLS termination, HTTP/1.1 kept alive, and a record of every request on disk before its"
      + " response (durability: before_response)"
    try setup.load([])
    return setup
  }

  static func trialCertificate(
    in workspace: Workspace
  ) throws(CompareFailure) -> (certificate: String, key: String) {
    let made: SelfSigned
    do {
      made = try SelfSigned(names: ["DNS:localhost", "IP:127.0.0.1"])
    } catch {
      throw CompareFailure("cannot generate a certificate: \(error)", hint: "check openssl.cnf")
    }
    let paths = (workspace.path("trial.pem"), workspace.path("trial.key"))
    try TextFile.write(paths.0, made.certificate)
    try TextFile.write(paths.1, made.key, isPrivate: true)
    return paths
  }

  // MARK: The user's

  /// The user's configuration; its upstreams are kept, or give way to `origin`.
  static func given(
    _ file: String, origin: String?
  ) throws(CompareFailure) -> Setup {
    guard access(file, R_OK) == 0 else {
      throw CompareFailure(
        "cannot read \(file): \(String(cString: strerror(errno)))",
        hint: "write the path of a readable file", status: 2)
    }
    var setup = Setup()
    setup.file = file
    setup.text = TextFile.read(file)
    setup.workload.name = file
    setup.workload.description =
      origin == nil
      ? "\(file), with its own upstreams" : "\(file), with millrace origin as the upstream"
    try setup.load([])
    if let origin {
      setup.overrides = setup.configuration.upstreams.map {
        Override(path: "upstreams.\(key($0.name)).servers", value: "[\"\(origin)\"]")
      }
      try setup.load(setup.overrides)
    }
    return setup
  }

  /// Reads the file with values beside it; every problem is the user's to see.
  mutating func load(_ overrides: [Override]) throws(CompareFailure) {
    configuration = try read(overrides)
  }

  /// What a variant's configuration is, checked before anything runs.
  func read(_ overrides: [Override]) throws(CompareFailure) -> ProxyConfiguration {
    let result = ProxyConfiguration.load(
      bytes: Array(text.utf8), file: file, overrides: overrides
    ) { name in getenv(name).map { String(cString: $0) } }
    guard let configuration = result.configuration else {
      throw CompareFailure(renderReport(result.problems), hint: "", status: 2)
    }
    return configuration
  }

  // MARK: What is asked

  /// Takes paths, or URLs of one listener and one host.
  mutating func ask(_ urls: [String]) throws(CompareFailure) {
    paths = []
    for (number, url) in (urls.isEmpty ? ["/"] : urls).enumerated() {
      let asked = try AskedURL(url)
      let place = try find(asked, url)
      if number > 0 && (place != listener || asked.fieldHost != host) {
        throw CompareFailure(
          "--url \(url) has another listener or host than the first one",
          hint: "compare one at a time, or use paths only", status: 2)
      }
      listener = place
      host = asked.fieldHost
      paths.append(asked.path)
    }
  }

  /// The listener with the URL's port, or else the first that speaks its scheme.
  private func find(_ asked: AskedURL, _ url: String) throws(CompareFailure) -> Int {
    guard let usesTLS = asked.usesTLS else { return listener }
    let fitting = configuration.listeners.indices.filter {
      (configuration.listeners[$0].tls != nil) == usesTLS
    }
    let exact = fitting.first { index in
      guard case .ip(_, let port) = configuration.listeners[index].address else { return false }
      return port == asked.port
    }
    guard let found = exact ?? fitting.first else {
      throw CompareFailure(
        "--url \(url): no listener of \(file) serves \(usesTLS ? "TLS" : "plain HTTP")",
        hint: "write \(usesTLS ? "http" : "https")://, or only a path", status: 2)
    }
    return found
  }

  // MARK: Texts

  /// A text as YAML inside double quotes; `${` would be taken for a variable.
  static func yaml(_ text: String) -> String {
    var result = "\""
    for character in text.replacing("${", with: "$${") {
      if character == "\"" || character == "\\" { result.append("\\") }
      result.append(character)
    }
    return result + "\""
  }

  /// A key as a step of a path.
  static func key(_ name: String) -> String {
    let isPlain = name.utf8.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 95
        || $0 == 45
    }
    return isPlain && !name.isEmpty ? name : "\"\(name)\""
  }
}

/// The parts of a `--url`.
struct AskedURL: Equatable {
  /// nil for a path alone.
  var usesTLS: Bool?
  var port: UInt16 = 0
  /// What the Host field is to say: nil for addresses of this machine, which are not the proxy's
  /// name.
  var fieldHost: String?
  var path = "/"

  init(_ text: String) throws(CompareFailure) {
    if text.hasPrefix("/") {
      path = text
      return
    }
    let rest: Substring
    if text.hasPrefix("https://") {
      (usesTLS, port, rest) = (true, 443, text.dropFirst(8))
    } else if text.hasPrefix("http://") {
      (usesTLS, port, rest) = (false, 80, text.dropFirst(7))
    } else {
      throw CompareFailure(
        "--url \(text) is neither a path nor a URL",
        hint: "write /path, https://host/path or http://host/path", status: 2)
    }
    let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    let target = rest.dropFirst(authority.count).prefix { $0 != "#" }
    path = target.isEmpty ? "/" : target.hasPrefix("?") ? "/" + target : String(target)
    var host = authority
    if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
      host = authority[..<colon]
      guard let number = UInt16(authority[colon...].dropFirst()), number > 0 else {
        throw CompareFailure(
          "--url \(text) has an invalid port", hint: "write a port from 1 to 65535", status: 2
        )
      }
      port = number
    }
    let isThisMachine = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0", ""].contains(String(host))
    fieldHost = isThisMachine ? nil : String(authority)
  }
}
