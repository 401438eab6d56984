// What a mix file says: kinds of requests with weights, for the load generator. Plain values; files
// that it names are read by whoever uses it.

/// A set of requests with weights.
public struct RequestMix: Sendable, Equatable {
  /// One kind of request.
  public struct Request: Sendable, Equatable {
    public var name: String?
    /// A whole URL, or path and query for the URL of the command line.
    public var target: String
    public var method = "GET"
    public var weight = 1
    public var fields: [Field] = []
    public var content: Content?
    public var expectedStatus: Int?
    public var expectedLength: Int?
    public var expectedContentFile: String?
    /// Where it stands, for messages about its files and its URL.
    public var location: SourceLocation

    public init(target: String, location: SourceLocation) {
      self.target = target
      self.location = location
    }
  }

  public struct Field: Sendable, Equatable {
    public var name: String
    public var value: String
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  /// Where a request's content comes from.
  public enum Content: Sendable, Equatable {
    case text(String)
    case file(String)
    case size(Int)
  }

  public var requests: [Request] = []

  public init() {}
}
