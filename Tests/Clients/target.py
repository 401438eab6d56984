"""A proxy in front of an origin, as a client is pointed at it, and the end of it."""

import pathlib
import signal
import tempfile
import threading
import time

from harness import certificates, configuration, ports, settings
from harness.origin import Origin
from harness.proxy import Proxy, is_listening

import exchanges


class Target:
    """A running proxy; `upstream` is where its requests go instead of the origin of `exchanges`."""

    def __init__(self, folder, engine, tls, upstream=None, audited=False, admin=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
        self.tls = tls
        self.origin = Origin(exchanges.script)
        self.port = ports.free_port()
        self.authority = str(certificates.authority().certificate)
        listener = configuration.listener(self.port, tls=[certificates.site()] if tls else None)
        listener["http_versions"] = ["h2", "http/1.1"]
        self.configuration = {
            "engine": engine,
            "workers": 1,
            "listeners": [listener],
            "upstreams": {"origin": upstream or configuration.upstream(self.origin.port)},
            "routes": [{"match": {"path": "/"}, "upstream": "origin"}],
            "drain": {"deadline": "5s"},
        }
        if audited:
            self.configuration["audit"] = {
                "directory": str(self.folder / "audit"), "durability": "before_response"}
        if admin:
            self.configuration["admin"] = {"address": f"127.0.0.1:{admin}"}
        self._replaced = None
        self.proxy = self._start()
        exchanges.together.reset()

    def _start(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        return Proxy(folder, self.configuration).start()

    @property
    def scheme(self):
        return "https" if self.tls else "http"

    def url(self, path):
        """By address: every client believes the certificate for it, and none needs a resolver."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    @property
    def accepted(self):
        """Connections that the proxy has accepted so far."""
        return self.proxy.counters()["accepted"]

    def count_connections(self, do):
        """What `do` gives, and the connections that it cost."""
        before = self.accepted
        return do(), self.accepted - before

    def replace_soon(self, after=0.4):
        """Lets the proxy drain while requests are being sent, and starts another one on its port."""

        def replace():
            time.sleep(after)
            first = self.proxy
            first.ended_by_test = True
            first.signal(signal.SIGTERM)
            deadline = time.monotonic() + settings.HANG
            while is_listening(self.port) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.proxy = self._start()
            self._ended = first

        self._replaced = threading.Thread(target=replace)
        self._replaced.start()

    def check_idle(self):
        """Nothing is left of the exchange: a client that went away left nothing behind."""
        self.proxy.settle({"exchanges": 0})

    def close(self):
        """Ends everything; what the proxy still holds, or a line that is none of its log, is a failure."""
        try:
            if self._replaced:
                self._replaced.join()
                if self._ended.wait() != 0:
                    raise AssertionError("the drained proxy did not end with code 0")
                self._ended.check_log()
            self.proxy.settle({"exchanges": 0, "connections": 0, "leases": 0, "frames": 0, "cold_bytes": 0})
            self.proxy.stop()
        finally:
            if self.proxy.is_running:
                self.proxy.kill()
            self.origin.close()
