"""Layer 9: a day in half a minute, on all engines at once: Tests/Day with few steps of each kind.

`make test-day` is the long form. What is asserted is there, in its `day.py` and `steps.py`.
"""

import functools
import os
import subprocess
import sys
import unittest

from harness import settings
from harness.case import on_both_engines

DAY = settings.REPOSITORY / "Tests/Day/run"
SHORT = "--together --minutes 0.5 --warm-up 4 --reloads 5 --rotations 2 --drains 1 --kills 1".split()


@functools.cache
def can_upgrade():
    done = subprocess.run([settings.BINARY, "run", "--help"], capture_output=True, text=True, check=False)
    return "--upgrade" in done.stdout


@functools.cache
def pass_the_day():
    """What it says, once for all engines."""
    done = subprocess.run(
        [sys.executable, DAY, *SHORT, "--upgrades", "1" if can_upgrade() else "0"],
        env={**os.environ, "MILLRACE_BINARY": str(settings.BINARY)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


@on_both_engines
class Day(unittest.TestCase):
    def setUp(self):
        if self.engine == "io_uring" and settings.URING_REFUSAL and not settings.WRAPPER:
            self.skipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")

    def test_no_request_fails_while_everything_is_changed(self):
        told = pass_the_day()
        self.assertIn(f"[{self.engine}] PASSED on {self.engine}\n", told, told)

    def test_the_binary_is_upgraded_meanwhile(self):
        if not can_upgrade():
            self.skipTest("the day has no upgrade: this binary has no `run --upgrade`")
        lines = [line for line in pass_the_day().splitlines() if line.startswith(f"[{self.engine}] reloads: ")]
        self.assertIn("upgrades: 1 of 1", "\n".join(lines))
