// What the command line changes of an engine's options, and what became of it: a feature that the
// kernel refuses must not be measured as if it were on.
//
//   --features=-NAME,+NAME   features taken away and added
//   --set=NAME=VALUE,…       numbers of `EngineOptions`, by the names below
//   --host=ADDRESS           where a server listens

import Glibc
import MillraceEngine

/// The value of `--name=value`, or nil.
func flag(_ name: String) -> String? {
  let head = "--\(name)="
  guard let word = CommandLine.arguments.first(where: { $0.hasPrefix(head) }) else { return nil }
  return String(word.dropFirst(head.count))
}

/// The default options as the command line changes them; a subject sets what it needs on top.
func options() -> EngineOptions {
  var options = EngineOptions()
  for word in (flag("features") ?? "").split(separator: ",") {
    guard let feature = EngineFeatures(name: String(word.dropFirst())) else {
      fatalError("no such feature: \(word)")
    }
    if word.first == "-" {
      options.features.remove(feature)
    } else {
      options.features.insert(feature)
    }
  }
  for word in (flag("set") ?? "").split(separator: ",") {
    let parts = word.split(separator: "=")
    guard parts.count == 2, let value = Int(parts[1]) else { fatalError("no setting: \(word)") }
    set(String(parts[0]), value, &options)
  }
  return options
}

private func set(_ name: String, _ value: Int, _ options: inout EngineOptions) {
  switch name {
  case "batch_completions": options.batchCompletions = value
  case "batch_microseconds": options.batchMicroseconds = value
  case "submission_thread_cpu": options.submissionThreadCPU = value
  case "submission_thread_idle": options.submissionThreadIdle = value
  case "small_buffer_size": options.smallBufferSize = value
  case "small_buffers": options.smallBuffers = value
  case "file_threads": options.fileThreads = value
  default: fatalError("no such setting: \(name)")
  }
}

/// An engine of these options. With `--features` it says on the standard error stream what every
/// feature that concerns it has become.
func make<E: Engine & ~Copyable>(_: E.Type, _ options: EngineOptions) throws -> E {
  let engine = try E(options)
  if flag("features") != nil {
    for feature in engine.features {
      let line = "feature \(feature.name) \(feature.state.rawValue) \(feature.cause)\n"
      _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
    }
  }
  return engine
}
