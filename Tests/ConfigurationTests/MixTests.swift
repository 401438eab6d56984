// Mix files: requests with weights.

import Configuration
import Testing

@Suite struct MixTests {
  private func load(_ text: String) -> RequestMix.Loaded {
    RequestMix.load(bytes: Array(text.utf8), file: "mix.yaml") { _ in nil }
  }

  @Test func everyKeyIsRead() throws {
    let loaded = load(
      """
      requests:
        - {target: /, weight: 9}
        - name: upload
          method: POST
          target: https://other.example/in?x=1
          weight: 0
          fields: [{name: Accept, value: text/html}]
          content_size: 64KiB
          expect: {status: 201, length: 2, content_file: answer.txt}
        - {target: /c, content: "a=1"}
      """)
    #expect(loaded.problems.isEmpty)
    let requests = try #require(loaded.mix?.requests)
    #expect(
      requests.map(\.weight) == [9, 0, 1] && requests.map(\.method) == ["GET", "POST", "GET"])
    #expect(requests[1].name == "upload" && requests[1].content == .size(65_536))
    #expect(requests[1].fields == [RequestMix.Field(name: "Accept", value: "text/html")])
    #expect(requests[1].expectedStatus == 201 && requests[1].expectedLength == 2)
    #expect(requests[1].expectedContentFile == "answer.txt")
    #expect(requests[2].content == .text("a=1"))
  }

  @Test(arguments: [
    ("", "is empty"), ("requests: []", "is empty"), ("requests: [{weight: 1}]", "is missing"),
    ("requests: [{target: /, wieght: 2}]", "is not a key of a request"),
    ("requests: [{target: /, weight: -1}]", "weight"),
    ("requests: [{target: /, content: a, content_size: 1}]", "has one content"),
    ("requests: [{target: /, weight: 0}]", "no request with a weight"),
    ("requests: [{target: /, expect: {status: 99}}]", "status"),
    ("- a", "mapping"),
  ])
  func whatIsWrongIsSaidWithItsPlace(_ text: String, _ words: String) {
    let loaded = load(text)
    #expect(loaded.mix == nil)
    let said = loaded.problems.map(\.description).joined(separator: "\n")
    #expect(said.contains(words) && said.contains("mix.yaml:"), "\(said)")
  }
}
