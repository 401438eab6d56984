// swift-tools-version: 6.2
import PackageDescription

/// The settings of every Swift target: one list, so that no room has its own dialect.
let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
  name: "millrace",
  products: [
    .executable(name: "millrace", targets: ["millrace"]),
    .library(name: "MillraceEngine", targets: ["MillraceEngine"]),
    .library(name: "MillraceAsync", targets: ["MillraceAsync"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    .target(name: "CLinux"),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(
      name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
    .target(name: "MillraceEngine", dependencies: ["CLinux"], swiftSettings: settings),
    .target(name: "MillraceAsync", dependencies: ["MillraceEngine"], swiftSettings: settings),
    .target(name: "TLS", dependencies: ["COpenSSL"], swiftSettings: settings),
    .target(
      name: "Transport", dependencies: ["MillraceEngine", "TLS"], swiftSettings: settings),
    .target(name: "Metrics", dependencies: ["CLinux"], swiftSettings: settings),
    .target(name: "HTTP", swiftSettings: settings),
    .target(name: "Exchange", swiftSettings: settings),
    .target(name: "HTTP1", dependencies: ["HTTP"], swiftSettings: settings),
    .target(name: "HTTP2", dependencies: ["HTTP", "CNghttp2"], swiftSettings: settings),
    .target(name: "Text", swiftSettings: settings),
    .target(name: "Variables", dependencies: ["Text"], swiftSettings: settings),
    .target(
      name: "AuditLog", dependencies: ["MillraceEngine", "COpenSSL", "Text"],
      swiftSettings: settings),
    .target(
      name: "Configuration", dependencies: ["CYAML", "Variables"], swiftSettings: settings),
    .target(
      name: "Admin", dependencies: ["MillraceEngine", "HTTP", "HTTP1"], swiftSettings: settings),
    .target(
      name: "Proxy",
      dependencies: [
        "Admin",
        "MillraceEngine", "TLS", "Transport", "HTTP", "HTTP1", "HTTP2", "Exchange", "AuditLog",
        "Configuration", "Metrics", "Text", "Variables",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .target(
      name: "Lab",
      dependencies: [
        "MillraceEngine", "TLS", "Transport", "HTTP", "HTTP1", "HTTP2", "AuditLog",
        "Configuration", "Metrics",
        "CLinux",
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "millrace",
      dependencies: [
        "Lab", "Proxy", "Admin", "AuditLog", "Configuration", "MillraceEngine", "TLS",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "simulate",
      dependencies: [
        "Proxy", "AuditLog", "Configuration", "MillraceEngine", "TLS", "COpenSSL",
        .product(name: "Logging", package: "swift-log"),
      ],
      path: "Tests/Simulation", swiftSettings: settings),
    .executableTarget(
      name: "steady-state", dependencies: ["MillraceEngine"], path: "Tests/SteadyState/Driver",
      swiftSettings: settings),
    .target(
      name: "TeardownMix", dependencies: ["MillraceEngine"], path: "Tests/Teardown/Mix",
      swiftSettings: settings),
    .executableTarget(
      name: "teardown", dependencies: ["TeardownMix", "MillraceEngine"],
      path: "Tests/Teardown/Driver", swiftSettings: settings),
    .target(name: "CNumbers", path: "Tests/Numbers"),
    .testTarget(
      name: "MillraceEngineTests",
      dependencies: ["MillraceEngine", "CLinux", "CNumbers", "TeardownMix"],
      path: "Tests/Contract", swiftSettings: settings),
    .testTarget(
      name: "MillraceAsyncTests", dependencies: ["MillraceAsync", "MillraceEngine"],
      swiftSettings: settings),
    .testTarget(name: "TLSTests", dependencies: ["TLS", "COpenSSL"], swiftSettings: settings),
    .testTarget(
      name: "TransportTests", dependencies: ["Transport", "MillraceEngine", "TLS"],
      swiftSettings: settings),
    .testTarget(
      name: "MetricsTests", dependencies: ["Metrics", "CLinux"], swiftSettings: settings),
    .testTarget(name: "ExchangeTests", dependencies: ["Exchange"], swiftSettings: settings),
    .testTarget(name: "HTTPTests", dependencies: ["HTTP"], swiftSettings: settings),
    .testTarget(name: "HTTP1Tests", dependencies: ["HTTP", "HTTP1"], swiftSettings: settings),
    .testTarget(
      name: "HTTP2Tests", dependencies: ["HTTP", "HTTP1", "HTTP2", "CNghttp2"],
      swiftSettings: settings),
    .testTarget(
      name: "AdminTests", dependencies: ["Admin", "MillraceEngine"], swiftSettings: settings),
    .testTarget(
      name: "LabTests",
      dependencies: [
        "Lab", "MillraceEngine", "TLS", "Transport", "HTTP", "HTTP1", "HTTP2", "Configuration",
        "Metrics",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "AuditLogTests", dependencies: ["AuditLog", "MillraceEngine", "Text"],
      swiftSettings: settings),
    .testTarget(
      name: "VariablesTests", dependencies: ["Variables", "Text"], swiftSettings: settings),
    .testTarget(
      name: "ConfigurationTests", dependencies: ["Configuration", "Variables"],
      swiftSettings: settings),
    .testTarget(
      name: "ProxyTests",
      dependencies: [
        "Proxy", "Admin", "Transport", "TLS", "Exchange", "AuditLog", "Configuration",
        "MillraceEngine", "Metrics", "HTTP", "HTTP2", "Text", "Variables",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
