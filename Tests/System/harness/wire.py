"""HTTP/1.1 on plain sockets, for what no polite client can say or see.

`Wire` sends bytes as they are and reads messages strictly by their own rules; it shares no code
with the proxy. A response that breaks the framing of RFC 9112 raises `BadMessage`, an early end
`Truncated`.
"""

import dataclasses
import re
import socket
import ssl
import struct
import time

from . import settings


class BadMessage(AssertionError):
    """A message that breaks the rules of RFC 9112."""


class Truncated(AssertionError):
    """The connection ended in the middle of a message."""


@dataclasses.dataclass
class Message:
    """A request or response as it stood on the wire."""

    start: str
    fields: list
    body: bytes = b""
    trailers: list = dataclasses.field(default_factory=list)
    interim: list = dataclasses.field(default_factory=list)
    chunked: bool = False

    @property
    def status(self):
        return int(self.start.split(" ", 2)[1])

    @property
    def method(self):
        return self.start.split(" ", 1)[0]

    @property
    def target(self):
        return self.start.split(" ")[1]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return ", ".join(values) if values else default

    def tokens(self, name):
        return [part.strip().lower() for part in (self.get(name) or "").split(",") if part.strip()]

    @property
    def closes(self):
        return "close" in self.tokens("connection") or (
            "HTTP/1.0" in self.start and "keep-alive" not in self.tokens("connection")
        )


class Wire:
    """One side of a connection."""

    def __init__(self, connection):
        self.socket = connection
        self.buffer = bytearray()
        self.received = 0

    @classmethod
    def connect(
        cls, port, address="127.0.0.1", source=None, receive_buffer=None, tls=None, name=None
    ):
        connection = socket.socket()
        connection.settimeout(settings.HANG)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            connection.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
            connection.bind((source, 0))
        connection.connect((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            connection = tls.wrap_socket(connection, server_hostname=name)
        return cls(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Sending and ending

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def send_slowly(self, data, size=1, pause=0.02):
        """`size` bytes at a time."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            time.sleep(pause)

    def finish_sending(self):
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.unwrap()
        else:
            self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends with a RST segment."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # Reading

    def fill(self):
        """Reads once; False at the end of the stream."""
        data = self.socket.recv(65536)
        self.received += len(data)
        self.buffer += data
        return bool(data)

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise Truncated(
                    f"end after {len(self.buffer)} of {count} bytes: {self.buffer[:80]!r}"
                )
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def line(self):
        searched = 0
        while (end := self.buffer.find(b"\r\n", max(0, searched - 1))) < 0:
            searched = len(self.buffer)
            if searched > 1 << 20:
                raise BadMessage("a line of more than 1 MiB")
            if not self.fill():
                raise Truncated(f"end within a line: {bytes(self.buffer[:80])!r}")
        text = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        if b"\n" in text or b"\r" in text:
            raise BadMessage(f"bare CR or LF in {text[:80]!r}")
        return text.decode("latin-1")

    def head(self):
        """A start line and its fields."""
        start = self.line()
        return Message(start, self.fields())

    def fields(self):
        result = []
        while line := self.line():
            name, colon, value = line.partition(":")
            if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise BadMessage(f"not a field line: {line!r}")
            result.append((name, value.strip(" \t")))
        return result

    def _length(self, message):
        lengths = message.all("content-length")
        if len(lengths) > 1 or lengths and message.all("transfer-encoding"):
            raise BadMessage(f"two framings: {message.fields}")
        if lengths and not re.fullmatch(r"\d+", lengths[0]):
            raise BadMessage(f"Content-Length {lengths[0]!r}")
        return int(lengths[0]) if lengths else None

    def chunks(self):
        """The parts of a chunked body; afterwards `self.trailers` holds the trailer section."""
        while True:
            size, _, _ = self.line().partition(";")
            if not re.fullmatch(r"[0-9A-Fa-f]+", size.strip()):
                raise BadMessage(f"chunk size {size!r}")
            if int(size, 16) == 0:
                self.trailers = self.fields()
                return
            yield self.take(int(size, 16))
            if self.take(2) != b"\r\n":
                raise BadMessage("no CRLF after a chunk")

    def read_body(self, message, is_response):
        """Fills in the body by the message's own framing."""
        length = self._length(message)
        if message.all("transfer-encoding"):
            if message.tokens("transfer-encoding") != ["chunked"]:
                raise BadMessage(f"Transfer-Encoding {message.get('transfer-encoding')}")
            message.chunked = True
            message.body = b"".join(self.chunks())
            message.trailers = self.trailers
        elif length is not None:
            message.body = self.take(length)
        elif is_response:
            message.body = self.rest()
        return message

    def request(self):
        """A whole request, or None where the stream ends before its first byte."""
        if not self.buffer and not self.fill():
            return None
        return self.read_body(self.head(), is_response=False)

    def response(self, method="GET"):
        """A whole final response, with the interim ones that came before it."""
        interim = []
        while True:
            message = self.response_head()
            if message.status >= 200:
                break
            interim.append(message)
        message.interim = interim
        if method != "HEAD" and message.status not in (204, 304):
            self.read_body(message, is_response=True)
        return message

    def response_head(self):
        message = self.head()
        if not re.fullmatch(r"HTTP/1\.[01] [1-5]\d\d .*", message.start):
            raise BadMessage(f"status line {message.start!r}")
        return message

    def rest(self):
        """All that is left until the stream ends."""
        while self.fill():
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def is_closed_by_peer(self):
        """True once the stream ends with nothing more in it; a reset is an end too."""
        if self.buffer:
            return False
        try:
            return not self.fill()
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            return True


def get(path="/", host="site.test", **fields):
    """A plain GET as bytes; `fields` in order, underscores as hyphens."""
    return request("GET", path, host, **fields)


def request(method, path="/", host="site.test", body=None, **fields):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")
