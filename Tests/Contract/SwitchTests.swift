// That the features which this run of the suite was told to switch are switched: without this, a
// run "with sqpoll" proves nothing where the engine has quietly gone on without it.

import MillraceEngine
import Testing

extension Contract {
  @Suite struct Switches {
    @Test(arguments: kernelEngines) func whatThisRunSwitchesIsSwitched(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        for change in Harness.changes {
          guard let line = harness.engine.features.first(where: { $0.name == change.name }) else {
            // A feature of the other engine.
            continue
          }
          if change.isOn && line.state == .refused {
            TestCount.noteRefused(change.name)
          } else {
            #expect(line.state == (change.isOn ? .on : .off), "\(change.name): \(line)")
          }
        }
      }
    }

    /// A name that belongs to none of the engines that run would change nothing.
    @Test func whatThisRunSwitchesConcernsAnEngineThatRuns() {
      for change in Harness.changes {
        #expect(
          EngineFeatures.all.contains {
            $0.name == change.name && ($0.engine.map(Contract.engines.contains) ?? true)
          }, "\(change.name)")
      }
    }
  }
}
