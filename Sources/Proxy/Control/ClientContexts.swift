// TLS towards servers: its files are looked at with everything else that can be wrong.

import Configuration
import MillraceEngine
import TLS

enum ClientContexts {
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
  var trust: TLSClientContext.Trust {
    guard verify else { return .anyone }
    return caPath.map { .file($0) } ?? .system
  }

  /// What makes two of them the same context: neither the places in the file nor the name, which is each
  /// session's.
  var withoutPlaces: UpstreamTLS {
    UpstreamTLS(
      verify: verify, caPath: verify ? caPath : nil,
      certificate: certificate.map {
        CertificateConfiguration(certificatePath: $0.certificatePath, keyPath: $0.keyPath)
      },
      minimumVersion: minimumVersion, alpn: alpn)
  }
}
