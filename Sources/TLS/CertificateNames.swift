// Which host names a certificate is for. It follows RFC 6125, section 6.4.4: the dNSName entries of
// the subject alternative name decide, and the common name counts only where there is none.

import COpenSSL

/// Reads names out of a certificate.
enum CertificateNames {
  /// The names of `certificate`, an X509, lowercase, in its order, without repetition.
  static func read(from certificate: OpaquePointer) -> [[UInt8]] {
    var names: [[UInt8]] = []
    let list = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil)
    if let list {
      // SAFETY: this extension decodes to GENERAL_NAMES, a stack of GENERAL_NAME.
      let stack = OpaquePointer(list)
      for index in 0..<OPENSSL_sk_num(stack) {
        guard let entry = OPENSSL_sk_value(stack, index) else { continue }
        let name = entry.assumingMemoryBound(to: GENERAL_NAME.self).pointee
        if name.type == GEN_DNS { append(name.d.dNSName, to: &names) }
      }
      GENERAL_NAMES_free(stack)
    }
    if names.isEmpty, let subject = X509_get_subject_name(certificate) {
      // The last common name is the most specific one (RFC 6125, section 6.4.4).
      var place: Int32 = -1
      var last: Int32 = -1
      repeat {
        last = place
        place = X509_NAME_get_index_by_NID(subject, NID_commonName, place)
      } while place >= 0
      if last >= 0, let entry = X509_NAME_get_entry(subject, last) {
        append(X509_NAME_ENTRY_get_data(entry), to: &names)
      }
    }
    return names
  }

  /// Appends a string if it can be a host name that SNI asks for.
  private static func append(
    _ text: UnsafeMutablePointer<ASN1_STRING>?, to names: inout [[UInt8]]
  ) {
    guard let text, let bytes = ASN1_STRING_get0_data(text) else { return }
    let raw = UnsafeBufferPointer(start: bytes, count: Int(ASN1_STRING_length(text)))
    guard let name = normalized(raw), !names.contains(name) else { return }
    names.append(name)
  }

  /// Lowercase and without a final dot; nil if it is empty, too long for DNS (RFC 1035, 2.3.4), or
  /// holds a byte that no host name has, among them NUL, with which certificates once lied to C
  /// programs.
  static func normalized(_ raw: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
    var count = raw.count
    if count > 0, raw[count - 1] == UInt8(ascii: ".") { count -= 1 }
    guard count > 0, count <= 253 else { return nil }
    var name: [UInt8] = []
    name.reserveCapacity(count)
    for index in 0..<count {
      guard let byte = lowercased(raw[index], allowsStar: index == 0) else { return nil }
      name.append(byte)
    }
    return name
  }

  /// A byte of a host name in lowercase, nil if it is none. The underscore is no host name's, and
  /// used.
  @inline(__always)
  static func lowercased(_ byte: UInt8, allowsStar: Bool) -> UInt8? {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
      byte
    case UInt8(ascii: "A")...UInt8(ascii: "Z"):
      byte | 0x20
    case UInt8(ascii: "*"):
      allowsStar ? byte : nil
    default:
      nil
    }
  }
}
