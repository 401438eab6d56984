"""What the tests of `millrace load` share: running it to its end, and what every result must obey."""

import json

from . import proxy
from .case import SystemCase

QUIET = ("--warm-up", "0s", "--no-progress")


class LoadCase(SystemCase):
    def load(self, *arguments, code=0):
        """Runs it to its end. - Returns: the result that --json wrote, and what it said."""
        path = self.folder / "result.json"
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
