// What one session shares with its BIO and with OpenSSL's callbacks: the caller's memory for the
// length of one call, the spill, and what the alerts said. It lives at a stable address that the
// session owns. The spill is empty in steady state; it exists so that OpenSSL never sees a partial
// write, whose retry rules (same length, same bytes) a caller that has moved on could not keep.

import COpenSSL
import Glibc

/// The two wires of a session, and the notes of its callbacks.
struct SessionWires {
  /// The next byte of the caller's input, meaningless when `inputRemaining` is 0.
  private var input: UnsafeRawPointer?
  /// Bytes of the caller's input that OpenSSL has not taken yet.
  private(set) var inputRemaining = 0
  /// Where the next byte of output goes, meaningless when `outputRoom` is 0.
  private var output: UnsafeMutableRawPointer?
  /// Bytes that the caller's output still has room for. Never above 0 while the spill holds bytes.
  private(set) var outputRoom = 0

  /// Output that had no room, malloc'ed when first needed and freed when it has been flushed.
  private var spill: UnsafeMutableRawPointer?
  private var spillStart = 0
  private var spillEnd = 0
  private var spillCapacity = 0

  /// The last fatal alert that this side sent, nil if none.
  var alertSent: UInt8?
  /// Whether this side answered a renegotiation with the no_renegotiation warning.
  var hasRefusedRenegotiation = false
  /// Whether a whole ClientHello has been parsed: before that, strange bytes mean that it is not
  /// TLS.
  var hasSeenHello = false
  /// Whether the peer's first byte has been seen, and what it was: it tells HTTP from TLS.
  private(set) var hasSeenInput = false
  private(set) var firstByte: UInt8 = 0

  /// Messages without application data that the peer may send and that cost work or an answer; see
  /// `MessageLimits`.
  private(set) var messageCount = 0
  /// Application data that the session has carried, both ways, in bytes.
  private(set) var applicationBytes = 0
  /// True once the peer has sent more such messages than it may: no further input is given out.
  private(set) var isFlooded = false

  /// Whether a client keeps the tickets that it is given, and those that the caller has not taken yet.
  var keepsTickets = false
  var tickets: ClientTickets?

  /// Who seals what this side sends.
  var records = SentRecords()

  /// Output that waits for the next call, in bytes.
  var spillCount: Int { spillEnd - spillStart }

  /// Counts application data, which raises what the peer may send besides it.
  @inline(__always)
  mutating func carried(_ count: Int) { applicationBytes &+= count }

  /// Counts one message of the peer that carries no application data.
  mutating func countMessage() {
    messageCount += 1
    if messageCount > MessageLimits.allowed(after: applicationBytes) { isFlooded = true }
  }

  /// Whether output waits for the next call.
  @inline(__always)
  var hasSpill: Bool { spillEnd != spillStart }

  /// Takes the caller's memory for one call, and flushes the spill into the output first.
  @inline(__always)
  mutating func begin(input: UnsafeRawBufferPointer, output: UnsafeMutableRawBufferPointer) {
    self.input = input.baseAddress
    inputRemaining = input.count
    self.output = output.baseAddress
    outputRoom = output.count
    if hasSpill { flushSpill() }
    if !hasSeenInput, let first = input.first {
      hasSeenInput = true
      firstByte = first
    }
  }

  /// Forgets the caller's memory, which is valid only during the call.
  @inline(__always)
  mutating func end() {
    input = nil
    inputRemaining = 0
    output = nil
    outputRoom = 0
  }

  /// Drops the input that is left: after close_notify the peer's bytes mean nothing (RFC 8446,
  /// 6.1).
  @inline(__always)
  mutating func discardInput() { inputRemaining = 0 }

  /// Moves up to `count` bytes of input to `target`; returns how many, 0 when the input is used up.
  ///
  /// Nothing is given out while output waits: OpenSSL reads on after a message that it has answered,
  /// so that one call over many messages would pile their answers up.
  @inline(__always)
  mutating func take(into target: UnsafeMutableRawPointer, count: Int) -> Int {
    let taken = min(count, inputRemaining)
    guard taken > 0, !hasSpill, !isFlooded, let source = input else { return 0 }
    memcpy(target, source, taken)
    input = source + taken
    inputRemaining -= taken
    return taken
  }

  /// Moves `count` bytes to the output and, past its end, to the spill; false if memory ran out.
  @inline(__always)
  mutating func put(_ source: UnsafeRawPointer, count: Int) -> Bool {
    let direct = min(count, outputRoom)
    if direct > 0, let target = output {
      memcpy(target, source, direct)
      output = target + direct
      outputRoom -= direct
    }
    return direct == count ? true : spillOver(source + direct, count: count - direct)
  }

  // MARK: Records

  /// Seals application data. - Returns: false if that failed.
  @inline(__always)
  mutating func seal(_ content: UnsafeRawBufferPointer) -> Bool {
    let whole = content.count + RecordSealer.overhead
    guard let target = output, outputRoom >= whole else {
      return sealAside(UInt8(SSL3_RT_APPLICATION_DATA), content)
    }
    guard records.seal(type: UInt8(SSL3_RT_APPLICATION_DATA), content, into: target) else {
      return false
    }
    output = target + whole
    outputRoom -= whole
    return true
  }

  /// The same for application data in several pieces. - Returns: nil where there is no room for all of the record.
  mutating func seal(_ pieces: UnsafeBufferPointer<iovec>, skipping: Int, count: Int) -> Bool? {
    let whole = count + RecordSealer.overhead
    guard let target = output, outputRoom >= whole else { return nil }
    guard records.seal(pieces, skipping: skipping, count: count, into: target) else { return false }
    output = target + whole
    outputRoom -= whole
    return true
  }

  /// The same where the output may have no room for all of the record.
  private mutating func sealAside(_ type: UInt8, _ content: UnsafeRawBufferPointer) -> Bool {
    let whole = content.count + RecordSealer.overhead
    return withUnsafeTemporaryAllocation(byteCount: whole, alignment: 16) { record in
      // TRAP: an allocation of more than nothing has an address.
      records.seal(type: type, content, into: record.baseAddress!)
        && put(record.baseAddress!, count: whole)
    }
  }

  /// Says what OpenSSL has said besides application data in its place, if records are sealed here.
  mutating func noteMessage(_ type: Int32, _ content: UnsafeRawBufferPointer, _ ssl: OpaquePointer)
  {
    guard let first = content.first else { return }
    if records.areSealedHere, !sealAside(UInt8(truncatingIfNeeded: type), content) {
      // A peer that misses it could not follow what comes behind it.
      return records.lose()
    }
    guard type == SSL3_RT_HANDSHAKE else { return }
    switch Int32(first) {
    case SSL3_MT_FINISHED: records.noteFinished(content.count)
    case SSL3_MT_NEWSESSION_TICKET: records.noteContent(content.count)
    case SSL3_MT_KEY_UPDATE: records.noteKeyUpdate(ssl)
    default: break
    }
  }

  /// Frees the spill and forgets the keys; the last thing that the owner does.
  mutating func release() {
    records.release()
    tickets = nil
    releaseSpill()
  }

  private mutating func releaseSpill() {
    free(spill)
    spill = nil
    spillStart = 0
    spillEnd = 0
    spillCapacity = 0
  }

  /// Gives the output what the spill holds, as far as it has room.
  private mutating func flushSpill() {
    guard let spill, let target = output else { return }
    let moved = min(spillEnd - spillStart, outputRoom)
    memcpy(target, spill + spillStart, moved)
    output = target + moved
    outputRoom -= moved
    spillStart += moved
    if spillStart == spillEnd { releaseSpill() }
  }

  /// Appends to the spill. Its size is bounded by a record or a handshake flight, because no further
  /// call is made and no input is read while it holds bytes.
  private mutating func spillOver(_ source: UnsafeRawPointer, count: Int) -> Bool {
    if spillEnd + count > spillCapacity {
      // 2 KiB holds most handshake flights; doubling keeps a chain of many certificates linear.
      let capacity = max(2048, max(spillEnd + count, spillCapacity * 2))
      guard let grown = realloc(spill, capacity) else { return false }
      spill = grown
      spillCapacity = capacity
    }
    guard let spill else { return false }
    memcpy(spill + spillEnd, source, count)
    spillEnd += count
    return true
  }
}
