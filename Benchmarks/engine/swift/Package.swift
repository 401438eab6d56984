// swift-tools-version: 6.2
import PackageDescription

// A package of its own, as anybody's would be: it sees of the engine what is public, and pays for
// the module boundary what they pay.
let package = Package(
  name: "engine-bench",
  dependencies: [.package(name: "millrace", path: "../../..")],
  targets: [
    .executableTarget(
      name: "engine-bench",
      dependencies: [.product(name: "MillraceEngine", package: "millrace")])
  ],
  swiftLanguageModes: [.v6]
)
