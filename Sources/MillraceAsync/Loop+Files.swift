// Files: operations in pieces of bounded size, a bounded number of them in the engine's hands, the rest
// in a line. The line is bounded by `AsyncLimits.operations`.

import Glibc
import MillraceEngine

/// An open file.
final class FileState {
  let descriptor: Descriptor
  /// Operations that the engine has.
  var inFlight = 0
  var closing = false
  var closeTickets: [Ticket] = []

  init(_ descriptor: Descriptor) { self.descriptor = descriptor }
}

/// One file operation of a task: several of the engine where it is long.
final class FileRequest {
  enum Work {
    case open(String, Int32, UInt32)
    case use(FileWork)
    case close
  }

  let id: UInt64
  /// nil for a close, for which a file's `closeTickets` wait.
  let ticket: Ticket?
  let work: Work
  let file: UInt64?
  /// Bytes done of a read or a write, and what was asked for last.
  var done = 0
  var asked = 0
  var bytes: [UInt8] = []

  init(_ id: UInt64, _ ticket: Ticket?, _ work: Work, file: UInt64?) {
    self.id = id
    self.ticket = ticket
    self.work = work
    self.file = file
  }
}

extension Loop where E: ~Copyable {
  /// Bytes of one operation of the engine: large enough to be cheap, small enough that a few dozen
  /// of them are no burden.
  private var pieceBytes: Int { 1 << 20 }

  mutating func use(_ ticket: Ticket, _ id: UInt64, _ work: FileWork) {
    guard let file = files[id], !file.closing else {
      return fail(ticket, AsyncEngineFailure.closed)
    }
    submit(FileRequest(newID(), ticket, .use(work), file: id))
  }

  /// Hands a request to the engine, or puts it in line.
  mutating func submit(_ request: FileRequest) {
    if isEnding, let ticket = request.ticket { return fail(ticket, AsyncEngineFailure.ended) }
    request.ticket?.place = .file
    guard fileRequests.count < core.limits.fileOperations else {
      return fileQueue.append(request)
    }
    start(request)
  }

  private mutating func start(_ request: FileRequest) {
    fileRequests[request.id] = request
    if let id = request.file { files[id]?.inFlight += 1 }
    step(request)
  }

  /// Submits the next piece.
  private mutating func step(_ request: FileRequest) {
    let token = token(.file, request.id)
    inFlight += 1
    let descriptor = request.file.flatMap { files[$0]?.descriptor } ?? .none
    switch request.work {
    case .open(let path, let flags, let mode):
      engine.open(path, flags: flags | O_CLOEXEC, mode: mode, token)
    case .close:
      engine.closeFile(descriptor, token)
    case .use(.read(let count, let offset)):
      request.asked = min(count - request.done, pieceBytes)
      engine.read(
        descriptor, into: FileBuffer(capacity: max(1, request.asked)), count: request.asked,
        offset: offset + Int64(request.done), token)
    case .use(.write(let bytes, let offset, let durable)):
      request.asked = min(bytes.count - request.done, pieceBytes)
      let buffer = FileBuffer(capacity: max(1, request.asked))
      bytes.withUnsafeBytes {
        UnsafeMutableRawBufferPointer(start: buffer.base, count: buffer.capacity)
          .copyMemory(
            from: UnsafeRawBufferPointer(
              rebasing: $0[request.done..<request.done + request.asked]))
      }
      engine.write(
        descriptor, from: buffer, count: request.asked, offset: offset + Int64(request.done),
        durable: durable, token)
    case .use(.synchronize(let dataOnly)):
      engine.synchronize(descriptor, dataOnly: dataOnly, token)
    case .use(.truncate(let length)):
      engine.truncate(descriptor, length: length, token)
    }
  }

  mutating func fileEnded(_ id: UInt64, _ completion: Completion) {
    guard let request = fileRequests[id] else {
      preconditionFailure("a file operation ended twice")
    }
    if completion.hasFileBuffer {
      let buffer = engine.takeFileBuffer(completion)
      if case .use(.read) = request.work, completion.result > 0 {
        request.bytes.append(
          contentsOf: UnsafeRawBufferPointer(
            start: buffer.base, count: Int(completion.result)))
      }
    }
    if completion.result > 0 { request.done += Int(completion.result) }
    if isUnfinished(request, completion.result) { return step(request) }
    fileRequests[id] = nil
    if let file = request.file { files[file]?.inFlight -= 1 }
    conclude(request, completion.result)
    startWaiting()
    if let file = request.file { closeIfDrained(file) }
  }

  /// A read goes on until it comes back short, a write until all is written.
  private func isUnfinished(_ request: FileRequest, _ result: Int32) -> Bool {
    guard result > 0 else { return false }
    switch request.work {
    case .use(.read(let count, _)): return Int(result) == request.asked && request.done < count
    case .use(.write(let bytes, _, _)): return request.done < bytes.count
    default: return false
    }
  }

  private mutating func conclude(_ request: FileRequest, _ result: Int32) {
    switch request.work {
    case .close: forget(request.file)
    case .open(let path, _, _):
      guard let ticket = request.ticket else { return }
      guard result >= 0 else {
        return fail(ticket, SystemFailure(code: -result, operation: "open \(path)"))
      }
      files[request.id] = FileState(Descriptor(rawValue: result))
      if isEnding {
        fail(ticket, AsyncEngineFailure.ended)
        closeFile(request.id, nil)
      } else {
        finish(ticket, .success(.file(request.id)))
      }
    case .use(let work):
      guard let ticket = request.ticket else { return }
      if result < 0 {
        let failure = SystemFailure(code: -result, operation: Self.name(work))
        return finish(ticket, .failure(failure))
      }
      switch work {
      case .read: finish(ticket, .success(.bytes(request.bytes)))
      case .write(let bytes, _, _) where request.done < bytes.count:
        // write(2) of something that takes nothing, and says no error.
        finish(ticket, .failure(SystemFailure(code: EIO, operation: "write")))
      default: finish(ticket, .success(.done))
      }
    }
  }

  private static func name(_ work: FileWork) -> String {
    switch work {
    case .read: "read"
    case .write: "write"
    case .synchronize: "fsync"
    case .truncate: "ftruncate"
    }
  }

  private mutating func startWaiting() {
    while !fileQueue.isEmpty, fileRequests.count < core.limits.fileOperations {
      start(fileQueue.removeFirst())
    }
  }

  /// Removes an operation that waits for its turn; one that has started goes on.
  mutating func cancelFile(_ ticket: Ticket) {
    guard let place = fileQueue.firstIndex(where: { $0.ticket === ticket }) else { return }
    fileQueue.remove(at: place)
    finish(ticket, .failure(CancellationError()))
  }

  // MARK: Closing

  mutating func closeFile(_ id: UInt64, _ ticket: Ticket?) {
    guard let file = files[id] else {
      if let ticket { finish(ticket, .success(.done)) }
      return
    }
    if let ticket { file.closeTickets.append(ticket) }
    guard !file.closing else { return }
    file.closing = true
    failQueue(AsyncEngineFailure.closed) { $0.file == id }
    closeIfDrained(id)
  }

  private mutating func closeIfDrained(_ id: UInt64) {
    guard let file = files[id], file.closing, file.inFlight == 0 else { return }
    submit(FileRequest(newID(), nil, .close, file: id))
  }

  private mutating func forget(_ id: UInt64?) {
    guard let id, let file = files.removeValue(forKey: id) else { return }
    for ticket in file.closeTickets { finish(ticket, .success(.done)) }
  }

  /// Ends what waits and closes what is open; what is in flight drains first.
  mutating func endFiles() {
    failQueue(AsyncEngineFailure.ended) { _ in true }
    for id in files.keys.sorted() { closeFile(id, nil) }
  }

  private mutating func failQueue(_ error: AsyncEngineFailure, _ isMeant: (FileRequest) -> Bool) {
    // A close that waits for its turn has no ticket, and stays.
    let meant = fileQueue.filter { $0.ticket != nil && isMeant($0) }
    fileQueue.removeAll { $0.ticket != nil && isMeant($0) }
    for request in meant { if let ticket = request.ticket { fail(ticket, error) } }
  }
}
