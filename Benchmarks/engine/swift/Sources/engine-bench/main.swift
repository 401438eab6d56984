// The subjects that are built on MillraceEngine, one for each argument. Servers print their port
// and serve until they are killed; the others print what they did and the CPU time that it took.

import Glibc
import MillraceEngine

/// `engine-bench ENGINE SUBJECT [WORDS] [FLAGS]`; Settings.swift has the flags.
@MainActor
func run() throws {
  let words = CommandLine.arguments.filter { !$0.hasPrefix("--") }
  guard words.count >= 3 else { throw Usage() }
  let rest = Array(words[3...])
  switch words[1] {
  case "io_uring": try perform(Uring.self, words[2], rest)
  case "epoll": try perform(Epoll.self, words[2], rest)
  default: throw Usage()
  }
}

func perform<E: Engine & ~Copyable>(_: E.Type, _ subject: String, _ words: [String]) throws {
  switch subject {
  case "nop": try measureNop(E.self, words)
  case "echo": try serveEcho(E.self, words)
  case "files": try readFile(E.self, words)
  case "copy": try copyFile(E.self, words)
  case "churn": try serveChurn(E.self, words)
  case "steps": try measureSteps(E.self, words)
  case "source": try serveSource(E.self, words)
  case "post": try measurePost(E.self, words)
  case "relay": try serveRelay(E.self, words)
  case "tunnel": try serveTunnel(E.self, words)
  case "start": try measureStart(E.self, words)
  case "workers": try measureWorkers(E.self, words)
  case "sleep": try measureSleep(E.self, words)
  default: throw Usage()
  }
}

struct Usage: Error {}

do {
  try run()
} catch {
  let text = "engine-bench: \(error)\n"
  _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
  exit(1)
}
