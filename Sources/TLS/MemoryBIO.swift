// OpenSSL's view of the wire: a BIO whose read side takes bytes straight from the caller's input
// and whose write side writes straight into the caller's output. It keeps one promise to OpenSSL: a
// write is always accepted whole, because SessionWires keeps what the output has no room for.

import COpenSSL

/// The BIO_METHOD that every session shares.
enum MemoryBIO {
  /// The method, made once; nil if OpenSSL could not be initialised or memory ran out.
  // SAFETY: a BIO_METHOD is only read after it has been filled in; it is never freed.
  nonisolated(unsafe) static let method: OpaquePointer? = {
    guard OpenSSLLibrary.isReady else { return nil }
    let type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK
    guard let method = BIO_meth_new(type, "millrace wires") else { return nil }
    BIO_meth_set_read(method, readCallback)
    BIO_meth_set_write(method, writeCallback)
    BIO_meth_set_ctrl(method, controlCallback)
    return method
  }()

  /// A BIO over `wires`, which must outlive it; nil if memory ran out.
  static func make(over wires: UnsafeMutablePointer<SessionWires>) -> OpaquePointer? {
    guard let method, let bio = BIO_new(method) else { return nil }
    BIO_set_data(bio, wires)
    BIO_set_init(bio, 1)
    return bio
  }
}

/// Takes up to `count` bytes from the caller's input; asks for a retry when there are none.
private let readCallback:
  @convention(c) (OpaquePointer?, UnsafeMutablePointer<CChar>?, Int32) -> Int32 = {
    bio, target, count in
    copenssl_BIO_clear_retry_flags(bio)
    guard let data = BIO_get_data(bio), let target, count > 0 else { return 0 }
    // SAFETY: make(over:) put a SessionWires there, and the session that owns it owns the BIO too.
    let wires = data.assumingMemoryBound(to: SessionWires.self)
    let taken = wires.pointee.take(into: target, count: Int(count))
    if taken == 0 {
      copenssl_BIO_set_retry_read(bio)
      return -1
    }
    return Int32(truncatingIfNeeded: taken)
  }

/// Puts `count` bytes into the caller's output, the surplus into the spill; fails only without
/// memory.
private let writeCallback: @convention(c) (OpaquePointer?, UnsafePointer<CChar>?, Int32) -> Int32 =
  { bio, source, count in
    copenssl_BIO_clear_retry_flags(bio)
    guard let data = BIO_get_data(bio), let source, count > 0 else { return 0 }
    // SAFETY: as in readCallback.
    let wires = data.assumingMemoryBound(to: SessionWires.self)
    // `SessionNotes.message` has its plaintext sealed.
    if wires.pointee.records.areSealedHere { return count }
    return wires.pointee.put(source, count: Int(count)) ? count : -1
  }

/// A flush always succeeds, since nothing is held back; every other question is answered "no".
private let controlCallback:
  @convention(c) (OpaquePointer?, Int32, Int, UnsafeMutableRawPointer?) -> Int = {
    _, command, _, _ in
    command == BIO_CTRL_FLUSH ? 1 : 0
  }
