// What is known of an exchange at its end, lent to whoever writes a line of it. It owns no memory.

/// The texts of a request that outlive its head: copied when it has come, read at the exchange's end.
public struct RequestTexts {
  // A field whose base address is nil is absent.
  public var method = UnsafeRawBufferPointer(start: nil, count: 0)
  public var host = UnsafeRawBufferPointer(start: nil, count: 0)
  public var path = UnsafeRawBufferPointer(start: nil, count: 0)
  public var query = UnsafeRawBufferPointer(start: nil, count: 0)
  public var userAgent = UnsafeRawBufferPointer(start: nil, count: 0)
  public var referer = UnsafeRawBufferPointer(start: nil, count: 0)
  public var forwardedFor = UnsafeRawBufferPointer(start: nil, count: 0)
  public var requestID = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The name that a connection asks for whose TLS is not ended here.
  public var serverName = UnsafeRawBufferPointer(start: nil, count: 0)

  static let count = 9

  public init() {}

  private subscript(_ place: Int) -> UnsafeRawBufferPointer {
    get {
      switch place {
      case 0: method
      case 1: host
      case 2: path
      case 3: query
      case 4: userAgent
      case 5: referer
      case 6: forwardedFor
      case 7: requestID
      default: serverName
      }
    }
    set {
      switch place {
      case 0: method = newValue
      case 1: host = newValue
      case 2: path = newValue
      case 3: query = newValue
      case 4: userAgent = newValue
      case 5: referer = newValue
      case 6: forwardedFor = newValue
      case 7: requestID = newValue
      default: serverName = newValue
      }
    }
  }

  /// Bytes that `write` needs.
  public var byteCount: Int {
    var total = Self.count * 4
    for place in 0..<Self.count { total += self[place].count }
    return total
  }

  /// Copies all of them into memory of `byteCount` bytes at least.
  public func write(into memory: UnsafeMutableRawBufferPointer) {
    var at = Self.count * 4
    for place in 0..<Self.count {
      let text = self[place]
      let isAbsent = text.baseAddress == nil
      let mark = isAbsent ? UInt32.max : UInt32(truncatingIfNeeded: text.count)
      memory.storeBytes(of: mark, toByteOffset: place * 4, as: UInt32.self)
      guard !isAbsent else { continue }
      UnsafeMutableRawBufferPointer(rebasing: memory[at..<(at + text.count)]).copyMemory(from: text)
      at += text.count
    }
  }

  /// What `write` has copied.
  public init(reading memory: UnsafeRawBufferPointer) {
    guard memory.count >= Self.count * 4 else { return }
    var at = Self.count * 4
    for place in 0..<Self.count {
      let mark = memory.loadUnaligned(fromByteOffset: place * 4, as: UInt32.self)
      guard mark != .max, Int(mark) <= memory.count - at else { continue }
      self[place] = UnsafeRawBufferPointer(rebasing: memory[at..<(at + Int(mark))])
      at += Int(mark)
    }
  }
}

/// The facts of an exchange.
public struct ExchangeValues {
  public var request = RequestTexts()
  public var client = UnsafeRawBufferPointer(start: nil, count: 0)
  public var listener = UnsafeRawBufferPointer(start: nil, count: 0)
  public var isTLS = false
  public var tlsVersion = UnsafeRawBufferPointer(start: nil, count: 0)
  public var tlsCipher = UnsafeRawBufferPointer(start: nil, count: 0)
  public var tlsServerName = UnsafeRawBufferPointer(start: nil, count: 0)
  public var tlsALPN = UnsafeRawBufferPointer(start: nil, count: 0)
  public var httpVersion = UnsafeRawBufferPointer(start: nil, count: 0)
  /// 0: it has none.
  public var stream: UInt32 = 0
  public var trace = TraceContext()
  public var route = UnsafeRawBufferPointer(start: nil, count: 0)
  public var upstream = UnsafeRawBufferPointer(start: nil, count: 0)
  public var server = UnsafeRawBufferPointer(start: nil, count: 0)
  /// 0: no response was made.
  public var status: UInt16 = 0
  public var requestBytes: UInt64 = 0
  public var responseBytes: UInt64 = 0
  public var termination: StaticString = "complete"
  public var rejection: StaticString?
  /// It ended as it should.
  public var isComplete = true
  /// Wall clock at the start.
  public var startMicroseconds: Int64 = 0
  // Microseconds from the start on; negative: it did not come to that.
  public var durationMicroseconds: Int64 = 0
  public var queueMicroseconds: Int64 = -1
  public var connectMicroseconds: Int64 = -1
  public var firstByteMicroseconds: Int64 = -1
  /// 0: it has none.
  public var exchangeID: UInt64 = 0
  public var worker = 0
  /// The query is left out.
  public var redactsQuery = false

  public init() {}
}
