// The access log and tracing in the configuration in force.

import Admin
import Configuration
import Variables

private typealias Member = JSONValue.Member

extension AccessLogConfiguration {
  var document: JSONValue {
    var members: [Member] = []
    switch destination {
    case .standardOutput: members.append(Member("to", .text("stdout")))
    case .file(let path): members.append(Member("to", .text(path)))
    case .syslog(let syslog):
      members += [
        Member("to", .text("syslog")),
        Member(
          "syslog",
          .object([
            Member("address", .text(syslog.address.description)),
            Member("facility", .text(SyslogConfiguration.facilities[syslog.facility])),
            Member("tag", .text(syslog.tag)),
          ])),
      ]
    }
    switch format {
    case .json(let variables):
      members += [
        Member("format", .text("json")),
        Member("fields", .array(variables.map { .text($0.name) })),
      ]
    case .text(let template): members.append(Member("format", .text(template.source)))
    }
    members += [
      Member("sample", .text(shareText(samplePerMillion))),
      Member("keep_errors", .boolean(keepsErrors)), Member("redact_query", .boolean(redactQuery)),
    ]
    return .object(members)
  }
}

extension TracingConfiguration {
  var document: JSONValue {
    .object([
      Member("endpoint", .text("http://\(authority)\(path)")),
      Member("sample", .text(shareText(samplePerMillion))),
      Member("service_name", .text(serviceName)),
    ])
  }
}

/// Millionths as a decimal number: `0.25`.
private func shareText(_ millionths: Int) -> String {
  if millionths % 1_000_000 == 0 { return "\(millionths / 1_000_000)" }
  let digits = "\(1_000_000 + millionths)".dropFirst()
  return "0." + String(digits.reversed().drop { $0 == "0" }.reversed())
}
