"""What the tests of the lab share: running `millrace load` to its end, what every result must obey,
and `millrace origin`."""

import json
import re
import signal
import subprocess
import time

from . import proxy, settings
from .case import SystemCase

QUIET = ("--warm-up", "0s", "--no-progress")


class RunningOrigin:
    """A process of `millrace origin`, and where it listens."""

    def __init__(self, words, log):
        self.log = log
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                [settings.BINARY, "origin", *map(str, words)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        self.port = self.tls_port = None

    def ready(self, count):
        """Waits for the lines of all listeners; the first plaintext port and the TLS port stay."""
        for _ in range(count):
            line = self.process.stdout.readline().decode()
            found = re.fullmatch(r"listening (unix:/\S+|127\.0\.0\.1:(\d+))( tls)?\n", line)
            if not found:
                raise AssertionError(f"{line!r}; {self.log.read_text()}")
            if found.group(3):
                self.tls_port = int(found.group(2))
            elif not self.port:
                self.port = int(found.group(2))
        return self

    def counters(self):
        """The counters of a thread, asked for by SIGUSR1: of the only one, or whichever wrote last."""
        before = self.log.read_text().count("counters ")
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + settings.HANG
        while time.monotonic() < deadline:
            lines = [one for one in self.log.read_text().splitlines() if one.startswith("counters ")]
            if len(lines) > before:
                return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", lines[-1])}
            time.sleep(0.02)
        raise AssertionError("no counters after SIGUSR1")

    def settle(self):
        """The counters once no connection is left."""
        deadline = time.monotonic() + settings.HANG
        while time.monotonic() < deadline:
            found = self.counters()
            if found["connections"] == 0:
                return found
            time.sleep(0.05)
        raise AssertionError(f"connections are left: {found}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(settings.HANG)
        self.process.stdout.close()
        return code


class LoadCase(SystemCase):
    def load(self, *arguments, code=0, name="result"):
        """Runs it to its end. - Returns: the result that --json wrote, and what it said."""
        path = self.folder / f"{name}.json"
        words = ["load", "--engine", self.engine, "--json", str(path), *map(str, arguments)]
        ended, out, errors = proxy.run_to_end(words)
        self.assertEqual(ended, code, out + errors)
        result = json.loads(path.read_text()) if path.exists() else None
        return result, out + errors

    def url(self, port, path="/", scheme="http"):
        return f"{scheme}://127.0.0.1:{port}{path}"

    def consistent(self, result, late=0):
        """What holds for every result. `late`: how many responses may have come after the time."""
        self.assertEqual(result["engine"], self.engine)
        self.assertEqual(result["planned"], result["completed"] + sum(result["failures"].values()))
        self.assertEqual(result["latency"]["count"], result["completed"])
        self.assertEqual(sum(n for _, n in result["latency"]["histogram"]), result["completed"])
        in_time = sum(one["completed"] for one in result["intervals"])
        self.assertLessEqual(in_time, result["completed"])
        self.assertGreaterEqual(in_time, result["completed"] - late)

    def replay_log(self, count):
        """A log of `count` requests for /r0, /r1, … over three seconds, in nginx's usual format."""
        log = self.folder / "access.log"
        log.write_text("".join(
            f'1.2.3.4 - - [21/Nov/2026:10:18:4{3 * i // count} +0000] "GET /r{i} HTTP/1.1" 200 1 "-" "-"\n'
            for i in range(count)))
        return log
