// swift-tools-version: 6.2
// A package of its own, so that SwiftNIO, which one example runs beside, is no dependency of
// Millrace. Build with `swift build --package-path Examples`.
import PackageDescription

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let engine: Target.Dependency = .product(name: "MillraceEngine", package: "millrace")

/// An executable of one file; every example has its options and signals from `Support`.
func example(_ name: String, _ more: [Target.Dependency] = []) -> Target {
  .executableTarget(name: name, dependencies: [engine, "Support"] + more, swiftSettings: settings)
}

let package = Package(
  name: "millrace-examples",
  dependencies: [
    .package(name: "millrace", path: ".."),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
  ],
  targets: [
    .target(name: "Support", dependencies: [engine], swiftSettings: settings),
    example("tcp-echo"),
    example("udp-echo"),
    example("file-copy"),
    example("static-server"),
    example(
      "foreign-loop",
      [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ]),
    // The steps of the tutorial in the documentation; their files are links to it.
    example("tutorial-1"),
    example("tutorial-2"),
    example("tutorial-3"),
    example("tutorial-4"),
    example("async-echo", [.product(name: "MillraceAsync", package: "millrace")]),
  ],
  swiftLanguageModes: [.v6]
)
