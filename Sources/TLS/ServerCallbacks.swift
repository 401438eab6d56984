// What OpenSSL asks a server while it negotiates: which certificates, which protocol, which ticket
// key. No callback of this file runs for application data.

import COpenSSL
import Glibc

/// The callbacks of a server's SSL_CTX.
enum ServerCallbacks {
  /// Chooses the certificates by server name. Here and not in the servername callback, because that
  /// one runs after a session has been resumed, and a ticket must be judged by the site that it is
  /// shown to.
  static let clientHello:
    @convention(c) (
      OpaquePointer?, UnsafeMutablePointer<Int32>?, UnsafeMutableRawPointer?
    ) -> Int32 = { ssl, _, argument in
      guard let ssl, let argument else { return SSL_CLIENT_HELLO_ERROR }
      let wires = SessionNotes.wires(of: ssl)
      wires?.pointee.hasSeenHello = true
      var start: UnsafePointer<UInt8>?
      var count = 0
      guard SSL_client_hello_get0_ext(ssl, UInt32(TLSEXT_TYPE_server_name), &start, &count) == 1,
        let name = hostName(in: UnsafeRawBufferPointer(start: start, count: count))
      else { return SSL_CLIENT_HELLO_SUCCESS }
      // SAFETY: the session whose handshake this is keeps the context alive.
      let context = Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue()
      let group = context.group(for: name, telling: wires?.pointee.records.isTold == true)
      if group != SSL_get_SSL_CTX(ssl), SSL_set_SSL_CTX(ssl, group) == nil {
        return SSL_CLIENT_HELLO_ERROR
      }
      return SSL_CLIENT_HELLO_SUCCESS
    }

  /// Acknowledges the server name, so that OpenSSL keeps it in the session and a resumed one has it
  /// too.
  static let serverName:
    @convention(c) (
      OpaquePointer?, UnsafeMutablePointer<Int32>?, UnsafeMutableRawPointer?
    ) -> Int32 = { _, _, _ in SSL_TLSEXT_ERR_OK }

  /// Chooses the protocol, or refuses the client.
  static let chooseProtocol:
    @convention(c) (
      OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<UInt8>?,
      UnsafePointer<UInt8>?, UInt32, UnsafeMutableRawPointer?
    ) -> Int32 = { _, chosen, chosenCount, offer, offerCount, argument in
      guard let chosen, let chosenCount, let argument else { return SSL_TLSEXT_ERR_ALERT_FATAL }
      // SAFETY: as in clientHello.
      let context = Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue()
      let list = UnsafeBufferPointer(start: offer, count: Int(offerCount))
      guard let choice = context.chooseProtocol(from: list) else {
        return SSL_TLSEXT_ERR_ALERT_FATAL
      }
      chosen.pointee = UnsafePointer(choice.start)
      chosenCount.pointee = choice.count
      return SSL_TLSEXT_ERR_OK
    }

  /// Seals or opens a ticket.
  static let ticketKey:
    @convention(c) (
      OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<UInt8>?, OpaquePointer?,
      OpaquePointer?, Int32
    ) -> Int32 = { ssl, name, iv, cipher, mac, isSealing in
      guard let ssl, let name, let iv, let cipher, let mac,
        let pointer = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0)
      else { return -1 }
      // SAFETY: as in clientHello; every group of a context carries the context.
      let tickets = Unmanaged<TLSContext>.fromOpaque(pointer).takeUnretainedValue().tickets
      if isSealing != 0 {
        return tickets.seal(name: name, iv: iv, cipher: cipher, mac: mac)
      }
      return tickets.open(
        name: name, iv: iv, cipher: cipher, mac: mac,
        renewsAlways: SSL_version(ssl) == TLS1_3_VERSION)
    }

  /// The host name in a server_name extension (RFC 6066, section 3): a list's length, then per
  /// entry a type and a name with its length. nil if it is malformed, which OpenSSL refuses later
  /// by itself.
  static func hostName(in list: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard list.count >= 5 else { return nil }
    let listCount = Int(list[0]) << 8 | Int(list[1])
    let nameCount = Int(list[3]) << 8 | Int(list[4])
    guard listCount == list.count - 2, list[2] == UInt8(TLSEXT_NAMETYPE_host_name), nameCount > 0,
      nameCount <= listCount - 3
    else { return nil }
    return UnsafeRawBufferPointer(rebasing: list[5..<5 + nameCount])
  }
}
