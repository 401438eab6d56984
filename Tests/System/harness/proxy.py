"""One millrace process: its configuration, its start, its log, its counters and its end.

It keeps the suite's contract with the command line: `run FILE`, log lines on stderr, SIGUSR1 for
counters, SIGTERM for a drain that ends with exit code 0. It judges one thing by itself: a line on
stderr that is not a log line, which is how a crash of the runtime shows.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from . import configuration, logline, settings

SETTLED = (
    "connections",
    "exchanges",
    "upstream_connections",
    "upstream_idle",
    "leases",
    "frames",
    "operations",
    "cold_bytes",
    "descriptors",
)
"""What must be back at its starting value once nothing happens any more."""


class ProxyFailure(AssertionError):
    """The proxy did not do what every test needs: start, log, count, end."""


class Proxy:
    """A proxy process that reads `settings` (a dictionary, or YAML as text) from a file."""

    def __init__(
        self, directory, config=None, wrapper=None, arguments=None, environment=None, descriptors=()
    ):
        self.directory = pathlib.Path(directory)
        self.log_path = self.directory / "proxy.log"
        self.file = self.directory / "millrace.yaml"
        self.process = None
        self.ended_by_test = False
        wrapper = settings.WRAPPER if wrapper is None else wrapper
        if arguments is None:
            text = config if isinstance(config, str) else configuration.render(config) + "\n"
            self.file.write_text(text, encoding="utf-8")
            arguments = ["run", str(self.file)]
        self.command = [*wrapper, settings.BINARY, *arguments]
        self.environment = {**os.environ, **(environment or {})}
        self.descriptors = descriptors

    # Starting and ending

    def spawn(self):
        """Starts the process and returns at once; a later start goes on in the same log."""
        self.log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                pass_fds=self.descriptors,
            )
        return self

    def start(self):
        """Starts the process and waits until it says that it is ready."""
        self.spawn()
        self.workers = int(self.wait_for("ready")["workers"])
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, limit=settings.HANG):
        """The exit code; a failure where the process does not end."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise ProxyFailure(
                f"the proxy did not end within {limit:.0f} s\n{self.tail()}"
            ) from None

    def stop(self, limit=settings.HANG):
        """SIGTERM, then the end: exit code 0, `stopped` logged, nothing odd on stderr."""
        self.ended_by_test = True
        self.signal(signal.SIGTERM)
        code = self.wait(limit)
        if code != 0:
            raise ProxyFailure(f"exit code {code} after SIGTERM, expected 0\n{self.tail()}")
        if not self.find("stopped"):
            raise ProxyFailure(f"no `stopped` line after SIGTERM\n{self.tail()}")
        self.check_log()

    def kill(self):
        """kill -9: no goodbye of any kind."""
        self.ended_by_test = True
        if self.is_running:
            self.process.kill()
        self.process.wait(settings.HANG)

    def clean_up(self):
        """What a test case does last: a proxy that still runs must end as `stop` demands."""
        if self.process is None or self.ended_by_test and not self.is_running:
            return
        if self.is_running:
            try:
                self.stop()
            finally:
                if self.is_running:
                    self.process.kill()
                    self.process.wait()
        elif not self.ended_by_test:
            raise ProxyFailure(f"the proxy died (exit {self.process.returncode})\n{self.tail()}")

    # The log

    def lines(self):
        """All log lines of the present process so far."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            text = log.read().decode("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [line for line in map(logline.parse, whole) if line]

    def find(self, message, **wanted):
        return [line for line in self.lines() if line.matches(message, wanted)]

    def wait_for(self, message, limit=settings.HANG, count=1, **wanted):
        """The `count`-th line with this message and these pairs, once it is there."""
        deadline = time.monotonic() + limit
        while True:
            running = self.is_running
            found = self.find(message, **wanted)
            if len(found) >= count:
                return found[count - 1]
            if not running or time.monotonic() > deadline:
                why = "in time" if running else f"before exit {self.process.returncode}"
                raise ProxyFailure(f"no log line `{message}` {wanted or ''} {why}\n{self.tail()}")
            time.sleep(0.01)

    def check_log(self):
        """Every line on stderr is a log line: a trap or a library's own print is not."""
        with open(self.log_path, "rb") as log:
            log.seek(self.log_start)
            text = log.read().decode("utf-8", "replace")
        odd = [line for line in text.splitlines() if not logline.parse(line)]
        if odd:
            raise ProxyFailure("not log lines:\n" + "\n".join(odd[:20]))

    def tail(self, count=40):
        try:
            text = self.log_path.read_text("utf-8", "replace")
        except OSError:
            return "(no log)"
        return "\n".join(["--- end of the proxy's log:", *text.splitlines()[-count:]])

    @property
    def engine(self):
        """The engine that the log says was selected."""
        return self.wait_for("engine selected")["engine"]

    # Counters and memory

    def counters(self):
        """Sums over workers after one SIGUSR1; `descriptors` is the process's own number."""
        before = len(self.find("counters"))
        self.signal(signal.SIGUSR1)
        self.wait_for("counters", count=before + self.workers)
        lines = self.find("counters")[before : before + self.workers]
        if len({line["worker"] for line in lines}) != self.workers:
            raise ProxyFailure("counters: not one line per worker\n" + self.tail())
        sums = {}
        for line in lines:
            for key, value in line.pairs.items():
                if key != "worker" and re.fullmatch(r"\d+", value):
                    sums[key] = sums.get(key, 0) + int(value)
        sums["descriptors"] = max(int(line["descriptors"]) for line in lines)
        missing = [key for key in SETTLED if key not in sums]
        if missing:
            raise ProxyFailure(f"counters without {missing}: {lines[0].text}")
        return sums

    def settle(self, expected=None, limit=settings.HANG):
        """Waits until the counters stand still, or equal `expected`; gives them or fails."""
        keys = SETTLED if expected is None else tuple(expected)
        deadline = time.monotonic() + limit
        last = None
        while True:
            now = {key: value for key, value in self.counters().items() if key in keys}
            if expected is None and now == last:
                return now
            if expected is not None and now == {key: expected[key] for key in keys}:
                return now
            if time.monotonic() > deadline:
                goal = expected if expected is not None else last
                odd = {k: (goal[k], now[k]) for k in keys if goal[k] != now[k]}
                raise ProxyFailure(
                    f"counters did not come back: (expected, found) {odd}\n{self.tail(8)}"
                )
            last = now
            time.sleep(0.1)

    def resident_bytes(self):
        """VmRSS of the process."""
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise ProxyFailure("no VmRSS")


def run_to_end(arguments, directory=None, limit=settings.HANG, wrapper=(), environment=None):
    """A millrace command that ends by itself: (exit code, stdout, stderr) as text."""
    done = subprocess.run(
        [*wrapper, settings.BINARY, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=directory,
        timeout=limit,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def is_listening(port, address="127.0.0.1"):
    """Whether a connection to the port succeeds."""
    with socket.socket() as probe:
        probe.settimeout(settings.HANG)
        return probe.connect_ex((address, port)) == 0
