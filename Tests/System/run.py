#!/usr/bin/env python3
"""Runs the system tests and tells what happened, one line per test and one line at the end.

The last line, `system tests: ran=… passed=… failed=… skipped=… seconds=…`, is what
scripts/test reads. The exit code is 0 only if at least one test ran and none failed.
"""

import os
import pathlib
import signal
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import settings  # noqa: E402 - the path comes first


class Stuck(AssertionError):
    """A test that passed its hang limit."""


def _interrupted(_signal, _frame):
    raise KeyboardInterrupt


def _stuck(_signal, _frame):
    raise Stuck("the test passed its hang limit; the stack shows where it waits")


class Report(unittest.TestResult):
    """Progress as it happens; details of failures at once, not only at the end."""

    def __init__(self, total):
        super().__init__()
        self.total = total
        self.number = 0
        self.ran = 0
        self.bad = set()
        self.skips = []

    def startTest(self, test):
        super().startTest(test)
        self.number += 1
        self.current = test
        self.started = time.monotonic()
        signal.alarm(getattr(test, "hang_limit", settings.TEST_HANG))

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def _say(self, verdict, test, detail=""):
        seconds = time.monotonic() - getattr(self, "started", time.monotonic())
        name = getattr(test, "id", lambda: str(test))()
        print(
            f"[{self.number:4}/{self.total}] {verdict:4} {seconds:6.1f}s {name}{detail}", flush=True
        )

    def addSuccess(self, test):
        self.ran += 1
        self._say("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skips.append((test.id(), reason))
        self._say("skip", test, f": {reason}")

    def _bad(self, test, error, detail=""):
        if test.id() not in self.bad:
            self.bad.add(test.id())
            self.ran += 1
        self._say("FAIL", test, f" {detail}" if detail else "")
        print("".join(traceback.format_exception(*error)), flush=True)
        transcript = getattr(test, "transcript", None)
        if transcript and "end of the proxy's log" not in str(error[1]):
            print(transcript(), flush=True)

    def addSubTest(self, test, part, error):
        super().addSubTest(test, part, error)
        if error is not None:
            self._bad(test, error, part._subDescription())

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._bad(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self._bad(test, error)


def collect(pattern):
    """All tests in the order of their files, those whose id the pattern names."""
    loader = unittest.TestLoader()
    if pattern:
        loader.testNamePatterns = [pattern if "*" in pattern else f"*{pattern}*"]
    suite = loader.discover(str(HERE), pattern="test_*.py", top_level_dir=str(HERE))
    if loader.errors:
        print("\n".join(loader.errors), file=sys.stderr)
        sys.exit(1)
    return suite


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MILLRACE_SYSTEM_TESTS", "")
    if not os.access(settings.BINARY, os.X_OK):
        print(f"no proxy at {settings.BINARY}; build it first: make release", file=sys.stderr)
        return 1
    descriptors = settings.raise_descriptor_limit()
    signal.signal(signal.SIGALRM, _stuck)
    signal.signal(signal.SIGTERM, _interrupted)
    suite = collect(pattern)
    report = Report(suite.countTestCases())
    refusal = f"refused ({settings.URING_REFUSAL})" if settings.URING_REFUSAL else "allowed"
    print(f"proxy {settings.BINARY}; engines {', '.join(settings.ENGINES)}; io_uring {refusal}; ")
    print(f"descriptors {descriptors}; {report.total} tests", flush=True)
    started = time.monotonic()
    try:
        suite.run(report)
    except KeyboardInterrupt:
        # unittest runs no clean-ups then; processes and mounted disks must not be left behind.
        signal.alarm(0)
        print("interrupted; cleaning up", flush=True)
        if current := getattr(report, "current", None):
            current.doCleanups()
            type(current).tearDownClass()
        return 130
    seconds = time.monotonic() - started
    failed = len(report.bad)
    for name, reason in report.skips:
        print(f"skipped: {name}: {reason}")
    for name in sorted(report.bad):
        print(f"failed: {name}")
    print(
        f"system tests: ran={report.ran} passed={report.ran - failed} failed={failed} "
        f"skipped={len(report.skips)} seconds={seconds:.0f}",
        flush=True,
    )
    if report.ran == 0:
        print("no system test ran, which is a failure")
        print(
            "system tests: ran=0 passed=0 failed=0 "
            f"skipped={len(report.skips)} seconds={seconds:.0f}",
            flush=True,
        )
    return 0 if failed == 0 and report.ran > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
