// What a comparison leaves behind when it is killed, the next one removes; and nothing else.

import Glibc
import Testing

@testable import Lab

@Suite struct WorkspaceTests {
  private func isThere(_ path: String) -> Bool { access(path, F_OK) == 0 }

  private func folder() throws -> String {
    var template = Array("/tmp/millrace-workspace-test-XXXXXX".utf8CString)
    return String(cString: try #require(mkdtemp(&template)))
  }

  @Test func leftoversGoAndWhatIsInUseStays() throws {
    let parent = try folder()
    defer { Workspace.empty(parent); rmdir(parent) }
    // A directory that a living process has locked; one of a dead one, with a file; and others.
    for name in ["x-abcdef", "x-ABC123", "x-abcde", "x-abcdefg", "x-abc.ef", "y-abcdef", "x"] {
      #expect(mkdir(parent + "/" + name, 0o700) == 0)
    }
    try TextFile.write(parent + "/x-ABC123/file", "left")
    try TextFile.write(parent + "/x-123456", "a file of that name")
    try TextFile.write(parent + "/kept", "the target of a link")
    #expect(symlink(parent + "/y-abcdef", parent + "/x-linked") == 0)
    let claim = open(parent + "/x-abcdef", O_RDONLY | O_DIRECTORY)
    #expect(claim >= 0 && flock(claim, LOCK_EX) == 0)
    Workspace.removeLeftovers(in: parent, "x")
    #expect(!isThere(parent + "/x-ABC123"))
    for name in [
      "x-abcdef", "x-abcde", "x-abcdefg", "x-abc.ef", "y-abcdef", "x", "x-123456", "kept",
      "x-linked",
    ] { #expect(isThere(parent + "/" + name), "\(name)") }
    // Its owner ends, however that happens: the kernel lets go of the lock.
    close(claim)
    Workspace.removeLeftovers(in: parent, "x")
    #expect(!isThere(parent + "/x-abcdef"))
  }

  @Test func scratchBesideAnAuditLogIsOursAndGoesWithUs() throws {
    let parent = try folder()
    defer { Workspace.empty(parent); rmdir(parent) }
    var first: Workspace? = try Workspace(kept: parent + "/kept")
    let made = try first!.scratch(like: parent + "/audit/log")
    let second = try Workspace(kept: parent + "/kept")
    let other = try second.scratch(like: parent + "/audit/log")
    #expect(isThere(made) && isThere(other) && made != other)
    first = nil
    #expect(!isThere(made) && isThere(other))
  }
}
