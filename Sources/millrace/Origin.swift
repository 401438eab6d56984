// `millrace origin`: from arguments to a plan, a server that says where it listens, and its end by a
// signal.

import ArgumentParser
import Configuration
import Glibc
import Lab
import MillraceEngine
import TLS

struct Origin: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serves test responses with given sizes, delays, stalls and faults.",
    discussion: """
      128 bytes on 127.0.0.1:3000:   millrace origin
      On another port:               millrace origin --port 8080
      Sizes as in practice:          millrace origin --size 'lognormal(4KiB,1.5)'
      Faults:                        millrace origin --fault reset=0.1% --fault 503=0.1%
      Stalls:                        millrace origin --stall '200ms every 1s'

      A path overrides the flags, with one or more of /bytes/64KiB, /delay/20ms, /status/503, \
      /rate/16KiB, /chunked, /echo and /fault/NAME: /bytes/1MiB/delay/5ms. Faults are \
      \(OriginFault.list). See docs/lab.md.

      Every address serves HTTP/1.1 and HTTP/2 (by ALPN over TLS, else by its preface). Prints \
      `listening ADDRESS` for each address once it is ready. SIGTERM or SIGINT stops it gracefully, a \
      second one immediately; SIGUSR1 writes each thread's counters to standard error.

      Exit status: 0 stopped by a signal, 1 start failed, 2 invalid flag, certificate or key, \
      64 invalid command-line arguments.
      """,
    version: Version.text)

  @OptionGroup(title: "Addresses") var place: OriginPlaceOptions
  @OptionGroup(title: "Responses") var answer: OriginAnswerOptions

  mutating func run() throws {
    var problems: [Problem] = []
    var plan = OriginPlan()
    place.apply(to: &plan, &problems)
    answer.apply(to: &plan, &problems)
    if Reporting.hasErrors(problems) { throw Reporting.fail(problems) }
    place.checkCertificate(&problems)
    if Reporting.hasErrors(problems) { throw Reporting.fail(problems) }
    Reporting.write(problems)
    // Before any thread exists, so that all have them blocked.
    let signals = SignalWaiter(blocking: [SIGTERM, SIGINT, SIGUSR1])
    do throws(OriginFailure) {
      let origin = try Lab.Origin(plan)
      let addresses = try origin.start()
      if let note = origin.engineNote { Reporting.print("millrace origin: \(note)") }
      announce(addresses, plan)
      wait(signals, origin)
    } catch {
      Reporting.print("millrace origin: \(error)")
      // Threads that did start may be at work: nothing of theirs is torn down.
      _exit(1)
    }
  }

  private func announce(_ addresses: [SocketAddress], _ plan: OriginPlan) {
    var text = ""
    for (address, listener) in zip(addresses, plan.listeners) {
      text += "listening \(address)\(listener.usesTLS ? " tls" : "")\n"
    }
    OutputFile.standard(text)
  }

  private func wait(_ signals: SignalWaiter, _ origin: Lab.Origin) -> Never {
    while true {
      switch signals.wait(nanoseconds: 3_600_000_000_000) {
      case SIGUSR1?: origin.report()
      case SIGTERM?, SIGINT?:
        // Whoever asks twice does not want to wait for answers under way.
        _ = try? WorkerThread.start(name: "signals", cpu: nil) {
          while true {
            let signal = signals.wait(nanoseconds: 3_600_000_000_000)
            if signal == SIGTERM || signal == SIGINT { _exit(0) }
          }
        }
        origin.stop()
        _exit(0)
      default: continue
      }
    }
  }
}
