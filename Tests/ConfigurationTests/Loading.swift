// What the tests of this room share: loading a text, the lines of its problems, and a right
// configuration to put one wrong value into.

import Configuration

func load(_ text: String, _ environment: [String: String] = [:]) -> LoadResult {
  ProxyConfiguration.load(bytes: Array(text.utf8), file: "m.yaml") { environment[$0] }
}

/// The problems of a text as they are printed.
func lines(_ text: String, _ environment: [String: String] = [:]) -> [String] {
  load(text, environment).problems.map(\.description)
}

/// A configuration that is right, with `extra` as further top-level lines.
func minimal(_ extra: String = "", listener: String = "", upstream: String = "") -> String {
  """
  listeners: [{address: "127.0.0.1:8080"\(listener.isEmpty ? "" : ", " + listener)}]
  upstreams: {web: {servers: ["127.0.0.1:3000"]\(upstream.isEmpty ? "" : ", " + upstream)}}
  \(extra)
  """
}
