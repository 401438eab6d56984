"""Checks of `millrace compare` as it runs by default, in slices: a cost of 5%, a late share of requests, and
differences that are not there, on the machine as it is or with a neighbour that burns at random."""

import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from math import isnan, nan
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
# Of ten runs: how many have to decide it with the right sign.
RIGHT, OF = 9, 10
LATE_EVERY, LATE_MILLISECONDS = 50, 5
# The neighbour's share of a CPU, and the mean length of its bursts in seconds.
DISTURBED_SHARE, BURST = 0.3, 0.05


def burn(cpu):
    """Burns for random times with random pauses, on one CPU, until its parent is gone."""
    os.sched_setaffinity(0, {cpu})
    parent, numbers = os.getppid(), random.Random(1)
    while os.getppid() == parent:
        end = time.monotonic() + numbers.expovariate(1 / BURST)
        while time.monotonic() < end:
            pass
        time.sleep(numbers.expovariate(DISTURBED_SHARE / (1 - DISTURBED_SHARE) / BURST))


@contextmanager
def disturbed(cpus):
    """A neighbour on each of the CPUs, for as long as a `with` lasts."""
    neighbours = [subprocess.Popen([sys.executable, __file__, str(cpu)]) for cpu in cpus]
    try:
        yield
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


class SliceChecks:
    """What the checks need of the program that runs them: its options, and how it compares."""

    def __init__(self, options, work, compare, verdict, failed):
        self.options, self.work = options, work
        self.compare, self.verdict, self.failed = compare, verdict, failed

    def compiled(self, source, *flags):
        compiler = os.environ.get("CC") or shutil.which("cc")
        if not compiler:
            raise self.failed("no C compiler; scripts/bootstrap installs one")
        made = self.work / source.replace(".c", "")
        done = subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", made, HERE / source,
                               "-ldl"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise self.failed(done.stderr)
        return made

    def program(self, name, environment, arguments=()):
        """millrace with something set before it, under a name of its own."""
        made = self.work / name
        words = " ".join(f"{key}={shlex.quote(str(value))}" for key, value in environment.items())
        added = " ".join(map(shlex.quote, arguments))
        run = f'[ "$1" = run ] && exec {shlex.quote(str(self.options.binary))} "$@" {added}\n' if added else ""
        made.write_text(f"#!/bin/sh\n{'export ' + words if words else ''}\n{run}"
                        f'exec {shlex.quote(str(self.options.binary))} "$@"\n')
        made.chmod(0o755)
        return made

    def course(self):
        """The words that a comparison in slices gets."""
        return ["--minutes", self.options.minutes]

    # A cost of 5%

    def five_percent(self):
        """5% of CPU per request at the maximum: decided with the right sign in nine of ten runs."""
        return all([self.five_percent_of(engine) for engine in self.options.engines])

    def five_percent_of(self, engine):
        library = self.compiled("burn.c", "-shared", "-fPIC")
        # Both have the library, so that its clock reads are in both; one of them burns besides.
        plain = self.program("plain", {"LD_PRELOAD": library, "BURN_NANOSECONDS": 0})
        made = self.compare([f"{engine}@{plain}", f"{engine}@{plain}"], self.options.seed,
                            ["--minutes", 1])
        each = 0.05 * cpu(made, "maximum")
        if isnan(each):
            raise self.failed(f"{engine}: nothing was measured at the maximum")
        burner = self.program("burner", {"LD_PRELOAD": library, "BURN_NANOSECONDS": round(each * 1e9)})
        # At an equal load a proxy that works more is woken less often, by 8 to 12% for 5% here, and saves half
        # of what it burns; at the maximum it never sleeps, and what was injected is what it costs.
        right = wrong = decided_equal = covered = 0
        for number in range(self.options.slice_runs):
            # It ends when the one quantity in which all of the cost shows is decided.
            made = self.compare([f"{engine}@{plain}", f"{engine}@{burner}"], self.options.seed + number,
                                [*self.course(), "--decide-by", "cpu_per_request@maximum"])
            found = ratio(made, "cpu_per_request", "equal")
            truth = 1 + each / cpu(made)
            most = ratio(made, "cpu_per_request", "maximum")
            full = 1 + each / cpu(made, "maximum")
            right += most["outcome"] == "worse"
            wrong += "better" in (found["outcome"], most["outcome"])
            decided_equal += found["outcome"] == "worse"
            covered += most.get("low", nan) <= full <= most.get("high", nan)
            print(f"  {engine} {number + 1}/{self.options.slice_runs}: {truth - 1:+.1%} injected,"
                  f" {told(found)}, {made['seconds']:.0f} s; wake-ups per request"
                  f" {' and '.join(f'{n:.3f}' for n in wake_ups(made))}; at the maximum"
                  f" {full - 1:+.1%}, {told(most)}", flush=True)
        wanted = -(-self.options.slice_runs * RIGHT // OF)  # rounded up
        return self.verdict(
            f"five-percent, {engine}", right >= wanted and wrong == 0,
            f"{right} of {self.options.slice_runs} decided with the right sign ({wanted} wanted), {wrong}"
            f" with the wrong one; {decided_equal} at the equal load; the interval at the maximum covers what was"
            f" injected in {covered}")

    # One of fifty

    def tail(self):
        """5 ms more for one of fifty requests: seen in p99, and not in p50."""
        good = True
        origin = self.compiled("late.c")
        ports = [free_port(), free_port()]
        origins = [subprocess.Popen([origin, str(port), str(nth), str(LATE_MILLISECONDS)],
                                    preexec_fn=lambda: os.sched_setaffinity(0, {self.options.load_cpu}))
                   for port, nth in zip(ports, (0, LATE_EVERY))]
        try:
            names = [self.program(name, {}, ["--set", f'upstreams.origin.servers=["127.0.0.1:{port}"]'])
                     for name, port in zip(("prompt", "late-one"), ports)]
            for engine in self.options.engines:
                made = self.compare([f"{engine}@{name}" for name in names], self.options.seed,
                                    [*self.course(), "--rates", self.options.rate])
                stage = next(s["name"] for s in made["stages"] if s["kind"] == "rate")
                p99, p50 = ratio(made, "p99", stage), ratio(made, "p50", stage)
                seen = p99["outcome"] == "worse" or p99.get("likely") == "worse"
                good &= self.verdict(f"tail, {engine}", seen and p50["outcome"] not in ("better", "worse"),
                                     f"p99 {told(p99)}; p50 {told(p50)}")
        finally:
            for each in origins:
                each.send_signal(signal.SIGTERM)
                each.wait()
        return good


def requests(m):
    return m["load"]["completedRate"] * m["load"]["seconds"]


def cpu(made, stage="equal"):
    """Seconds of CPU per request of the baseline, the median of its batches."""
    costs = [m["processSeconds"] / requests(m) for m in made["measurements"]
             if (m["subject"], m["stage"]) == (made["baseline"], stage) and not m.get("failure")]
    return median(costs) if costs else nan


def wake_ups(made):
    """Of each subject at the equal load: how often it began to run for a request."""
    for subject in made["subjects"]:
        chosen = [m for m in made["measurements"]
                  if (m["subject"], m["stage"]) == (subject["name"], "equal") and not m.get("failure")]
        yield sum(m["wakeUps"] for m in chosen) / max(1, sum(map(requests, chosen)))


def ratio(made, quantity, stage):
    return next(r for r in made["ratios"] if (r["quantity"], r["stage"]) == (quantity, stage))


def told(found):
    likely = found.get("likely", "none")
    grade = found["outcome"] + (f" (likely {likely})" if likely != "none" else "")
    return (f"{found.get('estimate', nan) - 1:+.1%} ({found.get('low', nan) - 1:+.1%} to"
            f" {found.get('high', nan) - 1:+.1%}, {found['pairs']} pairs): {grade}")


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


if __name__ == "__main__":
    burn(int(sys.argv[1]))
