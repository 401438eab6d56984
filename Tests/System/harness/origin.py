"""A scripted origin on a raw socket: it does what a script says, hostile or not, and remembers all.

Each accepted connection runs its script in a thread of its own. Scripts get a `Served` connection;
the default one answers every request with what it saw, as JSON.
"""

import json
import socket
import struct
import threading
import time

from . import ports, settings, wire


class Served(wire.Wire):
    """One connection that the origin accepted."""

    def __init__(self, connection, origin):
        super().__init__(connection)
        self.origin = origin

    def fill(self):
        before = self.received
        more = super().fill()
        with self.origin.lock:
            self.origin.bytes_seen += self.received - before
        return more

    def read_body(self, message, is_response):
        # RFC 9110 10.1.1: an origin server that wants the content says so.
        if message.tokens("expect") == ["100-continue"]:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return super().read_body(message, is_response)

    def request(self):
        message = super().request()
        if message:
            with self.origin.lock:
                self.origin.requests.append(message)
        return message

    def answer(self, body=b"ok\n", status="200 OK", fields=()):
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def stall(self):
        """Holds the connection open, silent, until the origin is closed or the peer leaves."""
        while not self.origin.closing.wait(0.02):
            self.socket.settimeout(0.02)
            try:
                if not self.socket.recv(65536):
                    return
            except TimeoutError:
                continue


def echo(served):
    """Answers each request with what arrived: request line, fields, body's length, trailers."""
    while message := served.request():
        seen = {
            "start": message.start,
            "fields": message.fields,
            "body": message.body.decode("latin-1"),
            "trailers": message.trailers,
            "chunked": message.chunked,
        }
        served.answer(json.dumps(seen).encode(), fields=["Content-Type: application/json"])
        if message.closes:
            return


def raw(response, end="close"):
    """A script that reads one request's head and answers with these bytes, then ends.

    `end`: close (orderly), reset, stall (stays open), keep (reads the next request).
    """

    def script(served):
        while True:
            if served.request() is None:
                return
            if response:
                served.send(response)
            if end == "keep":
                continue
            if end == "reset":
                served.reset()
            elif end == "stall":
                served.stall()
            return

    return script


class Origin:
    """Listens on a free loopback port, or at the path `unix`; runs `script` for each connection."""

    def __init__(self, script=echo, backlog=1024, unix=None, port=None):
        self.script = script
        self.lock = threading.Lock()
        self.requests = []
        self.failures = []
        self.connections = 0
        self.bytes_seen = 0
        self.closing = threading.Event()
        self._open = set()
        if unix:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(unix))
        else:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.port = port or ports.free_port()
            self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(backlog)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(settings.TEST_HANG)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            served = Served(connection, self)
            with self.lock:
                self.connections += 1
                self._open.add(served)
            threading.Thread(target=self._serve, args=(served,), daemon=True).start()

    def _serve(self, served):
        try:
            self.script(served)
        except (OSError, wire.Truncated):
            pass  # the peer left; tests look at what was received
        except Exception as failure:  # noqa: BLE001 - a bug of the script must not vanish
            self.failures.append(failure)
        finally:
            with self.lock:
                self._open.discard(served)
            served.close()

    def forget(self):
        """Starts the records anew."""
        with self.lock:
            self.requests.clear()
            self.connections = 0
            self.bytes_seen = 0

    def drop_all(self):
        """Ends every open connection, pooled ones too."""
        with self.lock:
            served = list(self._open)
        for one in served:
            try:
                one.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.closing.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.drop_all()


class Dropping:
    """An address that never answers a SYN: a listener whose backlog is full."""

    def __init__(self):
        self.port = ports.free_port()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(0)
        self._waiting = []
        # listen(0) holds one connection; from the next on, Linux drops the SYN (tcp(7),
        # tcp_abort_on_overflow). A connect that is still under way after a while proves it.
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self._waiting.append(one)
        time.sleep(0.2)
        states = [_tcp_state(one) for one in self._waiting]
        if 2 not in states:  # TCP_SYN_SENT
            raise RuntimeError(f"the backlog did not fill: {states}")

    def close(self):
        for one in self._waiting:
            one.close()
        self._listener.close()


def _tcp_state(connection):
    return struct.unpack("B", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0]
