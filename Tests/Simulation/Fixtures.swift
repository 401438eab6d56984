// What all runs of a process share: certificates, TLS contexts, and whether somebody reads along.
// The key is made from a fixed seed, so that a replay in another process sees the same signatures.

import COpenSSL
import Configuration
import Glibc
import MillraceEngine
import TLS

final class Fixtures {
  var isVerbose: Bool
  /// The run that is being lived; for whoever has to tell of it when the process ends.
  weak var current: ProxyRun?
  /// Told of a run that cannot be ended. Does not return.
  var onStuck: (ProxyRun) -> Never = { _ in exit(1) }
  let clientContext: TLSClientContext
  /// The proxy's, towards its servers.
  let upstreamContext: TLSClientContext
  /// The same for HTTP/2.
  let streamClientContext: TLSClientContext
  let streamUpstreamContext: TLSClientContext
  private let tls12: TLSContext
  private let tls13: TLSContext
  /// With HTTP/2, by ALPN.
  private let streamTLS12: TLSContext
  private let streamTLS13: TLSContext

  init(isVerbose: Bool) throws {
    self.isVerbose = isVerbose
    let dice = Dice(SimulatedDice(seed: 0x6D69_6C6C))
    SimulatedRandomness.install { dice.fill($0) }
    let source = try Self.makeCertificate()
    defer {
      unlink(source.certificatePath)
      unlink(source.keyPath)
      rmdir(Self.folder)
    }
    let tickets = TicketKeys(randomBytes: { dice.fill($0) }, now: 0)
    // Records of TLS 1.3 are OpenSSL's with the ones and the sessions' own with the others, whatever other runs
    // have sent.
    func context(
      _ version: TLSVersion, _ protocols: [String], _ sealing: RecordSealing
    ) throws -> TLSContext {
      try TLSContext(
        certificates: [source], minimumVersion: version, alpn: protocols, tickets: tickets,
        sealing: sealing)
    }
    tls12 = try context(.tls12, ["http/1.1"], .never)
    tls13 = try context(.tls13, ["http/1.1"], .always)
    streamTLS12 = try context(.tls12, ["h2", "http/1.1"], .never)
    streamTLS13 = try context(.tls13, ["h2", "http/1.1"], .always)
    streamClientContext = try TLSClientContext(trust: .anyone, alpn: ["h2"])
    streamUpstreamContext = try TLSClientContext(trust: .anyone, alpn: ["h2"], keepsTickets: true)
    clientContext = try TLSClientContext(trust: .anyone)
    upstreamContext = try TLSClientContext(trust: .anyone, keepsTickets: true)
  }

  private final class Dice: @unchecked Sendable {
    // Sendable: a simulation has one thread.
    private var dice: SimulatedDice
    init(_ dice: SimulatedDice) { self.dice = dice }
    func fill(_ room: UnsafeMutableRawBufferPointer) { dice.fill(room) }
  }

  /// - Parameter withHTTP2: by context: it takes HTTP/2 where the other end offers it.
  func contexts(_ versions: [ListenerTLS.Version?], _ withHTTP2: [Bool]) -> [TLSContext?] {
    zip(versions, withHTTP2).map {
      switch $0 {
      case (nil, _): nil
      case (.tls12?, let streams): streams ? streamTLS12 : tls12
      case (.tls13?, let streams): streams ? streamTLS13 : tls13
      }
    }
  }

  func giveUp(_ proxyRun: ProxyRun) -> Never { onStuck(proxyRun) }

  /// A numeric address; nothing is looked up.
  func address(_ address: EndpointAddress) -> SocketAddress {
    switch address {
    case .unix(let path): return SocketAddress(unixPath: path)!
    case .ip(let host, let port):
      guard let found = try? SocketAddress.resolve(host: host, port: port).first else {
        preconditionFailure("no address: \(address)")
      }
      return found
    }
  }

  private struct CertificateFailure: Error {}

  private static var folder: String { "/tmp/millrace-simulate-\(getpid())" }

  /// An ECDSA certificate for `sim.example`, in files that TLSContext reads.
  private static func makeCertificate() throws -> CertificateSource {
    guard mkdir(folder, 0o700) == 0 || errno == EEXIST else { throw CertificateFailure() }
    let source = CertificateSource(
      certificatePath: folder + "/sim.pem", keyPath: folder + "/sim.key")
    var key: OpaquePointer?
    guard let maker = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil), EVP_PKEY_keygen_init(maker) == 1,
      EVP_PKEY_CTX_set_group_name(maker, "P-256") == 1, EVP_PKEY_keygen(maker, &key) == 1,
      let certificate = X509_new()
    else { throw CertificateFailure() }
    defer {
      EVP_PKEY_CTX_free(maker)
      EVP_PKEY_free(key)
      X509_free(certificate)
    }
    X509_set_version(certificate, 2)
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1)
    ASN1_TIME_set_string(X509_getm_notBefore(certificate), "20200101000000Z")
    ASN1_TIME_set_string(X509_getm_notAfter(certificate), "20991231235959Z")
    let name = X509_get_subject_name(certificate)
    X509_NAME_add_entry_by_txt(name, "CN", 0x1001, "sim.example", -1, -1, 0)
    X509_set_issuer_name(certificate, name)
    X509_set_pubkey(certificate, key)
    guard X509_sign(certificate, key, EVP_sha256()) > 0,
      let keyFile = BIO_new_file(source.keyPath, "w"),
      let certificateFile = BIO_new_file(source.certificatePath, "w")
    else { throw CertificateFailure() }
    PEM_write_bio_PrivateKey(keyFile, key, nil, nil, 0, nil, nil)
    PEM_write_bio_X509(certificateFile, certificate)
    BIO_free(keyFile)
    BIO_free(certificateFile)
    return source
  }
}
