// swift-tools-version: 6.0
import PackageDescription

let package = Package(
  name: "nio-echo",
  dependencies: [
    // Exactly: a comparison names what it was with.
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2")
  ],
  targets: [
    .executableTarget(
      name: "nio-echo",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
