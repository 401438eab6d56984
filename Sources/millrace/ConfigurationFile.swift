// Reading a configuration file: bytes from the disk, values from the environment.

import Configuration
import Glibc
import MillraceEngine

enum ConfigurationFile {
  static func load(
    _ path: String, overrides: [Override] = [], _ problems: inout [Problem]
  ) -> ProxyConfiguration? {
    let bytes: [UInt8]
    do {
      bytes = try read(path)
    } catch {
      problems.append(
        Problem(
          location: SourceLocation(file: path, line: 0, column: 0, keyPath: "document"),
          message: "cannot be read: \(String(cString: strerror(error.code)))",
          cure: "name a readable file", severity: .error))
      return nil
    }
    let result = ProxyConfiguration.load(bytes: bytes, file: path, overrides: overrides) {
      name in getenv(name).map { String(cString: $0) }
    }
    problems += result.problems
    return result.configuration
  }

  private static func read(_ path: String) throws(Errno) -> [UInt8] {
    let file = try BlockingFiles.open(path, .read)
    let size = try file.size()
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: max(size, 1), alignment: 1)
    defer { room.deallocate() }
    let got = try file.read(into: room, at: 0)
    return Array(room.prefix(got))
  }
}
