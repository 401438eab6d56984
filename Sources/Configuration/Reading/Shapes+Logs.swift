// The keys of the access log and of tracing.

import Variables

extension Shapes {
  /// Of a listener or a route.
  static let accessLogSwitch = Choice(
    "an access log setting", ["on", "off"], meant: ["no": "off", "none": "off", "yes": "on"])

  package static let accessLog = MappingShape(
    "the access log",
    [
      KeyShape(
        "to", .text(maximum: filePath, example: "/var/log/millrace/access.log"), required: true),
      KeyShape(
        "format",
        .either([
          .choice(
            Choice(
              "a format", ["common", "combined", "json"],
              meant: ["clf": "common", "ndjson": "json"])),
          .text(maximum: Template.textMaximum, example: "\"{client_address} {status}\""),
        ]), default: "combined"),
      KeyShape(
        "fields",
        .list(
          .choice(Choice("a variable", Variable.allCases.map(\.name))),
          count: 1...Template.variablesMaximum)),
      KeyShape("sample", .fraction, default: "1"),
      KeyShape("keep_errors", .boolean, default: "true"),
      KeyShape("redact_query", .boolean, default: "false"),
      KeyShape("syslog", .mapping(syslog)),
    ])

  package static let syslog = MappingShape(
    "syslog",
    [
      KeyShape(
        "address", .address(example: "unix:/dev/log"),
        default: "unix:\(SyslogConfiguration.standardPath)"),
      KeyShape(
        "facility",
        .choice(Choice("a syslog facility", SyslogConfiguration.facilities)),
        default: "local7"),
      // APP-NAME has 48 characters at most, RFC 5424 6.
      KeyShape("tag", .text(maximum: 48, example: "millrace"), default: "millrace"),
    ])

  package static let tracing = MappingShape(
    "tracing",
    [
      KeyShape("endpoint", .text(maximum: 512, example: "http://127.0.0.1:4318"), required: true),
      KeyShape("sample", .fraction, default: "0.01"),
      KeyShape("service_name", .text(maximum: 128, example: "edge"), default: "millrace"),
    ])
}
