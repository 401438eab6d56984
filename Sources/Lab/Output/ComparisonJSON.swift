// A comparison as JSON and back: what `millrace compare --json` writes, and what `--against` and
// `millrace report` read.

import FoundationEssentials

extension Comparison {
  /// The comparison as JSON on one line, keys in order. Indented it would be five times as long: most of
  /// it is pairs of numbers.
  public func json() -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // One figure that JSON lacks must not cost the others.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    guard let data = try? encoder.encode(self) else { return [] }
    return [UInt8](data) + [UInt8(ascii: "\n")]
  }

  /// What makes a text no comparison, in words.
  public struct ParseError: Error, Sendable, CustomStringConvertible {
    public var description: String
  }

  /// Reads what `json` wrote, also that of an older build.
  public init(json: [UInt8]) throws(ParseError) {
    do {
      let decoder = JSONDecoder()
      decoder.nonConformingFloatDecodingStrategy = .convertFromString(
        positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
      self = try Self.read(Data(json), decoder)
    } catch let error as ParseError {
      throw error
    } catch let error as DecodingError {
      throw ParseError(description: Self.words(error))
    } catch {
      throw ParseError(description: "\(error)")
    }
  }

  private static func words(_ error: DecodingError) -> String {
    switch error {
    case .keyNotFound(let key, let context):
      "\(key.stringValue) is missing in \(place(context.codingPath))"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      "\(place(context.codingPath)): \(context.debugDescription)"
    case .dataCorrupted(let context): context.debugDescription
    @unknown default: "\(error)"
    }
  }

  private static func place(_ path: [any CodingKey]) -> String {
    path.isEmpty ? "the file" : path.map(\.stringValue).joined(separator: ".")
  }
}
