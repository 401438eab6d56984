"""An HTTP/2 client of raw frames: it sends what a test says, in order or not, and keeps what came.

Its decoder of field blocks knows the static table and literals, which is all that the proxy writes.
"""

import socket
import struct
import time

from . import certificates, settings

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 5, 7, 8, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# RFC 7541, appendix A: names by index, and values where an entry has one.
STATIC = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
]


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value, prefix, bits=0):
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([bits | value])
    out = [bits | limit]
    value -= limit
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + [value])


def encode(fields):
    """Literals without indexing, names and values as they are."""
    block = b""
    for name, value in fields:
        name, value = name.encode("latin-1"), value.encode("latin-1")
        block += b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value
    return block


def decode(block):
    at = 0

    def number(prefix):
        nonlocal at
        limit = (1 << prefix) - 1
        value = block[at] & limit
        at += 1
        if value < limit:
            return value
        shift = 0
        while True:
            byte = block[at]
            at += 1
            value += (byte & 0x7F) << shift
            shift += 7
            if byte < 128:
                return value

    def text():
        nonlocal at
        assert not block[at] & 0x80, "the proxy writes no Huffman code"
        length = number(7)
        at += length
        return block[at - length : at].decode("latin-1")

    fields = []
    while at < len(block):
        first = block[at]
        if first & 0x80:
            fields.append(STATIC[number(7) - 1])
        elif first & 0xE0 == 0x20:
            assert number(5) == 0, "the proxy uses no dynamic table"
        else:
            assert first & 0xC0 != 0x40, "the proxy enters nothing into the dynamic table"
            index = number(4)
            name = STATIC[index - 1][0] if index else text()
            fields.append((name, text()))
    return fields


class Stream:
    """What came on one stream."""

    def __init__(self):
        self.heads = []
        self.content = b""
        self.ended = False
        self.reset = None
        self.trailers = None

    @property
    def status(self):
        return int(dict(self.heads[-1])[":status"]) if self.heads else None

    @property
    def fields(self):
        return dict(self.heads[-1])

    @property
    def is_over(self):
        return self.ended or self.reset is not None


class Client:
    """One connection. `window` is what each stream may send before it is consumed (`opens`)."""

    def __init__(self, port, tls=False, window=65_535, opens=True, receive_buffer=None):
        self.socket = socket.socket()
        self.socket.settimeout(settings.HANG)
        # A frame is not to wait for the acknowledgement of the one before it (40 ms, as every client knows).
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        # A window that is given back would hold the next request for a delayed acknowledgement.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = certificates.authority().client()
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="site.test")
            assert self.socket.selected_alpn_protocol() == "h2"
        self.opens = opens
        self.streams = {}
        self.next_stream = 1
        self.goaway = None
        self.last_stream = None
        self.settings = None
        self.pongs = []
        self.closed = False
        self._data = b""
        self._block = None
        self.send(PREFACE + frame(SETTINGS, payload=struct.pack(">HI", 4, window)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def open(self, path="/", method="GET", fields=(), content=b"", ends=True, scheme="http", authority="site.test"):
        """Sends a request. - Returns: its stream's number."""
        stream = self.next_stream
        self.next_stream += 2
        self.streams[stream] = Stream()
        head = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
        flags = END_HEADERS | (END_STREAM if ends and not content else 0)
        data = frame(HEADERS, flags, stream, encode([*head, *fields]))
        if content:
            data += self.pieces(stream, content, ends)
        self.send(data)
        return stream

    def pieces(self, stream, content, ends=True):
        """DATA frames; not more than the windows at the beginning, which are nobody's business here."""
        data = b""
        for at in range(0, len(content), 16_384):
            piece = content[at : at + 16_384]
            last = ends and at + 16_384 >= len(content)
            data += frame(DATA, END_STREAM if last else 0, stream, piece)
        return data

    def trailers(self, stream, fields):
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, encode(fields)))

    def window(self, stream, count):
        self.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", count)))

    def read(self):
        """Takes what comes next. - Returns: False at the connection's end."""
        if self.closed:
            return False
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return False
        data = self._data + data
        at = 0
        # The rest is moved once, not for each frame.
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

    def _take(self, kind, flags, number, payload):
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            self.settings = {
                struct.unpack(">HI", payload[i : i + 6])[0]: struct.unpack(">HI", payload[i : i + 6])[1]
                for i in range(0, len(payload), 6)
            }
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)
        elif kind == GOAWAY:
            self.last_stream, self.goaway = struct.unpack(">II", payload[:8])
        elif kind == RST_STREAM:
            self.streams.setdefault(number, Stream()).reset = struct.unpack(">I", payload)[0]
        elif kind == HEADERS:
            assert not stream.is_over, "a head on a stream that is over"
            if flags & END_HEADERS:
                self._head(stream, decode(payload), flags & END_STREAM)
            else:
                self._block = (number, payload, flags)
        elif kind == CONTINUATION:
            owner, block, first = self._block
            assert owner == number, "CONTINUATION of another stream"
            self._block = (owner, block + payload, first)
            if flags & END_HEADERS:
                self._head(self.streams[owner], decode(self._block[1]), first & END_STREAM)
                self._block = None
        elif kind == DATA:
            assert not stream.is_over, "content on a stream that is over"
            stream.content += payload
            stream.ended = bool(flags & END_STREAM)
            if self.opens and payload:
                self.window(0, len(payload))
                if not stream.ended:
                    self.window(number, len(payload))

    @staticmethod
    def _head(stream, fields, ends):
        if dict(fields).get(":status"):
            stream.heads.append(fields)
        else:
            stream.trailers = fields
        stream.ended = bool(ends)

    def until(self, condition, what="what was waited for did not come"):
        deadline = time.monotonic() + settings.HANG
        while not condition():
            assert time.monotonic() < deadline, what
            if not self.read():
                assert condition(), f"{what}: the connection ended, GOAWAY {self.goaway}"
                return

    def response(self, stream):
        """Waits for the end of a stream."""
        self.until(lambda: self.streams[stream].is_over, f"stream {stream} did not end")
        return self.streams[stream]

    def fetch(self, *arguments, **options):
        return self.response(self.open(*arguments, **options))

    def rest(self):
        """Reads to the connection's end."""
        while self.read():
            pass
