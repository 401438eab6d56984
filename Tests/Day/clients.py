"""The clients of a day: each a thread that asks at its own constant pace, and compares each response.

What counts as failed is a request that was not answered in full and as asked. A client sends one again only where HTTP
says that the peer has not processed it: an HTTP/2 stream above the last one that GOAWAY names, or one that was
refused (RFC 9113 8.7). An HTTP/1.1 connection that ends after a request was sent is a failure, as the proxy says
`Connection: close` before it ends one.
"""

import base64
import os
import select
import socket
import ssl
import subprocess
import threading
import time
import traceback

import exchanges
from exchanges import CLOSE, TEXT, Requests, WebSocket
from harness import certificates, http2, settings, wire

FAULTS = (OSError, AssertionError, ValueError, KeyError, AttributeError)


class Client(threading.Thread):
    """One request, or one batch, each `interval` seconds."""

    def __init__(self, name, ledger, interval):
        super().__init__(name=name, daemon=True)
        self.ledger = ledger
        self.interval = interval
        self.ends = threading.Event()

    def run(self):
        planned = time.monotonic()
        while not self.ends.wait(max(0, planned - time.monotonic())):
            try:
                self.turn()
            except Exception:  # noqa: BLE001 - a client that is gone would ask nothing, and so fail nothing
                self.ledger.fail(f"client {self.name}", traceback.format_exc())
                self.end()
            # What was missed while a response took its time is not caught up with.
            planned = max(planned + self.interval, time.monotonic() - self.interval)
        self.end()

    def turn(self):
        raise NotImplementedError

    def end(self):
        """Closes what is open."""

    def check(self, path, status, body, expected, began):
        if (status, body) == (200, expected):
            self.ledger.answer(self.name, path, time.monotonic() - began)
            return
        text = body[:120] if status != 200 else f"{len(body)} bytes of {len(expected)}"
        self.ledger.fail(f"{self.name} {path}", f"status {status}, {text}", began)


def has_ended(connection):
    """Whether a connection without a request on it was closed by its peer."""
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return False
    if not select.select([connection], [], [], 0)[0]:
        return False
    connection.settimeout(0.05)
    try:
        if isinstance(connection, ssl.SSLSocket):
            # A session ticket may have come; it is nothing that a read returns.
            return not connection.recv(1)
        return not connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(settings.HANG)


class HTTP1(Client):
    """HTTP/1.1, on a connection that is kept, or on a new one for each request."""

    def __init__(self, name, ledger, interval, port, tls=False, keeps=True, obeys_once=False, is_slow=False):
        super().__init__(name, ledger, interval)
        self.port = port
        self.context = certificates.authority().client() if tls else None
        self.keeps = keeps
        # Goes for good when it is told to leave.
        self.obeys_once = obeys_once
        self.requests = Requests(name, is_slow=is_slow)
        self.connection = None

    def turn(self):
        if self.connection and has_ended(self.connection.socket):
            self.ledger.close_idle(self.name)
            self.end()
        method, path, content, expected = next(self.requests)
        began = time.monotonic()
        try:
            if self.connection is None:
                self.connection = wire.Wire.connect(
                    self.port, tls=self.context, name="site.test" if self.context else None)
            fields = {} if self.keeps else {"Connection": "close"}
            self.connection.send(wire.request(method, path, body=content if method == "POST" else None, **fields))
            response = self.connection.response()
        except FAULTS as error:
            self.ledger.fail(f"{self.name} {path}", repr(error), began)
            return self.end()
        self.check(path, response.status, response.body, expected, began)
        if not self.keeps:
            return self.end()
        if response.closes:
            self.ledger.leave(self.name)
            self.end()
            if self.obeys_once:
                self.ends.set()

    def end(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class HTTP2(Client):
    """HTTP/2 over TLS on a connection that is kept, some streams at a time."""

    BATCH = 4

    def __init__(self, name, ledger, interval, port, is_slow=False):
        super().__init__(name, ledger, interval)
        self.port = port
        self.requests = Requests(name, is_slow=is_slow)
        self.client = None

    def turn(self):
        batch = []
        for _ in range(self.BATCH):
            method, path, content, expected = next(self.requests)
            if len(content) > 16_384:  # the windows are the business of other tests
                method, content = "GET", b""
                path = path.replace("/post/", "/get/")
                expected = exchanges.content(path)
            batch.append((method, path, content, expected))
        # As often as a process that leaves may meet it.
        for _ in range(4):
            batch = self.ask(batch)
            if not batch:
                return
        for _, path, *_ in batch:
            self.ledger.fail(f"{self.name} {path}", "sent back by four connections")

    def ask(self, batch):
        """- Returns: those that have to be sent again."""
        began = time.monotonic()
        try:
            self.take_what_came()
            if self.client is None:
                self.client = http2.Client(self.port, tls=True)
        except FAULTS as error:
            self.ledger.fail(f"{self.name} {batch[0][1]} and {len(batch) - 1} more", f"connect: {error!r}", began)
            self.end()
            return []
        client, streams, error = self.client, {}, None
        try:
            for request in batch:
                method, path, content, _ = request
                streams[client.next_stream] = request
                client.open(path, method, content=content, scheme="https")
        except FAULTS as fault:
            error = fault
        try:
            while any(self.is_expected(number) for number in streams) and client.read():
                pass
        except FAULTS as fault:
            error = error or fault
        repeated = batch[len(streams):]
        for number, request in streams.items():
            if self.is_repeatable(number):
                repeated.append(request)
            else:
                self.judge(number, request, error, began)
        if client.goaway is not None or client.closed or error:
            if client.goaway is not None:
                self.ledger.leave(self.name)
            self.end()
        return repeated

    def take_what_came(self):
        """PINGs and a GOAWAY that came while nothing was asked."""
        client = self.client
        if client is None:
            return
        while client.socket.pending() or select.select([client.socket], [], [], 0)[0]:
            client.socket.settimeout(0.2)
            try:
                more = client.read()
            except TimeoutError:
                break  # a session ticket
            finally:
                client.socket.settimeout(settings.HANG)
            if not more:
                break
        if client.goaway is not None:
            self.ledger.leave(self.name)
        elif client.closed:
            self.ledger.close_idle(self.name)
        if client.goaway is not None or client.closed:
            self.end()

    def is_expected(self, number):
        client = self.client
        stream = client.streams.get(number)
        above = client.goaway is not None and number > client.last_stream
        return stream is not None and not stream.is_over and not above

    def is_repeatable(self, number):
        client = self.client
        stream = client.streams.get(number)
        if stream and stream.ended:
            return False
        if client.goaway == http2.NO_ERROR and number > client.last_stream:
            self.ledger.repeat(self.name, "GOAWAY with a lower last stream")
            return True
        if stream and stream.reset == http2.REFUSED_STREAM:
            self.ledger.repeat(self.name, "REFUSED_STREAM")
            return True
        return False

    def judge(self, number, request, error, began):
        _, path, _, expected = request
        client = self.client
        stream = client.streams.pop(number, None)
        if stream and stream.ended and stream.heads:
            return self.check(path, stream.status, stream.content, expected, began)
        state = f"reset {stream.reset}, {len(stream.content)} bytes" if stream else "not opened"
        self.ledger.fail(
            f"{self.name} {path}",
            f"stream {number}: {state}, GOAWAY {client.goaway} {client.last_stream}, closed {client.closed}, {error!r}",
            began)

    def end(self):
        if self.client:
            self.client.close()
            self.client = None


class Curl(Client):
    """A client that has been in use for decades, now and then."""

    def __init__(self, name, ledger, interval, port):
        super().__init__(name, ledger, interval)
        self.port = port
        self.requests = Requests(name, has_uploads=False)

    def turn(self):
        _, path, _, expected = next(self.requests)
        version = "--http2" if path.split("/")[3].endswith(("0", "2", "4", "6", "8")) else "--http1.1"
        began = time.monotonic()
        done = subprocess.run(
            ["curl", "-sS", version, "--max-time", str(settings.HANG), "--cacert",
             certificates.authority().certificate, "--resolve", f"site.test:{self.port}:127.0.0.1",
             "-w", "%{stderr}%{http_code} %{http_version}", f"https://site.test:{self.port}{path}"],
            capture_output=True, check=False)
        said = done.stderr.decode(errors="replace")
        wanted = f"200 {version.removeprefix('--http')}"
        if done.returncode or said != wanted:
            return self.ledger.fail(f"{self.name} {path}", f"exit {done.returncode}: {said}, not {wanted}", began)
        self.check(path, 200, done.stdout, expected, began)


class StreamWire:
    """One stream of HTTP/2 as a `WebSocket` needs it."""

    def __init__(self, port, path):
        self.client = http2.Client(port, tls=True)
        self.client.until(lambda: self.client.settings is not None)
        self.number = self.client.open(
            path, "CONNECT", [(":protocol", "websocket"), ("sec-websocket-version", "13")], ends=False,
            scheme="https")
        self.stream = self.client.streams[self.number]
        self.client.until(lambda: self.stream.heads or self.stream.is_over)
        assert self.stream.status == 200, self.stream.status

    def send(self, data):
        self.client.send(http2.frame(http2.DATA, 0, self.number, data))

    def take(self, count):
        self.client.until(lambda: len(self.stream.content) >= count or self.stream.is_over)
        data, self.stream.content = self.stream.content[:count], self.stream.content[count:]
        if len(data) < count:
            raise wire.Truncated(f"the stream ended, reset {self.stream.reset}, GOAWAY {self.client.goaway}")
        return data

    def rest(self):
        self.client.until(lambda: self.stream.is_over)
        assert self.stream.ended, f"reset {self.stream.reset}"
        return self.stream.content

    def finish_sending(self):
        self.client.send(http2.frame(http2.DATA, http2.END_STREAM, self.number))

    def close(self):
        self.client.close()


class Tunnel(Client):
    """A WebSocket that stays open the whole time and echoes; `over`: plain, tls or h2."""

    def __init__(self, name, ledger, interval, port, over):
        super().__init__(name, ledger, interval)
        self.path = f"/lasting/{name}/0/websocket/0"
        self.messages = 0
        self.is_open = False
        if over == "h2":
            self.wire = StreamWire(port, self.path)
        else:
            context = certificates.authority().client() if over == "tls" else None
            self.wire = wire.Wire.connect(port, tls=context, name="site.test" if context else None)
            key = base64.b64encode(os.urandom(16)).decode()
            self.wire.send(wire.get(
                self.path, Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13",
                Sec_WebSocket_Key=key))
            head = self.wire.response_head()
            assert head.status == 101, head
        self.websocket = WebSocket(self.wire, masks=True)
        self.is_open = True

    def turn(self):
        message = os.urandom((0, 5, 125, 126, 1000, 8000)[self.messages % 6])
        began = time.monotonic()
        try:
            self.websocket.send(TEXT, message)
            answer = self.websocket.receive()
            assert answer == (TEXT, message), f"{len(message)} bytes came back as {len(answer[1])}"
            self.messages += 1
        except FAULTS as error:
            self.ledger.fail(f"tunnel {self.name}", f"after {self.messages} messages: {error!r}", began)
            self.is_open = False
            self.ends.set()

    def end(self):
        try:
            if self.is_open:
                self.websocket.send(CLOSE, b"\x03\xe8")
                assert self.websocket.receive() == (CLOSE, b"\x03\xe8")
                # In order: what is cut off would be an `abort` in the audit log.
                assert self.wire.rest() == b""
                self.wire.finish_sending()
        except FAULTS as error:
            self.ledger.fail(f"tunnel {self.name}", f"at its end: {error!r}")
        self.wire.close()
