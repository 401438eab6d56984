// Another proxy as a subject: what every peer's file gives (its configuration at its defaults and tuned
// by its own documentation), and how one is looked for. A peer gets what Millrace gets: the same
// certificate, a thread for each of the same CPUs, the same origin, and a request log where Millrace audits.

import Glibc

/// What a peer is to do.
struct PeerPlan {
  var port: UInt16
  /// Paths of the certificate and its key; nil: plaintext.
  var certificate: String?
  var key = ""
  /// "1.2" or "1.3".
  var minimumVersion = "1.2"
  /// Addresses of the origin's servers, `127.0.0.1:3000`.
  var servers: [String]
  /// Whether each request is logged, as the nearest to an audit log that the peer has.
  var logsRequests = false
  /// As many as the proxy has CPUs.
  var threads = 1
  /// Connections that the load opens.
  var connections = 64
  var speaksHTTP2 = false
  /// Where its files are, and what it writes.
  var folder: String
  var isTuned = false
  /// Whether this process is root, whose servers change their user.
  var isRoot = geteuid() == 0
}

/// How a peer is started.
struct PeerSetup {
  /// The configuration's name and text, written into the plan's folder.
  var configuration: (name: String, text: String)
  /// After the program's path.
  var arguments: [String]
  var environment: [(name: String, value: String)] = []
  /// Whether its certificate and key have to stand in one file, `both.pem`.
  var needsBothInOneFile = false
}

/// A kind of proxy that a comparison knows.
struct Peer: Sendable {
  var name: String
  var program: String
  /// What makes the program say its version.
  var versionArguments: [String]
  /// The pages that the tuned configuration follows.
  var documentation: String
  /// What the request log of this peer is, beside an audit log that is durable.
  var logNote: String
  var setUp: @Sendable (PeerPlan) throws(CompareFailure) -> PeerSetup

  static let all: [Peer] = [.nginx, .haproxy, .envoy, .h2o, .caddy]

  static func named(_ name: String) -> Peer? { all.first { $0.name == name } }

  /// The path of its program, or nil. Debian keeps servers in sbin, which is not in everybody's
  /// PATH.
  var path: String? {
    var places = (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":")
    places += ["/usr/local/sbin", "/usr/sbin", "/sbin"]
    for place in places {
      let candidate = "\(place)/\(program)"
      if access(candidate, X_OK) == 0 { return candidate }
    }
    return nil
  }
}

extension PeerPlan {
  /// `http` or `https` as the load asks it.
  var usesTLS: Bool { certificate != nil }

  func path(_ name: String) -> String { folder + "/" + name }
}
