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
SHORT = "--together --minutes 0.5 --reloads 5 --rotations 2 --drains 1 --kills 1".split()


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
    def test_no_request_fails_while_everything_is_changed(self):
        if self.engine == "io_uring" and settings.URING_REFUSAL and not settings.WRAPPER:
            self.skipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")
        told = pass_the_day()
        self.assertIn(f"[{self.engine}] PASSED on {self.engine}\n", told, told)
        if not can_upgrade():
            self.skipTest("the day has passed, but without an upgrade: this binary has no `run --upgrade`")
