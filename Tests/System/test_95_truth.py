"""Layer 9: whether what the load says is true, against what arithmetic says that it must find.

The machine that this runs on may stall at any moment, and nothing timed may decide here. Two things
make that possible:

- What an origin's stall does to a request is a lower bound that no machine undercuts: who comes x
  before the end of the pause waits for x at least. So every lower bound is checked always. An upper bound
  needs a machine that adds little of its own, which a control tells: the same origin without the
  stall, asked by a load of its own at the same time. It is judged where the control was answered in
  time, in one of a few attempts; where there is none, the test says so and is skipped.
- A rate that was not held because the load got no CPU shows as a delay that the load tells itself. What
  is missing from the rate at the end of a run can only be what had come due within the longest
  delay: this is checked, and on a machine that lets the load run it is the 1% (the bound follows from it
  where the delay is below a hundredth of the run). That the 1% is kept on a quiet machine, with no
  such excuse, is `make bench-lab`'s to show.
"""

import math
import re
import shutil
import subprocess
import threading
import unittest

from harness import settings
from harness.case import on_both_engines
from harness.loading import QUIET, LoadCase, RunningOrigin

#: The pause of the origin, and how often it comes: milliseconds.
PAUSE, PERIOD = 200, 1000
STALL = f"{PAUSE}ms every {PERIOD // 1000}s"

#: Requests per second; one more than half of them waits during a pause, each on a connection.
RATE, SECONDS, CONNECTIONS = 400, 5, 128

#: How far a percentile may lie below the predicted one, in milliseconds: requests are 2.5 ms apart,
#: and the histogram keeps three digits.
BELOW = 3.0
#: How far above it: the 80 answers that a pause held leave one after another.
ABOVE = 15.0
#: The control's p99.9 of a machine that is calm enough to judge what it adds: milliseconds.
CALM = 10.0
ATTEMPTS = 4


def waited(share):
    """Milliseconds that this share of requests waits for no longer: a fifth comes during a pause, and
    waits for its rest, evenly between 0 and 200 ms."""
    calm = 1 - PAUSE / PERIOD
    return 0.0 if share <= calm else PAUSE * (share - calm) / (1 - calm)


PREDICTED = {"p50": waited(0.5), "p75": waited(0.75), "p90": waited(0.9), "p95": waited(0.95), "p99": waited(0.99), "maximum": waited(1)}


def milliseconds(text):
    """A time as wrk writes it."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


@on_both_engines
class Truth(LoadCase):
    def start(self, *words):
        number = len(list(self.folder.glob("origin-*.log")))
        origin = RunningOrigin(
            ["--engine", self.engine, "--listen", "127.0.0.1:0", *words],
            self.folder / f"origin-{number}.log")
        self.addCleanup(self.finish, origin)
        return origin.ready(1)

    def finish(self, origin):
        if origin.process.poll() is None:
            self.assertEqual(origin.end(), 0, origin.log.read_text())

    def both(self, stalled, calm, *words):
        """The same load on both origins at the same time: both results."""
        found = {}

        def ask(name, origin):
            found[name], _ = self.load(
                self.url(origin.port), "--rate", RATE, "--duration", f"{SECONDS}s", *words, *QUIET,
                name=name)

        other = threading.Thread(target=ask, args=("control", calm))
        other.start()
        ask("stalled", stalled)
        other.join(settings.TEST_HANG)
        return found["stalled"], found["control"]

    # A stalled origin

    def check_stall(self, result, control):
        """The predictions. - Returns: whether the upper bounds could be judged."""
        self.consistent(result, late=result["completed"])
        self.assertEqual((result["planned"], result["failures"]), (RATE * SECONDS, {}))
        found = {name: result["latency"][name] / 1e6 for name in PREDICTED}
        for name, milliseconds_predicted in PREDICTED.items():
            self.assertGreaterEqual(found[name], milliseconds_predicted - BELOW, (name, found))
        self.assertGreaterEqual(result["latency"]["mean"] / 1e6, PAUSE / PERIOD * PAUSE / 2 - BELOW)
        if control["latency"]["p999"] / 1e6 > CALM:
            return False
        for name, milliseconds_predicted in PREDICTED.items():
            self.assertLessEqual(found[name], milliseconds_predicted + ABOVE, (name, found))
        return True

    def test_a_stalled_origin_has_the_percentiles_that_arithmetic_predicts(self):
        stalled, calm = self.start("--stall", STALL), self.start()
        for _ in range(ATTEMPTS):
            if self.check_stall(*self.both(stalled, calm, "--connections", CONNECTIONS)):
                return
        self.skipTest(
            f"lower bounds hold; upper ones need a machine that answers 99.9% within {CALM} ms")

    def test_with_one_connection_only_the_corrected_figure_shows_the_stall(self):
        """What waits for the connection waited, and the usual figure does not know of it."""
        result, _ = self.load(
            self.url(self.start("--stall", STALL).port), "--rate", RATE, "--duration",
            f"{SECONDS}s", "--connections", 1, *QUIET)
        self.assertEqual(result["planned"], RATE * SECONDS)
        for name in ("p90", "p95", "p99", "maximum"):
            self.assertGreaterEqual(result["latency"][name] / 1e6, PREDICTED[name] - BELOW, name)
        # One request each second met the pause: of 2,000 too few for any of these.
        self.assertLess(result["uncorrected"]["p95"] * 10, result["latency"]["p95"])
        self.assertGreaterEqual(result["uncorrected"]["maximum"] / 1e6, PAUSE / 2)

    # What closed loops make of it

    def wanted(self, program):
        if not shutil.which(program):
            self.skipTest(f"{program} is not installed")

    def ask_to_the_end(self, *words):
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, timeout=settings.HANG + SECONDS,
            check=True)
        return done.stdout

    def test_a_closed_loop_does_not_see_what_the_stall_did(self):
        """h2load keeps each request's time as it was: one request met each pause."""
        self.wanted("h2load")
        origin, log = self.start("--stall", STALL), self.folder / "h2load.log"
        self.ask_to_the_end(
            "h2load", "--h1", "-t1", "-c1", f"-D{SECONDS}", f"--log-file={log}", self.url(origin.port))
        times = sorted(int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines())
        self.assertGreaterEqual(times[-1], PAUSE / 2)
        # Below that the pauses themselves would be a hundredth of all requests.
        if len(times) < 100 * (SECONDS + 2):
            self.skipTest(f"h2load got no CPU: {len(times)} requests in {SECONDS} s")
        for name, share in (("p90", 0.9), ("p99", 0.99)):
            found = times[math.ceil(len(times) * share) - 1]
            self.assertLess(found * 4, PREDICTED[name], f"{name} of {len(times)}")

    def test_wrk_makes_up_for_the_stall_and_misses_it(self):
        """wrk 4 adds what a closed loop left out: to each long time a row of shorter ones, one for each
        average interval (stats_correct in its wrk.c). Pauses are a part of that average, so that it adds
        0.16 where 0.2 were missing: a sixth of all seem to have waited instead of a fifth, and its p90
        is 80 ms at most where users' is 100."""
        self.wanted("wrk")
        origin = self.start("--stall", STALL)
        for _ in range(ATTEMPTS):
            said = self.ask_to_the_end(
                "wrk", "-t1", "-c1", f"-d{SECONDS}s", "--latency", self.url(origin.port))
            found = {
                int(share): milliseconds(time)
                for share, time in re.findall(r"^ +(\d+)% +(\S+)$", said, re.MULTILINE)}
            maximum = milliseconds(re.search(r"^ +Latency +\S+ +\S+ +(\S+)", said, re.MULTILINE)[1])
            # It met the pauses.
            self.assertGreaterEqual(maximum, PAUSE / 2, said)
            # Stalls of this machine that are as long as the origin's could lift it: not each time.
            if found[90] < PREDICTED["p90"] - 10:
                return
        self.skipTest(f"this machine stalls as the origin does: {said}")

    # The offered rate

    def check_rate(self, rate, seconds, *words):
        result, _ = self.load(
            self.url(self.start().port), "--rate", rate, "--duration", f"{seconds}s",
            "--connections", 64, *words, *QUIET)
        self.assertAlmostEqual(result["seconds"], seconds, delta=0.001)
        # Every moment that was planned became a request: none is lost, none is doubled.
        self.assertEqual(result["sent"] + result["failures"].get("unsent", 0), result["planned"])
        offered = result["offeredRate"] * result["seconds"]
        self.assertLessEqual(offered, result["planned"] + 1)
        # What is missing had come due within the longest delay.
        late = rate * result["delay"]["maximum"] / 1e9
        late += 5 * math.sqrt(late) + 1
        missing = result["planned"] - offered - result["failures"].get("unsent", 0)
        self.assertLessEqual(missing, late, result["delay"])
        return result

    def test_a_constant_rate_is_offered(self):
        for rate in (1000, 5000):
            with self.subTest(rate=rate):
                self.assertEqual(self.check_rate(rate, 2)["planned"], 2 * rate)

    def test_a_random_rate_is_offered(self):
        for rate in (1000, 5000):
            with self.subTest(rate=rate):
                planned = self.check_rate(rate, 2, "--poisson", "--seed", 3)["planned"]
                # Five deviations of a Poisson count.
                self.assertAlmostEqual(planned, 2 * rate, delta=5 * math.sqrt(2 * rate))


if __name__ == "__main__":
    unittest.main()
