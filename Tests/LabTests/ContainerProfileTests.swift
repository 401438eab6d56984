// What a person says of a target is taken at its word or refused, and never passed over.

import MillraceEngine
import Testing

@testable import Lab

@Suite struct ContainerProfileTests {
  private func read(_ text: String) throws(TargetFacts.ProfileError) -> TargetFacts {
    try TargetFacts(profile: text)
  }

  @Test func theExampleIsRead() throws {
    let facts = try read(TargetFacts.profileExample)
    #expect(facts.name == "production")
    #expect(facts.features == ["io_uring": "refused: RuntimeDefault seccomp"])
  }

  @Test(arguments: ["on", "off", "off: by policy", "refused", "refused: EPERM (seccomp)"])
  func eachStateIsReadAsItIsWritten(_ state: String) throws {
    let facts = try read(#"{"features": {"io_uring": "\#(state)", "sqpoll": "\#(state)"}}"#)
    #expect(facts.name == "" && facts.features == ["io_uring": state, "sqpoll": state])
    #expect(facts.allowsUring == (state == "on"))
    #expect((facts.refusal(of: ToldComparison.variant("io_uring")) == nil) == (state == "on"))
  }

  /// The lines of `millrace doctor`: set-up flags, features of both engines, and steps.
  @Test func whatTheDoctorSaysIsRead() throws {
    let names =
      ["submit_all", "single_issuer"] + EngineFeatures.all.map { $0.name }
      + ["wake", "connect", "file_rename"]
    for state in ["on", "off: available; off by default", "refused: EPERM"] {
      let lines = names.map { "\"\($0)\": \"\(state)\"" }.joined(separator: ", ")
      let facts = try read("{\"name\": \"here\", \"features\": {\(lines)}}")
      #expect(facts.features.count == names.count)
    }
  }

  @Test(arguments: [
    // Docker's own profile, and a target without the level of features.
    (#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}"#, "defaultAction is not a known key"),
    (#"{"io_uring": "refused"}"#, "io_uring is not a known key"),
    (#"{}"#, "features is missing"), (#"{"name": "x"}"#, "features is missing"),
    (#"{"features": {}}"#, "features is empty"),
    (#"{"features": ["io_uring"]}"#, "features is another value, expected an object"),
    (#"{"features": null}"#, "features is"), (#"{"features": "off"}"#, "features is a text"),
    (#"{"name": 7, "features": {"io_uring": "on"}}"#, "name is another value"),
    (#"{"Features": {"io_uring": "on"}}"#, "Features is not a known key"),
    (#"{"features": {"iouring": "off"}}"#, "features.iouring is not a known feature (io_uring,"),
    (#"{"features": {"io_uring": "blocked"}}"#, #"features.io_uring is "blocked", expected on"#),
    (#"{"features": {"io_uring": "denied"}}"#, "features.io_uring is"),
    (#"{"features": {"io_uring": "disabled"}}"#, "features.io_uring is"),
    (#"{"features": {"io_uring": "official"}}"#, "features.io_uring is"),
    (#"{"features": {"io_uring": ""}}"#, "features.io_uring is"),
    (
      #"{"features": {"io_uring": false}}"#, "features.io_uring is another value, expected a string"
    ),
    ("[]", "expected an object"), ("{", "not valid JSON"), ("", "not valid JSON"),
  ])
  func whatWouldBePassedOverIsRefused(_ text: String, _ words: String) {
    do {
      _ = try read(text)
      Issue.record("\(text) was read")
    } catch {
      #expect(error.description.contains(words), "\(error)")
    }
  }
}
