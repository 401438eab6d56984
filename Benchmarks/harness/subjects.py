"""The proxies under test and the origin behind them: how each is started, pinned, asked once for
every file, and stopped. A subject owns its process; nothing outlives `stop`."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

CONFIGURATIONS = Path(__file__).parent.parent / "configurations"
START_SECONDS = 10


class StartError(Exception):
    """A subject did not come up; the text holds the last lines that it wrote."""


def free_ports(count):
    """Distinct ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def nginx_path():
    """Debian keeps nginx in sbin, which is not in every user's path."""
    return shutil.which("nginx", path=os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin")


def _fill(template, values):
    text = (CONFIGURATIONS / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


class Subject:
    """A process on one CPU, with the ports that it serves by name (plain, tls)."""

    def __init__(self, name, work, cpu, ports):
        self.name = name
        self.folder = Path(work) / name
        self.folder.mkdir()
        self.cpu = cpu
        self.ports = ports
        self.process = None
        self.pid = None  # the process whose time is counted
        self.command = None

    def _start(self, command):
        self.command = ["taskset", "-c", str(self.cpu)] + [str(word) for word in command]
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, cwd=self.folder)
        self.pid = self.process.pid  # taskset becomes the command, so the id stays

    def _wait_ready(self):
        deadline = time.monotonic() + START_SECONDS
        waiting = list(self.ports.values())
        while waiting:
            if self.process.poll() is not None:
                raise StartError(f"{self.name} ended with {self.process.returncode}{self._said()}")
            try:
                socket.create_connection(("127.0.0.1", waiting[0]), timeout=1).close()
                waiting.pop(0)
            except OSError:
                if time.monotonic() > deadline:
                    raise StartError(f"{self.name} does not listen{self._said()}") from None
                time.sleep(0.02)

    def _said(self):
        lines = (self.folder / "output").read_text(errors="replace").splitlines()[-8:]
        return ":\n    " + "\n    ".join(lines) if lines else " and wrote nothing"

    def check(self, files, certificate):
        """Asks every port for every file and compares; raises StartError on a difference."""
        trust = ssl.create_default_context(cafile=str(certificate))
        for name, port in self.ports.items():
            scheme = "https" if name == "tls" else "http"
            for path, content in files.items():
                url = f"{scheme}://127.0.0.1:{port}{path}"
                try:
                    with urllib.request.urlopen(url, context=trust, timeout=10) as response:
                        same = response.read() == content
                except OSError as error:
                    raise StartError(f"{self.name}: {url}: {error}{self._said()}") from None
                if not same:
                    raise StartError(f"{self.name}: {url} is not what the origin has")

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Nginx(Subject):
    """nginx with a prefix folder of its own, as origin or as proxy; the worker's time counts."""

    def start(self, template, values):
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = self.folder / "nginx.conf"
        configuration.write_text(_fill(template, values | {"USER": user}))
        self._start([nginx_path(), "-p", f"{self.folder}/", "-c", configuration])
        self._wait_ready()
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        deadline = time.monotonic() + START_SECONDS
        while not (workers := Path(children).read_text().split()):
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} has no worker{self._said()}")
            time.sleep(0.02)
        self.pid = int(workers[0])


class Millrace(Subject):
    """The proxy of this repository, from its release build."""

    def start(self, binary, template, values):
        configuration = self.folder / "millrace.yaml"
        configuration.write_text(_fill(template, values))
        self._start([binary, "run", configuration])
        self._wait_ready()

    def engine(self):
        """The line in which the proxy says which engine it took, and why."""
        for line in (self.folder / "output").read_text(errors="replace").splitlines():
            if "engine selected" in line:
                return line.split("engine selected ", 1)[1]
        return "not said"


class Forwarder(Subject):
    """The bare byte forwarder of Benchmarks/forwarder."""

    def start(self, binary, mode, origin_port):
        self._start([binary, mode, self.ports["plain"], origin_port])
        self._wait_ready()
