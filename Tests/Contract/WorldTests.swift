// The world comes in through the engine: time, randomness, threads and files. This reads the
// sources of the rooms above it and says where one of them helps itself.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct World {
    static let rooms = ["TLS", "HTTP1", "Proxy", "AuditLog", "Configuration"]

    @Test(arguments: rooms)
    func noRoomTakesTheWorldButFromTheEngine(_ room: String) throws {
      let files = try sources(of: room)
      for (path, text) in files {
        for finding in WorldSearch.directUses(in: text) {
          Issue.record("\(path):\(finding.line): \(finding.word)")
        }
      }
    }

    @Test(arguments: rooms + ["MillraceEngine"])
    func noRoomImportsFoundation(_ room: String) throws {
      for (path, text) in try sources(of: room) {
        for finding in WorldSearch.foundationImports(in: text) {
          Issue.record("\(path):\(finding.line): \(finding.word)")
        }
      }
    }

    @Test(arguments: [
      "clock_gettime(CLOCK_MONOTONIC, &t)", "gettimeofday(&t, nil)", "let t = time(nil)",
      "getrandom(base, 16, 0)", "arc4random_buf(p, 8)", "var g = SystemRandomNumberGenerator()",
      "pthread_create(&t, nil, f, nil)", "let t = Thread { }", "let fd = Glibc.open(path, 0)",
      "let fd = open(path, O_RDONLY)", "let n = read(fd, &b, 1)", "pread(fd, b, 1, 0)",
      "_ = write(2, text, 5)", "Glibc.write(2, text, 5)", "let now = Date()",
      "let c = ContinuousClock()", "let x = Int.random(in: 0..<4)", "let y = list.randomElement()",
      "list.shuffle()", "usleep(10)", "let x = 1; write(fd, p, n)", "x = !read(fd, p, n)",
    ])
    func aDirectUseIsFound(_ line: String) {
      #expect(WorldSearch.directUses(in: "import Glibc\n\n\(line)\n").map(\.line) == [3])
    }

    @Test(arguments: [
      "engine.open(path, flags: 0, mode: 0, token)", "frame.write(capacity: 5) { _ in 0 }",
      "SSL_read(session, room, 5)", "BIO_write(bio, p, n)", "// calls clock_gettime(2) itself",
      "public func write(_ bytes: Int) {}", "let deadline = time", "let uptime(x)",
      "self.read(bytes)", "case open(path: String)", "let text = \"read(fd)\"",
      "worker thread", "let randomBytes = 5", "/// write(2) of the engine",
    ])
    func whatIsNoDirectUseIsLeftAlone(_ line: String) {
      #expect(WorldSearch.directUses(in: "import Glibc\n\(line)\n").isEmpty)
    }

    @Test func aFoundationImportIsFoundHoweverItIsWritten() {
      for line in [
        "import Foundation", "public import Foundation", "@preconcurrency import Foundation",
        "import FoundationEssentials", "import struct Foundation.Date", "  import Foundation // x",
      ] {
        #expect(WorldSearch.foundationImports(in: "\(line)\n").count == 1, "\(line)")
      }
      #expect(WorldSearch.foundationImports(in: "// import Foundation\nimport Glibc\n").isEmpty)
    }

    /// The Swift files of a room, of which there is at least one.
    private func sources(of room: String) throws -> [(path: String, text: String)] {
      let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
      let files = try swiftFiles(under: "/\(root)/Sources/\(room)")
      #expect(!files.isEmpty, "no sources of \(room)")
      return files
    }

    private func swiftFiles(under directory: String) throws -> [(path: String, text: String)] {
      var found: [(path: String, text: String)] = []
      for name in try BlockingFiles.list(directory) {
        let path = "\(directory)/\(name)"
        if name.hasSuffix(".swift") {
          let file = try BlockingFiles.open(path, .read)
          let size = try file.size()
          let text = try String(unsafeUninitializedCapacity: size) { room in
            try file.read(into: UnsafeMutableRawBufferPointer(room), at: 0)
          }
          found.append((path, text))
        } else if !name.contains(".") {
          found += try swiftFiles(under: path)
        }
      }
      return found
    }
  }
}

/// The search itself: by line, blind to comments and to what stands in quotation marks.
enum WorldSearch {
  struct Finding {
    let line: Int
    let word: String
  }

  /// Names that are nowhere innocent, wherever they stand as a whole word (or, with an underscore
  /// at the end, as the start of one).
  private static let names = [
    "clock_gettime", "gettimeofday", "clock_nanosleep", "nanosleep", "usleep", "getrandom",
    "getentropy", "arc4random_", "arc4random", "SystemRandomNumberGenerator", "pthread_",
    "Thread", "DispatchQueue", "Date", "ContinuousClock", "SuspendingClock", "pread", "pwrite",
    "fopen", "openat", "Task",
  ]
  /// Methods of the standard library that draw from the system's generator.
  private static let methods = ["random", "randomElement", "shuffle", "shuffled"]
  /// Functions of Glibc whose names others bear as well: a call is meant that nobody qualifies.
  private static let functions = ["time", "open", "read", "write", "sleep", "poll", "fsync"]

  static func directUses(in text: String) -> [Finding] {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(code)
    let own = Set(functions.filter { name in lines.contains { $0.contains("func \(name)(") } })
    var findings: [Finding] = []
    for (index, line) in lines.enumerated() {
      if let word = directUse(in: line, except: own) {
        findings.append(Finding(line: index + 1, word: word))
      }
    }
    return findings
  }

  private static func directUse(in line: String, except own: Set<String>) -> String? {
    for name in names where words(name, in: line).contains(where: { !$0.before.hasSuffix(".") }) {
      return name
    }
    for name in methods {
      for word in words(name, in: line) where word.before.hasSuffix(".") && word.after == "(" {
        return name
      }
    }
    for name in functions {
      for word in words(name, in: line) where word.after == "(" {
        if word.before.hasSuffix("Glibc.") { return name }
        let declares = ["func ", "case ", "let ", "var "].contains { word.before.hasSuffix($0) }
        if !word.before.hasSuffix(".") && !declares && !own.contains(name) { return name }
      }
    }
    return nil
  }

  static func foundationImports(in text: String) -> [Finding] {
    var findings: [Finding] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    {
      let words = code(line).split(separator: " ")
      guard let at = words.firstIndex(of: "import") else { continue }
      for word in words[(at + 1)...] where word.hasPrefix("Foundation") {
        findings.append(Finding(line: index + 1, word: String(word)))
      }
    }
    return findings
  }

  /// A line without its comment and without what its quotation marks enclose.
  private static func code(_ line: Substring) -> String {
    var result = ""
    var quoted = false
    var previous: Character = " "
    for character in line {
      if character == "\"" && previous != "\\" { quoted.toggle() }
      if !quoted && character == "/" && previous == "/" { return String(result.dropLast()) }
      if !quoted || character == "\"" { result.append(character) }
      previous = character
    }
    return result
  }

  /// Where a name stands as a whole word: what comes before it, and the character after it.
  private static func words(
    _ name: String, in line: String
  ) -> [(before: Substring, after: Character?)] {
    var found: [(before: Substring, after: Character?)] = []
    var rest = line.startIndex
    while let range = line[rest...].firstRange(of: name) {
      let before = line[..<range.lowerBound]
      let after = line[range.upperBound...].first
      let starts = before.last.map { !isWord($0) } ?? true
      let ends = name.hasSuffix("_") || after.map { !isWord($0) } ?? true
      if starts && ends { found.append((before, after)) }
      rest = range.upperBound
    }
    return found
  }

  private static func isWord(_ character: Character) -> Bool {
    character.isLetter || character.isNumber || character == "_"
  }
}
