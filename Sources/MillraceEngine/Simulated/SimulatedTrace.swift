// What has happened in a simulated world, as one running hash, so that two runs can be compared,
// and as a bounded tail that a person can read. Nothing goes in that another run would not repeat:
// no address, no descriptor of the machine, no clock but the virtual one.

/// The account of a world.
public struct SimulatedTrace: Sendable {
  /// What an entry is about.
  public enum Kind: UInt8, Sendable {
    case turn, completion, receive, accept, connect, stop, send, shutdown, close, reset
    case openFile, read, write, synchronize, resizeFile, rename, unlink, closeFile, status
    case datagramReceive, datagramSend, relay, control, arrival, crash, note, move
  }

  struct Entry: Sendable {
    var time: Int64
    var kind: Kind
    var subject: UInt64
    var value: Int64
    var detail: UInt64
  }

  /// Two runs of one seed have the same.
  public private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325
  /// Entries so far.
  public private(set) var count = 0
  /// Leaves the content of received, sent and stored bytes out (ciphertext, which may hold what a
  /// library took from a clock of its own). How many they are stays in.
  public var isContentOpaque = false

  private var ring: [Entry] = []
  private let limit = 1024
  private var notes: [(entry: Int, text: String)] = []

  /// Something that the caller wants in the account.
  public mutating func note(_ text: String, at time: Int64) {
    var sum: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in text.utf8 { sum = (sum ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    if notes.count >= limit { notes.removeFirst(limit / 2) }
    notes.append((count, text))
    add(.note, at: time, 0, 0, sum)
  }

  mutating func add(
    _ kind: Kind, at time: Int64, _ subject: UInt64, _ value: Int64, _ detail: UInt64 = 0
  ) {
    mix(UInt64(kind.rawValue))
    mix(UInt64(bitPattern: time))
    mix(subject)
    mix(UInt64(bitPattern: value))
    mix(detail)
    let entry = Entry(time: time, kind: kind, subject: subject, value: value, detail: detail)
    if ring.count < limit { ring.append(entry) } else { ring[count % limit] = entry }
    count += 1
  }

  /// FNV-1a, by words, with a shift so that high bits come down as well.
  private mutating func mix(_ word: UInt64) {
    hash = (hash ^ word) &* 0x0000_0100_0000_01B3
    hash ^= hash >> 29
  }

  /// The hash of some content, or 0 where content stays out.
  func sum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    if isContentOpaque { return 0 }
    var sum: UInt64 = 0xCBF2_9CE4_8422_2325
    var at = 0
    while at + 8 <= bytes.count {
      sum = (sum ^ bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)) &* 0x0100_0000_01B3
      sum ^= sum >> 29
      at += 8
    }
    while at < bytes.count {
      sum = (sum ^ UInt64(bytes[at])) &* 0x0100_0000_01B3
      at += 1
    }
    return sum
  }

  /// The last entries, oldest first, one line each.
  public var tail: String {
    let first = max(0, count - ring.count)
    var lines = ""
    var note = notes.startIndex
    for i in first..<count {
      let e = ring[i % limit]
      lines += "\(e.time) \(e.kind) \(hex(e.subject)) \(e.value)"
      while note < notes.count && notes[note].entry < i { note += 1 }
      if e.kind == .note, note < notes.count, notes[note].entry == i {
        lines += " \(notes[note].text)"
      } else if e.detail != 0 {
        lines += " #\(hex(e.detail))"
      }
      lines += "\n"
    }
    return lines
  }

  private func hex(_ value: UInt64) -> String { String(value, radix: 16) }
}
