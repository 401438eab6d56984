"""One example of Examples/ as a process: its address, its words on stderr, its end by a signal."""

import os
import pathlib
import re
import signal
import subprocess
import time

from . import settings

FOLDER = pathlib.Path(
    os.environ.get("MILLRACE_EXAMPLES") or settings.REPOSITORY / "Examples/.build/debug"
)
"""Where `swift build --package-path Examples` puts them."""


class ExampleFailure(AssertionError):
    """An example did not start, or did not end as it must."""


def command(name, engine, *arguments):
    program = FOLDER / name
    if not os.access(program, os.X_OK):
        raise ExampleFailure(f"no {program}; build the examples first: make examples")
    return [*settings.WRAPPER, str(program), "--engine", engine, *map(str, arguments)]


def run(name, engine, *arguments, limit=settings.HANG):
    """Runs an example to its end: exit code and what it said."""
    done = subprocess.run(
        command(name, engine, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


class Example:
    """A server among the examples, started; `.port` is where it listens."""

    def __init__(self, folder, name, engine, *arguments):
        self.log = pathlib.Path(folder) / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command(name, engine, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            found = self.wait_for(r" (?:listening|bound|serving \S+) (?:on|to) \S+:(\d+) \((\w+)\)")
            self.port, self.engine = int(found[1]), found[2]
        except BaseException:
            self.kill()
            raise

    def said(self):
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, pattern):
        deadline = time.monotonic() + settings.HANG
        while not (found := re.search(pattern, self.said())):
            if self.process.poll() is not None:
                raise ExampleFailure(f"exit code {self.process.returncode}\n{self.said()}")
            if time.monotonic() > deadline:
                raise ExampleFailure(f"it never said {pattern!r}\n{self.said()}")
            time.sleep(0.01)
        return found

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number=signal.SIGTERM):
        """The signal, then the end: exit code 0."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.end(number)

    def end(self, number=signal.SIGTERM):
        """Waits for the end that a signal has begun: exit code 0."""
        try:
            code = self.process.wait(settings.HANG)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ExampleFailure(f"it did not end after signal {number}\n{self.said()}") from None
        if code != 0:
            raise ExampleFailure(f"exit code {code} after signal {number}\n{self.said()}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(settings.HANG)
