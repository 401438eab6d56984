import HTTP
import Testing

@Suite struct ByteClassTests {
  @Test func tableHoldsExactlyTheClassesOfTheSpecifications() {
    let digits = "0123456789"
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    let token = Set(("!#$%&'*+-.^_`|~" + digits + letters).utf8)
    let host = Set(("-._~" + digits + letters).utf8)
    let hex = Set((digits + "abcdefABCDEF").utf8)
    for byte in UInt8.min...UInt8.max {
      let bits = ByteClass.table[Int(byte)]
      #expect((bits & ByteClass.token != 0) == token.contains(byte), "\(byte)")
      let isTarget = byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "#")
      #expect((bits & ByteClass.target != 0) == isTarget, "\(byte)")
      #expect((bits & ByteClass.host != 0) == host.contains(byte), "\(byte)")
      #expect((bits & ByteClass.hex != 0) == hex.contains(byte), "\(byte)")
      #expect(bits & 0xF0 == 0)
    }
  }

  @Test func firstControlFindsEachControlByteAtEachPlaceOfAWord() {
    for byte in UInt8.min...UInt8.max {
      for length in 1...19 {
        for place in 0..<length {
          // Neighbours that a borrow could flag wrongly: 0x20, 0x80 and 0xFF beside the byte.
          var bytes = [UInt8](repeating: place % 2 == 0 ? 0x20 : 0x80, count: length)
          if place + 1 < length { bytes[place + 1] = 0x20 }
          bytes[place] = byte
          let found = withExactBytes(bytes) {
            ByteClass.firstControl($0.baseAddress!, from: 0, to: length)
          }
          let isControl = byte < 0x20 || byte == 0x7F
          if found != (isControl ? place : length) {
            Issue.record("byte \(byte) at \(place) of \(length): \(found)")
          }
        }
      }
    }
  }
}

@Suite struct FieldNameTests {
  private func recognise(_ name: [UInt8]) -> FieldName {
    withExactBytes(name) { FieldName($0.baseAddress!, $0.count) }
  }

  /// Those that stand for one name each.
  private static let single = FieldName.allCases.filter {
    $0 != .other && $0 != .untrusted && $0 != .ambiguous
  }

  @Test(arguments: single)
  func everyNameIsRecognisedInAnyCaseAndNothingNextToItIs(name: FieldName) {
    let canonical = Array(String(describing: name.canonicalName).utf8)
    let string = String(decoding: canonical, as: UTF8.self)
    #expect(recognise(canonical) == name)
    #expect(recognise(Array(string.lowercased().utf8)) == name)
    #expect(recognise(Array(string.uppercased().utf8)) == name)
    let longer = recognise(canonical + [UInt8(ascii: "s")])
    #expect(longer == (string.hasPrefix("X-Forwarded-") ? .untrusted : .other))
    if canonical.count > 1 { #expect(recognise(Array(canonical.dropLast())) != name) }
    for place in canonical.indices {
      // Each single changed byte makes another name, unless only its case changed.
      for byte in UInt8.min...UInt8.max where ByteClass.table[Int(byte)] & ByteClass.token != 0 {
        var changed = canonical
        changed[place] = byte
        let isSame = String(decoding: changed, as: UTF8.self).lowercased() == string.lowercased()
        if (recognise(changed) == name) != isSame {
          Issue.record("\(String(decoding: changed, as: UTF8.self)) read as \(name)")
        }
      }
    }
  }

  @Test func namesFitOneWordAndAreDistinct() {
    let names = Self.single.map { String(describing: $0.canonicalName).lowercased() }
    #expect(Set(names).count == names.count)
    #expect(FieldName.allCases.allSatisfy { $0.rawValue < 64 })
    #expect(recognise(Array("X".utf8)) == .other)
    #expect(recognise([UInt8](repeating: UInt8(ascii: "h"), count: 300)) == .other)
  }

  @Test func aSetHoldsWhatWasPutInAndNothingElse() {
    for name in FieldName.allCases {
      let set = FieldSet(name)
      #expect(set.has(name))
      #expect(FieldName.allCases.filter { set.has($0) } == [name])
    }
    let both: FieldSet = [.host, .via]
    #expect(both.contains(.host) && both.has(.via) && !both.has(.forwarded))
  }
}

@Suite struct HTTPMethodTests {
  @Test(
    arguments: [
      ("GET", .get), ("HEAD", .head), ("POST", .post), ("PUT", .put), ("DELETE", .delete),
      ("OPTIONS", .options), ("PATCH", .patch), ("TRACE", .trace), ("get", .other), ("Get", .other),
      ("PROPFIND", .other), ("G", .other), ("GETS", .other), ("PURGE", .other),
      ("M-SEARCH", .other),
    ] as [(String, HTTPMethod)])
  func methodsAreRecognisedWithRegardToCase(name: String, method: HTTPMethod) {
    let found = withExactBytes(Array(name.utf8)) { HTTPMethod($0.baseAddress!, $0.count) }
    #expect(found == method)
  }

  @Test func safeMethodsAreIdempotentAndPostIsNeither() {
    let all: [HTTPMethod] = [
      .other, .get, .head, .post, .put, .delete, .options, .patch, .trace, .connect,
    ]
    #expect(all.filter(\.isSafe) == [.get, .head, .options, .trace])
    #expect(all.filter(\.isIdempotent) == [.get, .head, .put, .delete, .options, .trace])
  }
}
