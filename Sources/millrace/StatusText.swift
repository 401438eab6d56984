// The status as a person reads it in a terminal.

import Admin

/// The text of `millrace ctl status`.
struct StatusText {
  private let status: JSONValue

  init(_ status: JSONValue) { self.status = status }

  var text: String { (head + listeners + upstreams + limits + audit).joined(separator: "\n") }

  private var head: [String] {
    let engine = status["engine"]
    let off = (engine?["features"]?.items ?? []).filter { $0["state"]?.string == "refused" }
    var lines = [
      "millrace \(string("version")), \(string("phase")), pid \(int(status, "pid")), up"
        + " \(Self.duration(status["uptime_seconds"]?.double ?? 0)), generation"
        + " \(int(status, "generation"))",
      "engine \(engine?["kind"]?.string ?? "-"), \(status["workers"]?.items.count ?? 0) workers, log level"
        + " \(string("log_level"))",
    ]
    for feature in off {
      lines.append(
        "  refused: \(feature["name"]?.string ?? "") (\(feature["why"]?.string ?? ""))")
    }
    let totals = status["totals"] ?? .null
    lines.append(
      "requests \(int(totals, "requests")), responses \(int(totals, "responses")), active"
        + " \(int(totals, "exchanges")), retries \(int(totals, "retries")), upstream failures"
        + " \(int(totals, "upstream_failures"))")
    return lines
  }

  private var listeners: [String] {
    ["", "LISTENER"]
      + (status["listeners"]?.items ?? []).map { listener in
        let tls = listener["tls"]?.bool == true ? " tls" : ""
        return "  \(listener["name"]?.string ?? "")  \(listener["address"]?.string ?? "")"
          + "  \(listener["protocol"]?.string ?? "")\(tls)  accepted \(int(listener, "accepted"))"
          + "  requests \(int(listener, "requests"))  \(Self.classes(listener["responses"]))"
      }
  }

  private var upstreams: [String] {
    var lines = ["", "UPSTREAM"]
    for upstream in status["upstreams"]?.items ?? [] {
      lines.append(
        "  \(upstream["name"]?.string ?? "")  \(upstream["protocol"]?.string ?? "")"
          + "  \(upstream["balance"]?.string ?? "")  \(Self.classes(upstream["responses"]))")
      for server in upstream["servers"]?.items ?? [] {
        lines.append(
          "    \(server["address"]?.string ?? "")  \(server["state"]?.string ?? "")"
            + "  active \(int(server, "active"))  idle \(int(server, "idle"))"
            + "  requests \(int(server, "requests"))  failures \(int(server, "failures"))"
            + "  connect failures \(int(server, "connect_failures"))")
      }
    }
    return lines
  }

  private var limits: [String] {
    ["", "LIMIT"]
      + (status["limits"]?.members ?? []).map { limit in
        "  \(limit.name)  \(int(limit.value, "use"))"
          + (limit.value["limit"]?.int.map { " of \($0)" } ?? "")
      }
  }

  private var audit: [String] {
    guard let audit = status["audit"], audit != .null else { return ["", "AUDIT LOG", "  off"] }
    return [
      "", "AUDIT LOG",
      "  \(audit["directory"]?.string ?? "")  \(audit["durability"]?.string ?? "")  records"
        + " \(int(audit, "records"))  commits \(int(audit, "commits"))  rejected"
        + " \(int(audit, "rejects"))  dropped \(int(audit, "drops"))  unanswered"
        + " \(int(audit, "unanswered"))",
    ]
  }

  private func string(_ name: String) -> String { status[name]?.string ?? "-" }

  private func int(_ value: JSONValue, _ name: String) -> Int { value[name]?.int ?? 0 }

  private static func classes(_ responses: JSONValue?) -> String {
    (responses?.members ?? []).map { "\($0.name) \($0.value.int ?? 0)" }.joined(separator: "  ")
  }

  /// Two units at most: `3d 4h`, `12s`.
  static func duration(_ seconds: Double) -> String {
    let whole = Int(max(0, min(seconds, 1e12)))
    let parts = [
      (whole / 86_400, "d"), (whole / 3600 % 24, "h"), (whole / 60 % 60, "m"), (whole % 60, "s"),
    ]
    guard let first = parts.firstIndex(where: { $0.0 > 0 }) else { return "0s" }
    return parts[first..<min(first + 2, parts.count)].filter { $0.0 > 0 }.map { "\($0.0)\($0.1)" }
      .joined(separator: " ")
  }
}

/// JSON with a line for each member: what a person reads.
enum IndentedText {
  static func of(_ value: JSONValue) -> String {
    var text = ""
    write(value, 0, &text)
    return text
  }

  private static func write(_ value: JSONValue, _ depth: Int, _ text: inout String) {
    let isFlat = value.members.isEmpty && value.items.isEmpty
    guard !isFlat else {
      text += value.text
      return
    }
    let space = String(repeating: "  ", count: depth + 1)
    let end = String(repeating: "  ", count: depth)
    if case .array(let items) = value {
      text += "[\n"
      for (i, item) in items.enumerated() {
        text += space
        write(item, depth + 1, &text)
        text += i + 1 < items.count ? ",\n" : "\n"
      }
      text += end + "]"
    } else {
      text += "{\n"
      for (i, member) in value.members.enumerated() {
        text += space + JSONValue.text(member.name).text + ": "
        write(member.value, depth + 1, &text)
        text += i + 1 < value.members.count ? ",\n" : "\n"
      }
      text += end + "}"
    }
  }
}
