// A place that a person can go to: a file, a line, a column and the key path that leads there. It
// serves command-line flags too, where the "file" is the flag and the line is 0. Every value that
// can be wrong later (an address that is taken, a key that cannot be read) carries one.

/// Where a value was written.
public struct SourceLocation: Sendable, Equatable, CustomStringConvertible {
  /// The file name as the caller gave it, or a flag such as `--from`.
  public var file: String
  /// 1-based; 0 when the value came from no file.
  public var line: Int
  /// 1-based, counted in characters; 0 when the value came from no file.
  public var column: Int
  /// The way from the document's root, as in `listeners[0].tls.certificates[0].key`.
  public var keyPath: String

  public init(file: String = "", line: Int = 0, column: Int = 0, keyPath: String = "") {
    self.file = file
    self.line = line
    self.column = column
    self.keyPath = keyPath
  }

  /// `keyPath (file:line:column)`, with the parts that are unknown left out.
  public var description: String {
    let place = line > 0 ? "\(file):\(line):\(column)" : file
    if keyPath.isEmpty { return place }
    return place.isEmpty ? keyPath : "\(keyPath) (\(place))"
  }
}
