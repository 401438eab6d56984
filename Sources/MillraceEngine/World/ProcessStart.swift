// What a command does before anything else: its arguments, its standard descriptors, and what a crash
// will do. For the main function of a program; a library leaves the process as it finds it.

import CLinux
import Glibc

/// The first steps of a process.
public enum ProcessStart {
  /// The command line as main was given it, the program's name first.
  ///
  /// `CommandLine.arguments` reads /proc/self/cmdline, and is empty where /proc is not mounted.
  public static var commandLine: [String] {
    (0..<clinux_argument_count()).map { String(cString: clinux_argument($0)) }
  }

  /// Opens /dev/null on the descriptors 0, 1 and 2 where they are closed.
  ///
  /// Otherwise the next file that is opened takes the number, and what is written to standard error
  /// goes into it. To be called before anything is opened.
  public static func openStandardStreams() { clinux_open_standard() }

  /// Has a crash end the process within seconds, with a trace on standard error: the signal, the thread
  /// and its frames, then the trace of Swift's runtime where that finds its backtracer.
  ///
  /// The runtime's handler alone returns from a signal that another process sent, and serving goes on.
  public static func endOnCrash() { clinux_on_crash() }
}
