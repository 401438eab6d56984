// Seal is the line that ends every committed batch and links it to the one before. Its hash covers
// the previous seal's hash and the batch's exact bytes; its other members repeat what a reader can
// count, and a reader that counts otherwise refuses the batch.

internal import Text

struct Seal: Equatable {
  /// The longest seal line in bytes, with room for an Ed25519 signature in hexadecimal:
  /// names and hashes 263, three numbers of 20, signature 143.
  static let maximum = 480

  var firstSequence: UInt64
  var lastSequence: UInt64
  /// The batch's bytes before the seal line.
  var bytes: UInt64
  var previous: SealHash
  var hash: SealHash
  /// True if the line carries a signature (format 1 reserves the member).
  var isSigned = false

  func write(into cursor: inout ByteCursor) {
    cursor.literal("{\"kind\":\"seal\",\"seq_first\":")
    cursor.decimal(firstSequence)
    cursor.literal(",\"seq_last\":")
    cursor.decimal(lastSequence)
    cursor.literal(",\"bytes\":")
    cursor.decimal(bytes)
    cursor.literal(",\"previous\":\"")
    previous.write(into: &cursor)
    cursor.literal("\",\"sha256\":\"")
    hash.write(into: &cursor)
    cursor.literal("\"}\n")
  }

  /// True if the line begins as a seal does.
  static func begins(_ line: UnsafeRawBufferPointer) -> Bool {
    var reader = ByteReader(line)
    return reader.take("{\"kind\":\"seal\"")
  }

  /// Parses a line without its newline.
  static func parse(_ line: UnsafeRawBufferPointer) -> Seal? {
    var reader = ByteReader(line)
    guard reader.take("{\"kind\":\"seal\",\"seq_first\":"), let first = reader.sequence(),
      reader.take(",\"seq_last\":"), let last = reader.sequence(),
      reader.take(",\"bytes\":"), let bytes = reader.decimal(),
      reader.take(",\"previous\":\""), let previous = reader.hash(),
      reader.take("\",\"sha256\":\""), let hash = reader.hash(), reader.take("\"")
    else { return nil }
    var seal = Seal(
      firstSequence: first, lastSequence: last, bytes: bytes, previous: previous, hash: hash)
    if reader.take(",\"signature\":\"") {
      guard let signature = reader.bytes(128),
        signature.allSatisfy({ SealHash.value($0) != nil }), reader.take("\"")
      else { return nil }
      seal.isSigned = true
    }
    return reader.take("}") && reader.atEnd ? seal : nil
  }
}
