import Testing

@testable import HTTP

private func text(_ bytes: UnsafeRawBufferPointer) -> String {
  String(decoding: bytes, as: UTF8.self)
}

private func accepts(_ key: WebSocketKey, _ value: String) -> Bool {
  Array(value.utf8).withUnsafeBytes { key.isAccepted(by: $0) }
}

@Suite struct WebSocketKeyTests {
  /// "the sample nonce", RFC 6455 1.3.
  private let sample = WebSocketKey(0x7468_6520_7361_6D70, 0x6C65_206E_6F6E_6365)

  @Test func theKeyOfTheSpecificationIsAcceptedByItsValue() {
    #expect(sample.withText { text($0) } == "dGhlIHNhbXBsZSBub25jZQ==")
    #expect(accepts(sample, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
  }

  @Test func aClientsKeyIsAcceptedByTheSameValue() {
    let key = Array("dGhlIHNhbXBsZSBub25jZQ==".utf8).withUnsafeBytes { WebSocketKey($0) }
    #expect(key == sample)
    #expect(key?.withAccept { text($0) } == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
  }

  @Test(arguments: [
    "", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZQAA",
    "dGhlIHNhbXBsZSBub25j\r\n==", "dGhlIHNhbXBsZSBub25jZ_==", "=Gh=IHNhbXBsZSBub25jZQ==",
  ])
  func whatIsNoKeyIsNone(value: String) {
    #expect(Array(value.utf8).withUnsafeBytes { WebSocketKey($0) } == nil)
  }

  @Test func noOtherValueAccepts() {
    let right = Array("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".utf8)
    for place in right.indices {
      var wrong = right
      wrong[place] ^= 1
      #expect(!accepts(sample, String(decoding: wrong, as: UTF8.self)))
    }
    for wrong in ["", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo", "S3PPLMBITXAQ9KYGZZHZRBK+XOO=", "="] {
      #expect(!accepts(sample, wrong))
    }
    #expect(!accepts(WebSocketKey(1, 2), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
  }

  @Test(arguments: [
    ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    (
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
    ),
    (String(repeating: "a", count: 55), "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
    (String(repeating: "a", count: 56), "c2db330f6083854c99d4b5bfb6e8f29f201be699"),
    (String(repeating: "a", count: 64), "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
    (String(repeating: "a", count: 119), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56"),
  ])
  func hashesAreThoseOfTheStandard(message: String, digest: String) {
    let found = Array(message.utf8).withUnsafeBytes { message in
      withUnsafeTemporaryAllocation(byteCount: 20, alignment: 4) { room -> [UInt8] in
        SHA1.hash(message, into: room)
        return Array(room)
      }
    }
    let digits = Array("0123456789abcdef")
    let hex = found.map { String([digits[Int($0 >> 4)], digits[Int($0 & 15)]]) }.joined()
    #expect(hex == digest)
  }

  @Test(arguments: [
    ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ("foobar", "Zm9vYmFy"), ("\u{0}>?\u{7f}~", "AD4/f34="),
  ])
  func base64IsThatOfTheSpecification(bytes: String, expected: String) {
    let found = Array(bytes.utf8).withUnsafeBytes { bytes in
      withUnsafeTemporaryAllocation(byteCount: (bytes.count + 2) / 3 * 4, alignment: 1) { room in
        Base64.encode(bytes, into: room)
        return text(UnsafeRawBufferPointer(room))
      }
    }
    #expect(found == expected)
  }
}
