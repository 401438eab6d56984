// TLS towards servers: its files are looked at with everything else that can be wrong, and read before
// the first worker starts.

import Configuration
import MillraceEngine
import TLS

/// What upstreams with equal settings have in common.
enum ClientContexts {
  /// The context of each upstream; nil: plain. Equal settings share one, since each holds all
  /// CAs that are trusted.
  static func make(_ configuration: ProxyConfiguration) throws(TLSFailure) -> [TLSClientContext?] {
    var made: [(settings: UpstreamTLS, context: TLSClientContext)] = []
    var contexts: [TLSClientContext?] = []
    for upstream in configuration.upstreams {
      guard let tls = upstream.tls?.withoutPlaces else {
        contexts.append(nil)
        continue
      }
      if let known = made.first(where: { $0.settings == tls }) {
        contexts.append(known.context)
        continue
      }
      let context = try TLSClientContext(
        trust: tls.trust, certificate: tls.certificate.map { CertificateSource($0) },
        minimumVersion: tls.minimumVersion == .tls13 ? .tls13 : .tls12, alpn: tls.alpn,
        keepsTickets: true)
      made.append((tls, context))
      contexts.append(context)
    }
    return contexts
  }

  /// Everything that is wrong with the files that an upstream's TLS names.
  static func check(_ upstream: UpstreamConfiguration, _ problems: inout [Problem]) {
    guard let tls = upstream.tls else { return }
    var findings: [(CertificateProblem, SourceLocation)] = []
    switch tls.trust {
    case .file(let path):
      findings = TLSClientContext.checkAuthorities(path).map { ($0, tls.caLocation) }
    case .system:
      if let finding = TLSClientContext.checkSystemAuthorities() {
        problems.append(
          Problem(
            location: tls.caLocation, message: "is not set, and \(finding.what)",
            hint: finding.hint, severity: .error))
      }
    case .anyone: break
    }
    if let pair = tls.certificate {
      let now = SystemClock.wallMicroseconds() / 1_000_000
      findings += TLSContext.check(CertificateSource(pair), now: now).map {
        ($0, $0.file == .key ? pair.keyLocation : pair.certificateLocation)
      }
    }
    for (finding, location) in findings {
      problems.append(Problem(finding, at: location))
    }
  }
}

extension Problem {
  /// What is wrong with a file, at the key that names it.
  init(_ finding: CertificateProblem, at location: SourceLocation) {
    self.init(
      location: location, message: "\(finding.path): \(finding.what)", hint: finding.hint,
      severity: finding.severity == .error ? .error : .warning)
  }
}

extension CertificateSource {
  init(_ pair: CertificateConfiguration) {
    self.init(certificatePath: pair.certificatePath, keyPath: pair.keyPath)
  }
}

extension UpstreamTLS {
  fileprivate var trust: TLSClientContext.Trust {
    guard verify else { return .anyone }
    return caPath.map { .file($0) } ?? .system
  }

  /// What makes two of them the same context: neither the places in the file nor the name, which is each
  /// session's.
  fileprivate var withoutPlaces: UpstreamTLS {
    UpstreamTLS(
      verify: verify, caPath: verify ? caPath : nil,
      certificate: certificate.map {
        CertificateConfiguration(certificatePath: $0.certificatePath, keyPath: $0.keyPath)
      },
      minimumVersion: minimumVersion, alpn: alpn)
  }
}
