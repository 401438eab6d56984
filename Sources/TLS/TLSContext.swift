// What every session of a listener shares: its certificates by server name, its versions, ciphers
// and protocols, its ticket keys. It is immutable once made, so that all workers may use one, and a
// reload makes a new one. It refuses anything that Mozilla's intermediate profile refuses.

import COpenSSL

/// The server side's TLS configuration.
///
/// The profile is Mozilla's "intermediate" (Server Side TLS 5.7): TLS 1.2 with forward-secret AEAD
/// suites and TLS 1.3. The suites are all strong, so the client's order decides: a phone without
/// AES instructions knows that ChaCha20 is cheaper for it. The DHE suites of the profile are left
/// out: they need parameters, serve clients older than 2014, and let a client spend ten times the
/// server's CPU (CVE-2002-20001).
public final class TLSContext: @unchecked Sendable {
  // Unchecked because of the pointers. All stored properties are constants; an SSL_CTX that is no
  // longer configured may be used from any thread (openssl-threads(7)), and the others lie in
  // constant memory.

  /// One SSL_CTX per group of certificates that serve the same names; the first is the default.
  private let groups: [OpaquePointer]
  /// The same ones in the same order, whose sessions are told the secret of what they send.
  private let tellingGroups: [OpaquePointer]
  private let names: ServerNameTable
  /// This side's protocols in its order, in the format of SSL_select_next_proto(3).
  private let protocols: UnsafeBufferPointer<UInt8>
  /// What tickets are sealed with.
  let tickets: TicketKeys
  /// When sessions begin to seal their records themselves.
  let sealing: RecordSealing
  private let lengths = SessionLengths()

  /// TLS 1.2, in Mozilla's order.
  static let ciphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
  /// TLS 1.3, in Mozilla's order.
  static let cipherSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
  private static let curves = "X25519:P-256:P-384"

  /// Loads the certificates and prepares everything that sessions share. Reads files; not for the
  /// loop.
  ///
  /// A server name gets the certificates that name it exactly, else those whose wildcard covers it
  /// with one label, else the first certificate's. An RSA and an ECDSA certificate for one name are
  /// both served, each to the clients that can use it; of two with one algorithm the first listed
  /// wins.
  ///
  /// - Parameters:
  ///   - certificates: at least one; the first is the default.
  ///   - minimumVersion: the oldest version that is accepted.
  ///   - alpn: protocols by preference, 1 to 255 bytes each. A client that offers others only is
  ///     refused with no_application_protocol (RFC 7301, section 3.2); one that offers none is
  ///     taken to speak HTTP/1.1. Empty: ALPN is ignored.
  ///   - tickets: the process's ticket keys.
  /// - Throws: the first error that `check(_:now:)` finds, or why OpenSSL refused a setting.
  public convenience init(
    certificates: [CertificateSource], minimumVersion: TLSVersion = .tls12,
    alpn: [String] = ["http/1.1"], tickets: TicketKeys
  ) throws(TLSFailure) {
    try self.init(
      certificates: certificates, minimumVersion: minimumVersion, alpn: alpn, tickets: tickets,
      sealing: .whenLong)
  }

  /// The same, with a choice of when sessions seal their records without OpenSSL's record layer.
  package init(
    certificates: [CertificateSource], minimumVersion: TLSVersion, alpn: [String],
    tickets: TicketKeys, sealing: RecordSealing
  ) throws(TLSFailure) {
    guard OpenSSLLibrary.isReady else {
      throw TLSFailure(
        stage: .configuration, kind: .libraryFailure, code: OpenSSLLibrary.drainErrors())
    }
    let sealing = RecordSealing.isPossible ? sealing : .never
    guard !certificates.isEmpty else {
      throw TLSFailure(stage: .configuration, kind: .noCertificates)
    }
    var pairs: [CertificatePair] = []
    for source in certificates {
      pairs.append(try Self.load(source))
    }
    let wire = try Self.protocolList(alpn)
    let plan = CertificateGroups(pairs)
    var made: [OpaquePointer] = []
    do throws(TLSFailure) {
      for members in plan.groups + (sealing == .never ? [] : plan.groups) {
        let members = members.map { pairs[$0] }
        made.append(try Self.makeGroup(members, minimumVersion, lifetime: tickets.lifetimeSeconds))
      }
    } catch {
      for group in made { SSL_CTX_free(group) }
      throw error
    }
    let protocols = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, wire.count))
    _ = protocols.initialize(from: wire)
    self.protocols = UnsafeBufferPointer(rebasing: protocols[..<wire.count])
    groups = Array(made[..<plan.groups.count])
    tellingGroups = Array(made[plan.groups.count...])
    names = ServerNameTable(plan.groupsByName)
    self.tickets = tickets
    self.sealing = sealing
    attachCallbacks()
  }

  deinit {
    for group in groups + tellingGroups { SSL_CTX_free(group) }
    UnsafeMutablePointer(mutating: protocols.baseAddress)?.deallocate()
  }

  /// Everything that is wrong with one pair, errors and warnings, in the order in which they were
  /// found; empty if the pair can be served. Reads files; not for the loop.
  ///
  /// - Parameter now: seconds since 1970 against which validity is judged, nil for the current
  ///   time.
  public static func check(
    _ source: CertificateSource, now: Int64? = nil
  ) -> [CertificateProblem] {
    var problems: [CertificateProblem] = []
    _ = CertificatePair.load(source, now: now, problems: &problems)
    return problems
  }

  /// The SSL_CTX that a session starts with, before its client has named a server.
  /// - Parameter telling: whether the session is to be told its secret.
  func defaultGroup(telling: Bool) -> OpaquePointer { telling ? tellingGroups[0] : groups[0] }

  /// The SSL_CTX for a server name as a client wrote it, the default one if no certificate covers
  /// it.
  func group(for serverName: UnsafeRawBufferPointer, telling: Bool) -> OpaquePointer {
    let place = names.group(for: serverName) ?? 0
    return telling ? tellingGroups[place] : groups[place]
  }

  /// The protocol to speak with a client that offers `offer`, nil if there is none in common.
  func chooseProtocol(
    from offer: UnsafeBufferPointer<UInt8>
  ) -> (start: UnsafeMutablePointer<UInt8>?, count: UInt8)? {
    var start: UnsafeMutablePointer<UInt8>?
    var count: UInt8 = 0
    let result = SSL_select_next_proto(
      &start, &count, protocols.baseAddress, UInt32(protocols.count), offer.baseAddress,
      UInt32(offer.count))
    // On no overlap SSL_select_next_proto proposes the client's first, which it is not ours to
    // speak.
    return result == OPENSSL_NPN_NEGOTIATED ? (start, count) : nil
  }

  // MARK: Making

  static func load(_ source: CertificateSource) throws(TLSFailure) -> CertificatePair {
    var problems: [CertificateProblem] = []
    if let pair = CertificatePair.load(source, now: nil, problems: &problems) { return pair }
    guard let problem = problems.first(where: { $0.severity == .error }) else {
      throw TLSFailure(stage: .configuration, kind: .outOfMemory, path: source.certificatePath)
    }
    throw TLSFailure(
      stage: .configuration, kind: problem.kind, code: problem.code, path: problem.path)
  }

  /// Protocol names in wire format: each with its length before it (RFC 7301, section 3.1).
  static func protocolList(_ names: [String]) throws(TLSFailure) -> [UInt8] {
    var wire: [UInt8] = []
    for name in names {
      let bytes = Array(name.utf8)
      guard let count = UInt8(exactly: bytes.count), count > 0 else {
        throw TLSFailure(stage: .configuration, kind: .invalidALPN)
      }
      wire.append(count)
      wire += bytes
    }
    return wire
  }

  /// An SSL_CTX that serves `members`, complete but for the callbacks.
  private static func makeGroup(
    _ members: [CertificatePair], _ minimumVersion: TLSVersion, lifetime: Int
  ) throws(TLSFailure) -> OpaquePointer {
    ERR_clear_error()
    guard let group = SSL_CTX_new(TLS_server_method()) else {
      throw TLSFailure(
        stage: .configuration, kind: .outOfMemory, code: OpenSSLLibrary.drainErrors())
    }
    let isReady =
      configure(group, minimumVersion: minimumVersion)
      && SSL_CTX_set_cipher_list(group, ciphers) == 1
      && SSL_CTX_set_ciphersuites(group, cipherSuites) == 1
      && copenssl_SSL_CTX_set1_groups_list(group, curves) == 1
      && members.allSatisfy { $0.install(in: group) }
      && setSessionContext(of: group, to: members)
    guard isReady else {
      let code = OpenSSLLibrary.drainErrors()
      SSL_CTX_free(group)
      throw TLSFailure(stage: .configuration, kind: .configurationRefused, code: code)
    }
    SSL_CTX_set_timeout(group, lifetime)
    // One ticket, not OpenSSL's two. Every resumption is answered with a fresh one, so a client's
    // supply never shrinks; a second one costs 265,000 instructions (callgrind, both sides, of 7.1
    // million for a handshake) and 250 bytes, for the sake of clients that open a second connection
    // within their first round trip.
    SSL_CTX_set_num_tickets(group, 1)
    return group
  }

  /// The settings that do not depend on the certificates, for either side.
  static func configure(_ group: OpaquePointer, minimumVersion: TLSVersion) -> Bool {
    SSL_CTX_set_options(
      group, copenssl_SSL_OP_NO_RENEGOTIATION() | copenssl_SSL_OP_NO_COMPRESSION())
    // An `openssl.cnf` can turn these on. An EOF without close_notify must stay visible: it is how
    // a truncation attack looks. And the order of suites is the client's to choose.
    SSL_CTX_clear_options(
      group,
      copenssl_SSL_OP_IGNORE_UNEXPECTED_EOF() | copenssl_SSL_OP_CIPHER_SERVER_PREFERENCE())
    // RELEASE_BUFFERS takes 34 KiB off an idle connection (SSL_CTX_set_mode(3)). PARTIAL_WRITE and
    // MOVING_WRITE_BUFFER let the caller's memory change between calls. Read-ahead stays off: over
    // memory it saves no system call, and moving records within OpenSSL's buffer costs 2,000
    // instructions per record of 200 bytes (callgrind, batches of 50).
    _ = copenssl_SSL_CTX_set_mode(
      group,
      Int(SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE)
        | Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER))
    copenssl_SSL_CTX_set_read_ahead(group, 0)
    // Tickets carry all state, so that workers and contexts share nothing but the keys.
    _ = copenssl_SSL_CTX_set_session_cache_mode(group, Int(SSL_SESS_CACHE_OFF))
    return copenssl_SSL_CTX_set_min_proto_version(group, minimumVersion.wireNumber) == 1
  }

  /// Binds tickets to who we are: the digest of the names that the group serves. A renewed
  /// certificate keeps its tickets; a ticket from one site does not resume at another that shares
  /// our keys, where the client would take the answer for the first one's.
  private static func setSessionContext(
    of group: OpaquePointer, to members: [CertificatePair]
  ) -> Bool {
    var names = members.flatMap(\.names)
    names.sort { $0.lexicographicallyPrecedes($1) }
    var identity: [UInt8] = []
    var last: [UInt8] = []
    for name in names where name != last {
      identity += name
      identity.append(0)
      last = name
    }
    if identity.isEmpty, let first = members.first {
      // Without names the certificate is its own identity.
      var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
      var count: UInt32 = 0
      guard X509_digest(first.leaf, EVP_sha256(), &digest, &count) == 1 else { return false }
      identity = Array(digest[..<Int(count)])
    }
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var count: UInt32 = 0
    return EVP_Digest(identity, identity.count, &digest, &count, EVP_sha256(), nil) == 1
      && SSL_CTX_set_session_id_context(group, digest, count) == 1
  }

  /// Points OpenSSL's callbacks at this context, which every session of it keeps alive.
  private func attachCallbacks() {
    let this = Unmanaged.passUnretained(self).toOpaque()
    for group in groups + tellingGroups {
      SSL_CTX_set_ex_data(group, 0, this)
      SSL_CTX_set_client_hello_cb(group, ServerCallbacks.clientHello, this)
      _ = copenssl_SSL_CTX_set_tlsext_servername_callback(group, ServerCallbacks.serverName)
      SSL_CTX_set_tlsext_ticket_key_evp_cb(group, ServerCallbacks.ticketKey)
      SSL_CTX_set_info_callback(group, SessionNotes.record)
      if !protocols.isEmpty {
        SSL_CTX_set_alpn_select_cb(group, ServerCallbacks.chooseProtocol, this)
      }
    }
    for group in tellingGroups {
      SSL_CTX_set_msg_callback(group, SessionNotes.message)
      SSL_CTX_set_keylog_callback(group, SessionNotes.secret)
    }
  }

  /// Whether the next session is to be told its secret.
  func expectsLong() -> Bool {
    sealing != .never && (sealing.behind == 0 || lengths.expectsLong())
  }

  /// Notes a session, as `SessionLengths` does.
  func note(isLong: Bool) { lengths.note(isLong: isLong) }
}
