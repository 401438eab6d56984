"""The processes behind the proxy: origins that are started, stopped in order and killed, and what they say of themselves."""

import json
import pathlib
import signal
import subprocess
import sys
import time

from harness import ports, settings, wire

ORIGIN = pathlib.Path(__file__).resolve().parent / "origin.py"


class Server:
    """One origin; a port that stays its own."""

    def __init__(self):
        self.port = ports.free_port()
        self.process = None
        self.answered_before = 0
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, str(ORIGIN), str(self.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True)
        line = self.process.stdout.readline()
        assert line == b"ready\n", f"the origin on port {self.port} did not start: {line!r}"

    def state(self):
        """answered, in_progress and tunnels of the present process."""
        with wire.Wire.connect(self.port) as connection:
            return json.loads(connection.send(wire.get("/control")).response().body)

    def wait_for(self, condition, what):
        deadline = time.monotonic() + settings.HANG
        while not condition(state := self.state()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.address}: {what}: {state}")
            time.sleep(0.05)

    def wait_until_quiet(self, others_answer):
        """Waits until it has nothing to do, and stays so while the others have answered more."""
        deadline = time.monotonic() + settings.HANG
        while True:
            self.wait_for(lambda state: state["in_progress"] == 0, "requests go on")
            before = self.state()["answered"]
            others_answer()
            state = self.state()
            if state["answered"] == before and state["in_progress"] == 0:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.address} still gets requests after it was taken out: {state}")

    def _end(self, number):
        self.process.send_signal(number)
        self.process.wait(settings.HANG)
        self.process.stdin.close()
        self.process.stdout.close()

    def stop(self):
        if self.process.poll() is None:
            self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)
