// The switches of the configuration and those of the engines are the same ones.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

@Suite struct EngineSettingsTests {
  @Test func theConfigurationKnowsEachFeatureAndItsDefault() {
    #expect(EngineSettings.switches.map(\.name) == EngineFeatures.all.map(\.name))
    for (name, isStandard) in EngineSettings.switches {
      let feature = EngineFeatures(name: name)!
      #expect(EngineFeatures.standard.contains(feature) == isStandard, "\(name)")
    }
  }

  @Test func whatIsWrittenIsSwitchedAndTheRestIsLeft() {
    var settings = EngineSettings()
    settings.features = ["sqpoll": true, "quiet_sends": false]
    settings.submissionThreadIdle = 7
    let options = EngineOptions(settings)
    #expect(
      options.features
        == EngineFeatures.standard.union(.submissionThread).subtracting(.quietSends))
    #expect(options.submissionThreadIdle == 7)
    #expect(options.batchCompletions == EngineOptions().batchCompletions)
  }
}
