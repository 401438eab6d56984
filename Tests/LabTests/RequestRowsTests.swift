// How many rows a result has when a log holds more different requests than anybody can read, and that
// the rows still add up to the whole.

import MillraceEngine
import Testing

@testable import Lab

@Suite("Rows of requests")
struct RequestRowsTests {
  /// A log of so many different requests, each asked for once; the last one four times, the middle one
  /// twice.
  private func plan(_ count: Int) -> LoadPlan {
    var schedule = LoadSchedule(sendTimes: [], templates: [])
    let templates = Array(0..<count) + [count - 1, count - 1, count / 2, count - 1]
    for (i, template) in templates.enumerated() {
      schedule.sendTimes.append(Int64(i) * 1_000_000)
      schedule.templates.append(UInt32(template))
    }
    var plan = LoadWorld.plan(.replay(schedule), connections: 8)
    plan.durationNanoseconds = schedule.wholeNanoseconds
    plan.requests = (0..<count).map {
      var template = RequestTemplate(name: "GET /\($0)")
      template.target = "/\($0)"
      return template
    }
    return plan
  }

  private func run(_ count: Int) throws -> LoadResult {
    let outcome = try LoadWorld.run(plan(count)) { service, request in
      // One request fails: it has to show in its row, or in that of the others.
      service.respond(status: request.hasPrefix("GET /1 ") ? 500 : 200)
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.planned == count + 4)
    let rows = outcome.result.requests
    #expect(rows.reduce(0) { $0 + $1.completed } == count + 3)
    #expect(rows.reduce(0) { $0 + $1.failed } == 1)
    #expect(rows.allSatisfy { $0.latency.count == $0.completed })
    return outcome.result
  }

  @Test("up to the limit each has its own, in the plan's order", arguments: [5, 99, 100])
  func upToTheLimit(count: Int) throws {
    let result = try run(count)
    #expect(result.requests.map(\.name) == (0..<count).map { "GET /\($0)" })
    #expect(result.requests.allSatisfy { $0.together == 0 })
    #expect(result.requests[count - 1].completed == 4)
    #expect(!LoadText.render(result).contains("counted together"))
  }

  @Test("beyond it the busiest have theirs, and the others one", arguments: [101, 102, 1500])
  func beyondTheLimit(count: Int) throws {
    let result = try run(count)
    #expect(result.requests.count == 100)
    #expect(
      result.requests.prefix(3).map(\.name) == ["GET /\(count - 1)", "GET /\(count / 2)", "GET /0"])
    #expect(result.requests.prefix(3).map(\.completed) == [4, 2, 1])
    let others = result.requests[99]
    #expect(others.name == "\(count - 99) others" && others.together == count - 99)
    #expect(others.completed + others.failed == count - 99)
    let text = LoadText.render(result)
    #expect(text.contains("Of \(Figures.grouped(count)) distinct requests"))
    #expect(text.contains("counted together"))
    // What is written is bounded likewise, and says it too.
    let again = try #require(LoadResult(json: result.json()))
    #expect(again.requests.map(\.together) == result.requests.map(\.together))
  }

  @Test("a mix goes by its weights")
  func mix() {
    var plan = LoadWorld.plan()
    plan.requests = (0..<150).map {
      var template = RequestTemplate(name: "\($0)")
      template.weight = $0 == 140 ? 5 : $0 == 7 ? 9 : 1
      return template
    }
    let rows = RequestRows(plan)
    #expect(rows.own.prefix(3) == [7, 140, 0])
    #expect(rows.count == 100 && rows.others == 51)
    #expect(rows.rows[7] == 0 && rows.rows[140] == 1 && rows.rows[149] == 99)
  }

  @Test("a hundred thousand different requests take no more histograms than a hundred")
  func many() {
    let rows = RequestRows(plan(100_000))
    #expect(rows.count == 100 && rows.others == 99_901)
    #expect(RequestRows(plan(1)).count == 0)
  }
}
