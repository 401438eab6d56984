// Tracing as it was configured: where spans go, and how many exchanges have some.

/// The settings of tracing.
public struct TracingConfiguration: Sendable, Equatable {
  /// The collector: an IP address or a name, with its port.
  public var address: EndpointAddress
  /// For Host.
  public var authority: String
  /// What the collector serves OTLP at, without `/v1/traces`; empty or with a slash in front.
  public var path: String
  /// How many of a million exchanges are traced that bring no decision with them.
  public var samplePerMillion: Int
  /// The resource's `service.name`.
  public var serviceName: String

  public init(
    address: EndpointAddress, authority: String, path: String = "", samplePerMillion: Int = 10_000,
    serviceName: String = "millrace"
  ) {
    self.address = address
    self.authority = authority
    self.path = path
    self.samplePerMillion = samplePerMillion
    self.serviceName = serviceName
  }
}
