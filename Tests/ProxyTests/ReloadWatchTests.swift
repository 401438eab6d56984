// The watch on files: what makes a path lead to other content, on a real file system.

import Foundation
import Glibc
import MillraceEngine
import Testing

@testable import Proxy

@Suite("Files that are watched")
struct ReloadWatchTests {
  /// A folder for one test.
  private final class Folder {
    let path: String

    init() throws {
      var template = Array("/tmp/millrace-watch-XXXXXX".utf8CString)
      path = String(cString: try #require(mkdtemp(&template)))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String) {
      let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      #expect(descriptor >= 0)
      #expect(Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count)
      close(descriptor)
    }

    func make(_ name: String) { #expect(mkdir("\(path)/\(name)", 0o700) == 0) }
    func move(_ name: String, _ other: String) {
      #expect(rename("\(path)/\(name)", "\(path)/\(other)") == 0)
    }
    func link(_ name: String, to target: String) {
      #expect(symlink(target, "\(path)/\(name)") == 0)
    }
  }

  /// What a watch on `name` finds after the change.
  private func sees(
    _ folder: Folder, _ name: String, _ change: (Folder) -> Void
  ) throws -> Bool {
    guard var watch = FileWatch() else {
      Issue.record("no inotify instance")
      return false
    }
    watch.watch(["\(folder.path)/\(name)"])
    let isComplete = watch.isComplete
    var early = watch.takeChanges()
    #expect(isComplete && !early)
    change(folder)
    let isSeen = watch.takeChanges()
    early = watch.takeChanges()
    #expect(!early)
    return isSeen
  }

  @Test("written in place, put in place by a rename, made anew; and what others do is not told")
  func plainFiles() throws {
    let folder = try Folder()
    folder.write("a", "1")
    #expect(try sees(folder, "a") { $0.write("a", "2") })
    #expect(
      try sees(folder, "a") {
        $0.write("a.new", "3")
        $0.move("a.new", "a")
      })
    #expect(
      try !sees(folder, "a") {
        $0.write("b", "1")
        $0.make("c")
      })
    #expect(try sees(folder, "missing") { $0.write("missing", "1") })
  }

  @Test("a link on the way that is turned elsewhere, and the file that it leads to")
  func links() throws {
    let folder = try Folder()
    folder.make("..1")
    folder.write("..1/a", "1")
    folder.make("..2")
    folder.write("..2/a", "2")
    folder.link("..data", to: "..1")
    folder.link("a", to: "..data/a")
    #expect(try sees(folder, "a") { $0.write("..1/a", "1b") })
    #expect(
      try sees(folder, "a") {
        $0.link("..data_tmp", to: "..2")
        $0.move("..data_tmp", "..data")
      })
    #expect(try !sees(folder, "a") { $0.write("..1/a", "nobody looks") })
    #expect(try sees(folder, "a") { $0.write("..2/a", "2b") })
  }

  @Test("only other content counts, and a file that goes and comes back as it was does not")
  func content() throws {
    let folder = try Folder()
    folder.write("m.yaml", "a")
    var watch = ReloadWatch()
    var now: Int64 = 0
    func look(_ watch: inout ReloadWatch, isLater: Bool) -> (isChanged: Bool, waits: Bool) {
      if isLater { now += ReloadDebounce.quietNanoseconds }
      let isChanged = watch.look(now: now)
      return (isChanged, watch.deadline != .max)
    }
    let path = "\(folder.path)/m.yaml"
    watch.follow([path], looksAgain: true, now: now)
    // What happened between the first reading and this is looked for once.
    #expect(look(&watch, isLater: true) == (true, false))
    folder.write("m.yaml", "b")
    #expect(look(&watch, isLater: false) == (false, true))
    #expect(look(&watch, isLater: true) == (true, false))
    folder.write("m.yaml", "b")
    #expect(look(&watch, isLater: false) == (false, true))
    #expect(look(&watch, isLater: true) == (false, false))
    // One more, which is known as it is.
    folder.write("more", "a")
    watch.follow([path, "\(folder.path)/more"], looksAgain: false, now: now)
    // That it was made is told, since its folder was watched already.
    #expect(look(&watch, isLater: true) == (false, true))
    #expect(look(&watch, isLater: true) == (false, false))
    folder.write("more", "b")
    #expect(look(&watch, isLater: false) == (false, true))
    #expect(look(&watch, isLater: true) == (true, false))
    watch.follow(nil, looksAgain: true, now: now)
    let descriptor = watch.descriptor
    #expect(descriptor == -1)
  }
}
