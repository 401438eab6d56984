// Requests and responses of the control plane, apart from how they look on the wire.

/// A request that was read whole and may be served.
package struct AdminRequest: Equatable, Sendable {
  package let method: String
  /// Without the query, as received.
  package let path: String
  /// What follows the first "?"; empty where there is none.
  package let query: String
  /// The value of Accept; empty where there is none.
  package let accept: String
  package let content: [UInt8]

  package init(
    method: String, path: String, query: String = "", accept: String = "", content: [UInt8] = []
  ) {
    self.method = method
    self.path = path
    self.query = query
    self.accept = accept
    self.content = content
  }

  /// The value of a parameter of the query. Nothing that is asked for here needs percent-decoding.
  package func parameter(_ name: String) -> String? {
    for part in query.split(separator: "&") {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if pair[0] == name { return pair.count == 2 ? String(pair[1]) : "" }
    }
    return nil
  }
}

package struct AdminResponse: Equatable, Sendable {
  package var status: Int
  package var type: String
  package var content: [UInt8]
  /// Field lines besides those that every response has.
  package var fields: [String] = []

  package init(_ status: Int, type: String, _ content: String, fields: [String] = []) {
    self.status = status
    self.type = type
    self.content = Array(content.utf8)
    self.fields = fields
  }

  package static func json(_ value: JSONValue, status: Int = 200) -> AdminResponse {
    AdminResponse(status, type: "application/json", value.text + "\n")
  }

  package static func text(_ text: String, status: Int = 200) -> AdminResponse {
    AdminResponse(status, type: "text/plain; charset=utf-8", text + "\n")
  }

  /// A refusal: what is wrong, and what to do.
  package static func problem(_ status: Int, _ error: String, hint: String) -> AdminResponse {
    .json(
      .object([JSONValue.Member("error", .text(error)), JSONValue.Member("hint", .text(hint))]),
      status: status)
  }

  /// A resource that is there, asked for in a way that it does not allow.
  package static func notAllowed(_ allowed: String) -> AdminResponse {
    var response = problem(405, "the method is not allowed", hint: "use \(allowed)")
    response.fields = ["Allow: \(allowed)"]
    return response
  }
}

/// What is served. Called on the control thread, one request at a time.
package protocol AdminHandler: Sendable {
  func respond(to request: AdminRequest) -> AdminResponse
}
