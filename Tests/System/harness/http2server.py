"""An HTTP/2 server of raw frames: a script for each connection says what is sent, in order or not."""

import socket
import ssl
import struct
import threading
import time

from . import certificates, http2, settings
from .origin import Served
from .http2 import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS
from .http2 import CONTINUATION, WINDOW_UPDATE, encode, frame


class Request:
    """What came on one stream."""

    def __init__(self, stream, fields):
        self.stream = stream
        self.fields = fields
        self.head = dict(fields)
        self.content = b""
        self.trailers = None
        self.ended = False
        self.reset = None

    def values(self, name):
        return [value for key, value in self.fields if key == name]


class Gone(Exception):
    """The proxy has ended the connection."""


class Connection:
    """One connection, as its script sees it."""

    def __init__(self, sock, server, window, streams, connect, greets):
        self.socket = sock
        self.server = server
        self.opens = True
        self.requests = {}
        self.order = []
        self.settings = None
        self.goaway = None
        self.pongs = []
        self.pings = []
        self.answers = True
        self.sends = 0
        self._data = b""
        self.windows = {0: 65_535}
        self._block = None
        entries = struct.pack(">HI", 4, window)
        if streams is not None:
            entries += struct.pack(">HI", 3, streams)
        if connect is not None:
            entries += struct.pack(">HI", 8, connect)
        self.entries = entries
        if greets:
            self.greet()

    def greet(self):
        self.send(frame(SETTINGS, payload=self.entries))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def head(self, stream, status=200, fields=(), ends=False):
        self.send(
            frame(
                HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream,
                encode([(":status", str(status)), *fields])))

    def data(self, stream, content, ends=True):
        out = b""
        pieces = [content[i : i + 16_384] for i in range(0, len(content), 16_384)] or [b""]
        for piece in pieces:
            out += frame(DATA, END_STREAM if ends and piece is pieces[-1] else 0, stream, piece)
        self.send(out)

    def answer(self, request, content=b"ok\n", status=200, fields=()):
        """A whole response, as far as the windows at a connection's beginning go."""
        self.head(
            request.stream, status, [("content-length", str(len(content))), *fields],
            ends=not content)
        if content:
            self.data(request.stream, content)

    def trailers(self, stream, fields):
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, encode(fields)))

    def reset(self, stream, code):
        self.send(frame(RST_STREAM, 0, stream, struct.pack(">I", code)))

    def goes_away(self, last, code=0):
        self.send(frame(GOAWAY, 0, 0, struct.pack(">II", last, code)))

    def room(self, stream):
        """Bytes that may be sent on a stream now."""
        return min(self.windows[0], self.windows.setdefault(stream, self.settings.get(4, 65_535)))

    def spend(self, stream, count):
        self.windows[0] -= count
        self.windows[stream] -= count

    def window(self, stream, count):
        self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", count)))

    # Reading

    def read(self):
        """Takes what comes next. - Returns: False at the connection's end."""
        try:
            data = self.socket.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            return False
        self._data += data
        if self.settings is None and not self._preface():
            return True
        data, self._data = self._data, b""
        at = 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", data, at + 3)
            payload = data[at + 9 : at + 9 + length]
            at += 9 + length
            self._take(kind, flags, stream, payload)
        self._data = data[at:]
        return True

    def _preface(self):
        if len(self._data) < len(http2.PREFACE):
            return False
        assert self._data.startswith(http2.PREFACE), self._data[:40]
        self._data = self._data[len(http2.PREFACE) :]
        self.settings = {}
        return True

    def _take(self, kind, flags, number, payload):
        request = self.requests.get(number)
        if kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[i : i + 6])
                self.settings[key] = value
            self.send(frame(SETTINGS, ACK))
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
            else:
                self.pings.append(payload)
                if self.answers:
                    self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            before = self.windows.get(number, self.settings.get(4, 65_535))
            self.windows[number] = before + struct.unpack(">I", payload)[0]
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
        elif kind == RST_STREAM:
            assert request, "a reset of a stream that was never opened"
            request.reset = struct.unpack(">I", payload)[0]
        elif kind == HEADERS:
            if flags & END_HEADERS:
                self._head(number, payload, flags)
            else:
                self._block = (number, payload, flags)
        elif kind == CONTINUATION:
            owner, block, first = self._block
            self._block = (owner, block + payload, first)
            if flags & END_HEADERS:
                self._head(owner, block + payload, first)
        elif kind == DATA:
            request.content += payload
            self.server.bytes_seen += len(payload)
            request.ended = bool(flags & END_STREAM)
            if self.opens and payload:
                self.window(0, len(payload))
                if not request.ended:
                    self.window(number, len(payload))

    def _head(self, number, block, flags):
        fields = http2.decode(block)
        request = self.requests.get(number)
        if request:
            request.trailers = fields
        else:
            assert not self.order or number > self.order[-1], "streams in the order of their numbers"
            request = self.requests[number] = Request(number, fields)
            self.order.append(number)
            with self.server.lock:
                self.server.requests.append(request)
        request.ended = bool(flags & END_STREAM)

    def until(self, condition):
        deadline = time.monotonic() + settings.HANG
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not come"
            if not self.read():
                if condition():
                    return
                raise Gone

    def request(self, index=None, whole=True):
        """The next request, or the one at `index`."""
        if index is None:
            index = self.sends
            self.sends += 1
        self.until(lambda: len(self.order) > index)
        request = self.requests[self.order[index]]
        if whole:
            self.until(lambda: request.ended or request.reset is not None)
        return request

    def rest(self):
        while self.read():
            pass


def answer_all(connection):
    """Answers whatever comes."""
    while True:
        request = connection.request()
        if request.reset is None:
            connection.answer(request)


class Server:
    """Listens on a free loopback port; runs `script` for each connection, which for TLS is one of HTTP/2 unless
    `http1` was chosen and has a script of its own. `connect`: what SETTINGS_ENABLE_CONNECT_PROTOCOL is; `greets`:
    SETTINGS are sent without the script's doing."""

    def __init__(self, script=answer_all, tls=False, window=65_535, streams=None, alpn=("h2",),
                 connect=None, greets=True, http1=None):
        self.script = script
        self.lock = threading.Lock()
        self.requests = []
        self.failures = []
        self.connections = 0
        self.bytes_seen = 0
        self._options = window, streams, connect, greets
        self._http1 = http1
        self.chosen = []
        self.closing = threading.Event()
        self._context = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificates.site())
            if alpn:
                self._context.set_alpn_protocols(list(alpn))
        self._open = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.settimeout(settings.HANG)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(sock)
        try:
            if self._context:
                self._open.discard(sock)
                sock = self._context.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            chosen = sock.selected_alpn_protocol() if self._context else "h2"
            with self.lock:
                self.connections += 1
                self.chosen.append(chosen)
            if chosen != "h2":
                return self._http1(Served(sock, self))
            self.script(Connection(sock, self, *self._options))
        except (Gone, ssl.SSLError, ConnectionError):
            pass
        except Exception as error:  # what a test is to be told
            self.failures.append(error)
        finally:
            sock.close()

    def close(self):
        self.closing.set()
        try:
            # The thread that accepts still holds it.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
