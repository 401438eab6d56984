// The journal's operations with the real system calls, in a temporary folder on a real file system,
// with O_DIRECT where it allows it.

import Glibc
import MillraceEngine
import Testing

@testable import AuditLog

/// Performs operations with blocking calls, as epoll's thread pool does.
private func perform(_ operation: consuming JournalOperation) -> Answer {
  func code(_ result: Int) -> Int32 { result < 0 ? -errno : Int32(result) }
  switch consume operation {
  case .open(let path, let flags, let mode): return Answer(code(Int(open(path, flags, mode))))
  // As on a file system without fallocate: segments are filled whole before use.
  case .allocate: return Answer(-EOPNOTSUPP)
  case .status: return Answer(0)
  case .write(let file, let buffer, let count, let offset, let durable):
    let written = pwrite(file, buffer.base, count, off_t(offset))
    var result = code(written)
    // What RWF_DSYNC promises; glibc's pwritev2 is not everywhere.
    if durable && written >= 0 && fdatasync(file) < 0 { result = -errno }
    return Answer(result, buffer)
  case .sync(let file, let dataOnly):
    return Answer(code(Int(dataOnly ? fdatasync(file) : fsync(file))))
  case .truncate(let file, let length): return Answer(code(Int(ftruncate(file, off_t(length)))))
  case .rename(let from, let to): return Answer(code(Int(rename(from, to))))
  case .unlink(let path): return Answer(code(Int(unlink(path))))
  case .close(let file): return Answer(code(Int(close(file))))
  }
}

final class RealWorld {
  var journal: Journal
  var now: Int64 = 1

  init(_ configuration: JournalConfiguration, _ chain: ChainState) {
    journal = Journal(configuration: configuration, recovered: chain)
  }

  var durableSequence: UInt64 { journal.durableSequence }
  var isShutDown: Bool { journal.isShutDown }
  func takeNotice() -> JournalNotice? { journal.takeNotice() }

  func settle() {
    var progressed = true
    while progressed {
      progressed = false
      for lane in JournalLane.allCases {
        now += 1_000_000
        guard let operation = journal.nextOperation(lane, now: now) else { continue }
        var answer = perform(operation)
        let result = answer.result
        journal.completed(lane, result: result, buffer: answer.buffer.take(), now: now)
        progressed = true
      }
    }
  }

  func exchange(_ id: UInt64, _ part: [UInt8]) -> UInt64? {
    let result = journal.reserve(bytes: RecordWriter.recordMaximum(requestPart: part.count))
    guard case .granted(var reservation) = result else { return nil }
    let response = ResponseFacts(
      status: 200, requestBytes: 0, responseBytes: 128, queueMicroseconds: 1,
      firstByteMicroseconds: 400, totalMicroseconds: 500)
    let sequence = part.withUnsafeBytes {
      journal.append(
        .exchange, exchangeID: id, requestPart: $0, response: response,
        wallMicroseconds: 1_795_224_838_123_456, charging: &reservation)
    }
    journal.release(&reservation)
    return sequence
  }
}

@Suite(.serialized) struct RealDiskTests {
  @Test func threeRunsOnARealFileSystemVerifyAsOneChain() throws {
    for parent in ["/tmp", "/dev/shm"] where access(parent, W_OK) == 0 {
      let folder = Folder(in: parent)
      for run in 1...3 {
        let lease = try folder.lease()
        let chain = try Recovery(
          run: RunIdentity(high: UInt64(run), low: 0), wallMicroseconds: 1_795_224_838_000_000
        ).recover(lease).chain(worker: 0)
        var configuration = JournalConfiguration(
          directory: folder.path, worker: 0, run: RunIdentity(high: UInt64(run), low: 0))
        configuration.segmentSize = 1 << 20
        configuration.firstSegmentSize = 640 << 10
        configuration.batchSize = 256 << 10
        let world = RealWorld(configuration, chain)
        world.settle()
        let part = World.requestPart(path: "/real/\(run)")
        for id in 1...200 {
          #expect(world.exchange(UInt64(id), part) != nil)
          if id % 3 == 0 { world.settle() }
        }
        world.settle()
        #expect(world.durableSequence == UInt64(run * 200))
        // The second run is killed: nothing is cut or closed properly.
        if run != 2 {
          world.journal.beginShutdown()
          world.settle()
          #expect(world.isShutDown)
        }
        while let notice = world.takeNotice() {
          #expect(notice == .directIOUnavailable(code: EINVAL))
        }
      }
      let report = try folder.verify()
      #expect(report.verdict == .intact, "\(report)")
      #expect(report.chains[0].exchanges == 600)
      #expect(report.chains[0].recoveries == 0)
    }
  }
}
