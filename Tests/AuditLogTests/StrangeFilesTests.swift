// What a start finds in the audit directory and must not open: links, FIFOs, devices.

import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

@Suite struct StrangeFilesTests {
  private func refusal(_ folder: Folder) -> Errno? {
    do {
      _ = try folder.recover()
      return nil
    } catch {
      return error as? Errno
    }
  }

  @Test(arguments: [
    "w000-0000000001.jsonl", "w000-0000000001.jsonl.torn", "millrace.lock", "millrace.chains",
  ])
  func aSymbolicLinkIsRefusedAndItsTargetLeftAlone(name: String) throws {
    let folder = Folder()
    let elsewhere = Folder()
    try elsewhere.write([("precious", Array("keep me".utf8))])
    #expect(symlink(elsewhere.path + "/precious", folder.path + "/" + name) == 0)
    let found = try #require(refusal(folder))
    #expect(found.path.hasSuffix(name))
    #expect(found.description.contains("symbolic link"))
    #expect(try elsewhere.content("precious") == Array("keep me".utf8))
    #expect(try BlockingFiles.list(elsewhere.path) == ["precious"])
  }

  @Test func aDanglingLinkForTheLockCreatesNothing() throws {
    let folder = Folder()
    #expect(symlink(folder.path + "-target", folder.path + "/millrace.lock") == 0)
    #expect(refusal(folder) != nil)
    #expect(access(folder.path + "-target", F_OK) != 0)
  }

  @Test(arguments: [
    "w000-0000000001.jsonl", "w001-0000000007.jsonl.torn", "millrace.lock", "millrace.chains",
  ])
  func aFIFOIsRefusedAndNothingWaits(name: String) throws {
    let folder = Folder()
    #expect(mkfifo(folder.path + "/" + name, 0o600) == 0)
    let found = try #require(refusal(folder))
    #expect(found.path.hasSuffix(name))
    #expect(found.description.contains("FIFO"))
  }

  @Test func aDirectoryOfASegmentsNameIsRefused() throws {
    let folder = Folder()
    #expect(mkdir(folder.path + "/w000-0000000001.jsonl", 0o700) == 0)
    #expect(refusal(folder)?.description.contains("not a regular file") == true)
    rmdir(folder.path + "/w000-0000000001.jsonl")
  }

  @Test func aLinkToWorkInProgressIsRemovedAndNotFollowed() throws {
    let folder = Folder()
    let elsewhere = Folder()
    try elsewhere.write([("precious", [1, 2, 3])])
    let name = folder.path + "/w000-0000000002.prepare"
    #expect(symlink(elsewhere.path + "/precious", name) == 0)
    #expect(refusal(folder) == nil)
    #expect(try elsewhere.content("precious") == [1, 2, 3])
    #expect(try folder.read().isEmpty)
  }
}
