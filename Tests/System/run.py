#!/usr/bin/env python3
"""Runs the system tests and tells what happened, one line per test and one line at the end.

Without a pattern six lanes run at once, each taking one class of tests after the other: tests wait more than they
work. What measures, and what needs the whole machine, comes after them and alone.

The last line, `system tests: ran=… passed=… failed=… skipped=… seconds=…`, is what
scripts/test reads. The exit code is 0 only if at least one test ran and none failed.
"""

import atexit
import json
import os
import pathlib
import signal
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

LANES = "abdefg"
# Taken first, so that none of them is what all wait for in the end. They wait: of one of test_40_timeouts' seconds the
# machine works a few milliseconds.
LONG = ("test_36_", "test_37_", "test_40_", "test_41_", "test_42_", "test_43_", "test_44_", "test_14_", "test_22_")
ALONE = ("test_13_", "test_92_", "test_95_", "test_97_")

from harness import ports, settings  # noqa: E402 - the path comes first


class Stuck(AssertionError):
    """A test that passed its hang limit."""


def _interrupted(_signal, _frame):
    raise KeyboardInterrupt


def _stuck(_signal, _frame):
    raise Stuck("the test passed its hang limit; the stack shows where it waits")


class Report(unittest.TestResult):
    """Progress as it happens; details of failures at once, not only at the end."""

    def __init__(self, total, lane=""):
        super().__init__()
        self.total = total
        self.lane = lane
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
            f"[{self.lane}{self.number:4}/{self.total}] {verdict:4} {seconds:6.1f}s {name}{detail}", flush=True
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
        text = "".join(traceback.format_exception(*error))
        transcript = getattr(test, "transcript", None)
        if transcript and "end of the proxy's log" not in str(error[1]):
            text += "\n" + transcript()
        # In one piece, or the other lane's lines would come between.
        self._say("FAIL", test, (f" {detail}" if detail else "") + "\n" + text)

    def outcome(self):
        return {"ran": self.ran, "bad": sorted(self.bad), "skips": self.skips}

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


def cases(suite):
    """The single tests of a suite, in its order."""
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from cases(part)
        else:
            yield part


def groups_of(suite):
    """Tests that may run beside others, by class, so that what a class shares is made once; and those that run alone."""
    beside, alone = {}, []
    for case in cases(suite):
        if case.id().startswith(ALONE):
            alone.append(case)
        else:
            beside.setdefault(case.id().rpartition(".")[0], []).append(case)
    long = [name for prefix in LONG for name in beside if name.startswith(prefix)]
    rest = [name for name in beside if name not in long]
    return [beside[name] for name in long + rest], alone


class Interrupted(Exception):
    """The run ends, and what the current test holds has been given back."""


def run_here(groups, total, lane=""):
    """Runs tests in this process, one group after the other."""
    report = Report(total, lane)
    try:
        for tests in groups:
            unittest.TestSuite(tests).run(report)
    except KeyboardInterrupt:
        # unittest runs no clean-ups then; processes and mounted disks must not be left behind.
        signal.alarm(0)
        print("interrupted; cleaning up", flush=True)
        if current := getattr(report, "current", None):
            current.doCleanups()
            type(current).tearDownClass()
        raise Interrupted from None
    return report.outcome()


def taken(groups, numbers):
    """The groups whose numbers this process gets out of the pipe, before others do."""
    while token := os.read(numbers, 2):
        yield groups[int.from_bytes(token, "big")]


def run_beside(groups, numbers, part):
    """Runs tests in a process of their own: its pid, and the pipe that tells how they went. Its ports begin at
    this part of all."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid != 0:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        os.close(reading)
        ports.start_elsewhere(part, len(LANES))
        outcome = run_here(taken(groups, numbers), sum(map(len, groups)), LANES[part])
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(outcome).encode())
        status = 0
    except Interrupted:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        # Folders that were to go with the process: os._exit alone leaves them behind. All are made in a lane, none
        # before the fork.
        atexit._run_exitfuncs()
        os._exit(status)


def run_lanes(suite):
    """Everything: the lanes, then what runs alone."""
    groups, alone = groups_of(suite)
    numbers, filling = os.pipe()
    # All of them fit into the pipe; a read of one is never cut.
    os.write(filling, b"".join(number.to_bytes(2, "big") for number in range(len(groups))))
    os.close(filling)
    beside = [run_beside(groups, numbers, part) for part in range(len(LANES))]
    outcomes = []
    try:
        for lane, (_, pipe) in zip(LANES, beside):
            with os.fdopen(pipe, "rb") as told:
                died = json.dumps({"ran": 0, "bad": [f"lane {lane} died"], "skips": []})
                outcomes.append(json.loads(told.read() or died))
    except (Interrupted, KeyboardInterrupt):
        for pid, _ in beside:
            os.kill(pid, signal.SIGTERM)
        raise Interrupted from None
    finally:
        for pid, _ in beside:
            os.waitpid(pid, 0)
        os.close(numbers)
    return [*outcomes, run_here([alone], len(alone), "c")]


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MILLRACE_SYSTEM_TESTS", "")
    if not os.access(settings.BINARY, os.X_OK):
        print(f"no proxy at {settings.BINARY}; build it first: swift build -c release --product millrace", file=sys.stderr)
        return 1
    descriptors = settings.raise_descriptor_limit()
    signal.signal(signal.SIGALRM, _stuck)
    signal.signal(signal.SIGTERM, _interrupted)
    suite = collect(pattern)
    refusal = f"refused ({settings.URING_REFUSAL})" if settings.URING_REFUSAL else "allowed"
    print(f"proxy {settings.BINARY}; engines {', '.join(settings.ENGINES)}; io_uring {refusal}; ")
    print(f"descriptors {descriptors}; {suite.countTestCases()} tests", flush=True)
    started = time.monotonic()
    try:
        outcomes = [run_here([suite], suite.countTestCases())] if pattern else run_lanes(suite)
    except Interrupted:
        return 130
    seconds = time.monotonic() - started
    ran = sum(outcome["ran"] for outcome in outcomes)
    bad = sorted(name for outcome in outcomes for name in outcome["bad"])
    skips = [skip for outcome in outcomes for skip in outcome["skips"]]
    for name, reason in skips:
        print(f"skipped: {name}: {reason}")
    for name in bad:
        print(f"failed: {name}")
    print(
        f"system tests: ran={ran} passed={ran - len(bad)} failed={len(bad)} "
        f"skipped={len(skips)} seconds={seconds:.0f}",
        flush=True,
    )
    if ran == 0:
        print("no system test ran, which is a failure")
        print(
            f"system tests: ran=0 passed=0 failed=0 skipped={len(skips)} seconds={seconds:.0f}",
            flush=True,
        )
    return 0 if not bad and ran > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
