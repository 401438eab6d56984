// The configurations of other proxies: each holds what the plan says, its defaults hold no tuning, and
// what cannot be translated is said. That the programs accept them is test_92's to show.

import Testing

@testable import Lab

@Suite struct PeerTests {
  private static let kinds = (0..<16).map { bits in
    (tls: bits & 1 != 0, tuned: bits & 2 != 0, logs: bits & 4 != 0, http2: bits & 8 != 0)
  }

  private func plan(_ kind: (tls: Bool, tuned: Bool, logs: Bool, http2: Bool)) -> PeerPlan {
    var plan = PeerPlan(port: 34_567, servers: ["127.0.0.1:3456"], folder: "/some/folder")
    if kind.tls { (plan.certificate, plan.key) = ("/c/trial.pem", "/c/trial.key") }
    plan.isTuned = kind.tuned
    plan.logsRequests = kind.logs
    plan.speaksHTTP2 = kind.http2
    return plan
  }

  @Test(arguments: ["nginx", "haproxy", "envoy", "h2o", "caddy"])
  func everyConfigurationHoldsItsPlan(_ name: String) throws {
    let peer = try #require(Peer.named(name))
    for kind in Self.kinds {
      let plan = plan(kind)
      let setup = try peer.setUp(plan)
      let text = setup.configuration.text
      #expect(text.contains("34567") && text.contains("3456"))
      #expect(
        text.contains("/some/folder") || !(kind.logs || name == "haproxy" && kind.tls)
          || name == "nginx"
          || name == "haproxy")
      #expect(setup.arguments.contains { $0.hasSuffix(setup.configuration.name) })
      let holdsCertificate = text.contains("/c/trial.pem") || setup.needsBothInOneFile
      #expect(holdsCertificate == kind.tls, "\(name), \(kind)")
      #expect(setup.needsBothInOneFile == (name == "haproxy" && kind.tls))
      // One upper bound for both: braces that open also close.
      #expect(text.count { $0 == "{" } == text.count { $0 == "}" }, "\(name): \(text)")
      // Lines that the plan leaves out leave nothing behind but their absence.
      #expect(!text.contains("\n\n\n") && !text.contains("nil"))
      let request = [
        "access_log access.jsonl", "log-format", "access_log:", "access-log:", "output file",
      ]
      #expect(request.contains { text.contains($0) } == kind.logs, "\(name), \(kind)")
    }
  }

  /// Words that only a tuned configuration may have, by the documentation that it names.
  private static let tuning = [
    "nginx": ["keepalive 256", "proxy_http_version 1.1", "reuseport", "multi_accept"],
    "haproxy": ["http-reuse always", "splice-auto", "tune.bufsize"],
    "envoy": ["circuit_breakers", "generate_request_id: false", "dynamic_stats: false"],
    "h2o": ["proxy.timeout.keepalive", "http1-request-timeout"],
    "caddy": ["keepalive_idle_conns_per_host", "compression off", "idle 300s"],
  ]

  @Test(arguments: Array(tuning.keys))
  func defaultsAreNotTuned(_ name: String) throws {
    let peer = try #require(Peer.named(name))
    for kind in Self.kinds {
      let text = try peer.setUp(plan(kind)).configuration.text
      for word in Self.tuning[name]! {
        #expect(text.contains(word) == kind.tuned, "\(name), \(kind): \(word)")
      }
    }
    #expect(peer.documentation.contains("https://") && !peer.logNote.isEmpty)
  }

  /// Millrace has a worker for each CPU that it is given; a peer with one thread would be compared
  /// with its hands tied.
  @Test func aPeerHasAThreadForEachCPU() throws {
    for peer in Peer.all {
      for kind in Self.kinds {
        var plan = plan(kind)
        let one = try peer.setUp(plan)
        plan.threads = 3
        let three = try peer.setUp(plan)
        func words(_ setup: PeerSetup) -> String {
          let environment = setup.environment.map { "\($0.name)=\($0.value)" }
          return ([setup.configuration.text] + setup.arguments + environment)
            .joined(separator: "\n")
        }
        let said = [
          "worker_processes %;", "nbthread %\n", "--concurrency\n%", "num-threads: %\n",
          "GOMAXPROCS=%",
        ]
        func count(_ number: Int, _ setup: PeerSetup) -> Int {
          said.count { words(setup).contains($0.replacing("%", with: "\(number)")) }
        }
        #expect(count(1, one) == 1 && count(3, three) == 1 && count(1, three) == 0, "\(peer.name)")
      }
    }
  }

  @Test func everyServerOfTheUpstreamIsThere() throws {
    for peer in Peer.all where peer.name != "h2o" {
      var plan = plan((tls: false, tuned: true, logs: false, http2: false))
      plan.servers = ["127.0.0.1:3001", "127.0.0.2:3002", "[::1]:3003"]
      let text = try peer.setUp(plan).configuration.text
      for port in 3001...3003 { #expect(text.contains(String(port)), "\(peer.name)") }
    }
  }

  @Test func whatAPeerCannotDoIsSaid() throws {
    var plan = plan((tls: false, tuned: false, logs: false, http2: false))
    plan.servers.append("127.0.0.1:3002")
    do {
      _ = try Peer.h2o.setUp(plan)
      Issue.record("h2o took two servers")
    } catch {
      #expect(error.status == 1 && error.what.contains("the upstream has 2"))
    }
  }

  @Test func theLeastVersionOfTLSIsTheConfigurations() throws {
    let words = [
      "nginx": "TLSv1.2", "haproxy": "TLSv1.2", "envoy": "TLSv1_2", "h2o": "TLSv1.2",
      "caddy": "tls1.2",
    ]
    for peer in Peer.all {
      var plan = plan((tls: true, tuned: false, logs: false, http2: false))
      #expect(try peer.setUp(plan).configuration.text.contains(words[peer.name]!))
      plan.minimumVersion = "1.3"
      #expect(try !peer.setUp(plan).configuration.text.contains(words[peer.name]!), "\(peer.name)")
    }
  }

  @Test func peersAreFoundByName() {
    #expect(CompareOptions.peerNames == ["nginx", "haproxy", "envoy", "h2o", "caddy"])
    #expect(Peer.named("apache") == nil)
    var nobody = Peer.nginx
    nobody.program = "no-such-program-\(UInt64.random(in: 0 ... .max))"
    #expect(nobody.path == nil)
    nobody.program = "sh"
    #expect(nobody.path?.hasSuffix("/sh") == true)
  }
}
