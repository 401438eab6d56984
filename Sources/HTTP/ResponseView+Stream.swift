// What a server says of how its content is to be passed on: at once, as it comes, or not.

extension ResponseView {
  /// Whether the content is a stream whose parts are wanted as they come: server-sent events (HTML
  /// Living Standard, 9.2), gRPC, or what the server marks with `X-Accel-Buffering: no`, the field
  /// that nginx introduced for it (ngx_http_proxy_module, proxy_buffering).
  public var isStream: Bool {
    if let line = first(.contentType) {
      let type = slice(line.value)
      if Self.hasPrefix(type, "text/event-stream") || Self.hasPrefix(type, "application/grpc") {
        return true
      }
    }
    guard presentFields.contains(.xAccelBuffering), let line = first(.xAccelBuffering) else {
      return false
    }
    let value = slice(line.value)
    return value.count == 2 && Self.hasPrefix(value, "no")
  }

  /// Whether a value begins with `lower`, compared without case (RFC 9110 8.3.1: media types are
  /// case-insensitive).
  private static func hasPrefix(_ value: UnsafeRawBufferPointer, _ lower: StaticString) -> Bool {
    guard value.count >= lower.utf8CodeUnitCount, let base = value.baseAddress else { return false }
    for index in 0..<lower.utf8CodeUnitCount {
      let byte = ByteClass.byte(base, index)
      let folded = byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
      if folded != lower.utf8Start[index] { return false }
    }
    return true
  }
}
