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
SHORT = "--together --minutes 0.5 --warm-up 4 --reloads 5 --rotations 2 --drains 1 --kills 1 --upgrades 1".split()


@functools.cache
def pass_the_day():
    """What it says, once for all engines."""
    done = subprocess.run(
        [sys.executable, DAY, *SHORT], env={**os.environ, "MILLRACE_BINARY": str(settings.BINARY)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


@on_both_engines
class Day(unittest.TestCase):
    def setUp(self):
        if self.engine == "io_uring" and settings.URING_REFUSAL and not settings.WRAPPER:
            self.skipTest(f"io_uring_setup is refused here: {settings.URING_REFUSAL}")

    def test_no_request_fails_while_everything_is_changed(self):
        told = pass_the_day()
        self.assertIn(f"[{self.engine}] PASSED on {self.engine}\n", told, told)
