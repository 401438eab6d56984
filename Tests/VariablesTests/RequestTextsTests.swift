// The texts of a request in memory, and the identity of a trace.

import Testing

@testable import Variables

@Suite("What is kept of a request")
struct RequestTextsTests {
  @Test("texts come back as they were, absent and empty ones told apart")
  func texts() {
    var texts = RequestTexts()
    texts.method = lasting("GET")
    texts.path = lasting("/x")
    texts.query = lasting("")
    texts.serverName = lasting("name")
    var memory = [UInt8](repeating: 0xAA, count: texts.byteCount)
    memory.withUnsafeMutableBytes { texts.write(into: $0) }
    memory.withUnsafeBytes {
      let back = RequestTexts(reading: $0)
      #expect(back.method.elementsEqual("GET".utf8))
      #expect(back.path.elementsEqual("/x".utf8))
      #expect(back.query.baseAddress != nil && back.query.isEmpty)
      #expect(back.host.baseAddress == nil)
      #expect(back.serverName.elementsEqual("name".utf8))
    }
  }

  @Test("a field traceparent is read, and written for the next hop")
  func trace() {
    let field = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    var trace = TraceContext(parsing: lasting(field))
    #expect(trace.high == 0x0af7_6519_16cd_43dd && trace.low == 0x8448_eb21_1c80_319c)
    #expect(trace.parent == 0xb7ad_6b71_6920_3331 && trace.isSampled)
    trace.span = 0xff
    var memory = [UInt8](repeating: 0, count: TraceContext.fieldBytes)
    memory.withUnsafeMutableBytes { trace.write(into: $0) }
    #expect(
      String(decoding: memory, as: UTF8.self)
        == "00-0af7651916cd43dd8448eb211c80319c-00000000000000ff-01")
    #expect(!TraceContext(parsing: lasting(field.dropLast(2) + "02")).isSampled)
    // A later version is read by its known part.
    #expect(!TraceContext(parsing: lasting("cc" + field.dropFirst(2) + "-more")).isEmpty)
  }

  @Test(
    "what is not a traceparent is no trace",
    arguments: [
      "", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
      "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
      "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
      "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
      "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
    ])
  func noTrace(_ field: String) {
    #expect(TraceContext(parsing: lasting(field)).isEmpty)
  }
}
