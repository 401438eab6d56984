// What a line of the access log looks like, as plain values: the well-known formats are templates, and
// JSON is a list of variables.

/// The form of a line.
public enum LineFormat: Sendable, Equatable {
  /// Values are escaped with `\xXX`; one that is absent or empty is `-`.
  case text(Template)
  /// One object; an absent value has no member.
  case json([Variable])

  /// The Common Log Format of httpd; there is no user name.
  public static let common = text(
    "{client_address} - - [{time_common}] \"{request}\" {status} {response_bytes}")
  /// The same with Referer and User-Agent, as httpd and nginx write it.
  public static let combined = text(
    "{client_address} - - [{time_common}] \"{request}\" {status} {response_bytes}"
      + " \"{referer}\" \"{user_agent}\"")
  /// Every variable that is not made of others.
  public static let json = LineFormat.json(
    Variable.allCases.filter { ![.timeCommon, .timeUnix, .target, .request].contains($0) })

  private static func text(_ source: String) -> LineFormat {
    guard let template = try? Template(source) else {
      // TRAP: constants of this file, which a test compiles.
      preconditionFailure("not a template: \(source)")
    }
    return .text(template)
  }
}

/// A piece of a line: text, then the value of a variable, if it has one.
public struct LinePart: BitwiseCopyable {
  /// Lives as long as the line.
  let text: UnsafePointer<UInt8>
  let count: Int
  /// Its raw value; 255: none.
  let code: UInt8
  let isNumber: Bool

  @inline(__always)
  var variable: Variable? { Variable(rawValue: code) }
}

/// Memory that is given out while a format is compiled, and lives as long as what is made of it.
public protocol LineMemory {
  /// A copy of an array. There is an address even for none.
  mutating func keep<T>(_ array: [T]) -> UnsafeBufferPointer<T>
}

/// A format as a worker reads it: plain memory of its owner's.
public struct LineShape: @unchecked Sendable {
  // Sendable: nothing is changed after `init`.
  let parts: UnsafeBufferPointer<LinePart>
  let isJSON: Bool

  public init(_ format: LineFormat, _ memory: inout some LineMemory) {
    func part(_ text: String, _ variable: Variable?) -> LinePart {
      let bytes = memory.keep(Array(text.utf8))
      return LinePart(
        // TRAP: the memory has an address even for no bytes.
        text: bytes.baseAddress!, count: bytes.count, code: variable?.rawValue ?? 255,
        isNumber: variable?.entry.kind == .number)
    }
    switch format {
    case .text(let template):
      isJSON = false
      let made = template.parts.map {
        switch $0 {
        case .text(let text): part(text, nil)
        case .variable(let variable): part("", variable)
        }
      }
      parts = memory.keep(made)
    case .json(let variables):
      isJSON = true
      let made = variables.map { part("\"\($0.name)\":", $0) }
      parts = memory.keep(made)
    }
  }
}
