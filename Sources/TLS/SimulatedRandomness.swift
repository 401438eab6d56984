// Randomness of the simulator for OpenSSL. Keys, nonces, session identifiers and ticket IVs come
// from wherever the simulated world takes its dice, so that a seed repeats every handshake. Not for
// production: what it installs holds for the whole process and is no secret.
//
// TRAP: (file) tests only; what it asks of OpenSSL depends on nothing from outside.

import COpenSSL

/// OpenSSL's source of randomness in a simulated world.
///
/// What stays outside is time: OpenSSL 3 has no hook for time(2), which it calls for the age of
/// tickets and the start of sessions. The bytes of a handshake may therefore differ from run to
/// run; their number does not.
package enum SimulatedRandomness {
  // SAFETY: written before the first session of the process is made, and used from the one thread
  // that a simulated world has.
  nonisolated(unsafe) private static var source: (UnsafeMutableRawBufferPointer) -> Void = { _ in }
  nonisolated(unsafe) private static var method = RAND_METHOD(
    seed: { _, _ in 1 },
    bytes: { SimulatedRandomness.fill($0, $1) },
    cleanup: {},
    add: { _, _, _ in 1 },
    pseudorand: { SimulatedRandomness.fill($0, $1) },
    status: { 1 })

  private static func fill(_ room: UnsafeMutablePointer<UInt8>?, _ count: Int32) -> Int32 {
    source(UnsafeMutableRawBufferPointer(start: room, count: Int(count)))
    return 1
  }

  /// Makes `fill` the process's only source, RAND_set_rand_method(3). May be called again for the
  /// next world.
  package static func install(_ fill: @escaping (UnsafeMutableRawBufferPointer) -> Void) {
    precondition(OpenSSLLibrary.isReady, "OpenSSL could not be initialised")
    source = fill
    precondition(RAND_set_rand_method(&method) == 1, "RAND_bytes failed")
  }
}
