"""One end of an HTTP/2 connection that breaks one rule at a time, and what the other end has to do then.

A case is a list of steps. Bytes are sent, each frame in a write (and over TLS in a record) of its own; a
function gets the `Peer` and sends, or waits for what is expected. A peer in trouble may not reset the
connection: whoever reads only to the first error would never see the GOAWAY, or take the reset for one.
"""

import socket
import struct
import time

from . import certificates, http2, settings
from .http2 import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY
from .http2 import CONTINUATION, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, encode, frame

PRIORITISED = 0x20
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 7, 8, 9
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = range(1, 6)
CODES = {
    0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 3: "FLOW_CONTROL_ERROR",
    5: "STREAM_CLOSED", 6: "FRAME_SIZE_ERROR", 7: "REFUSED_STREAM", 8: "CANCEL",
    9: "COMPRESSION_ERROR", 11: "ENHANCE_YOUR_CALM"}
DUMMY = "x" * 4000
LARGEST_WINDOW = (1 << 31) - 1


# Frames

def data(stream, content=b"test", ends=True, padding=None):
    flags = END_STREAM if ends else 0
    if padding is None:
        return frame(DATA, flags, stream, content)
    return frame(DATA, flags | PADDED, stream, bytes([padding]) + content + bytes(padding))


def headers(stream, block, ends=True, whole=True, padding=None, priority=None):
    flags = (END_STREAM if ends else 0) | (END_HEADERS if whole else 0)
    if priority is not None:
        block = dependency(*priority) + block
        flags |= PRIORITISED
    if padding is not None:
        block = bytes([padding]) + block + bytes(padding)
        flags |= PADDED
    return frame(HEADERS, flags, stream, block)


def continuation(stream, fields=(("x-dummy0", DUMMY),), whole=True):
    return frame(CONTINUATION, END_HEADERS if whole else 0, stream, encode(fields))


def dependency(on, exclusive=False, weight=255):
    return struct.pack(">IB", on | (1 << 31 if exclusive else 0), weight)


def priority(stream, on=0, exclusive=False, weight=255):
    return frame(PRIORITY, 0, stream, dependency(on, exclusive, weight))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def setting(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window(stream, count):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", count))


def ping(content=b"in order", flags=0, stream=0):
    return frame(PING, flags, stream, content)


def goaway(code, last=0, text=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


def push(stream, promised, block):
    return frame(PUSH_PROMISE, END_HEADERS, stream, struct.pack(">I", promised) + block)


class Peer:
    """Our end of one connection, as client (`connect`) or as server (`accepted`)."""

    def __init__(self, sock, is_client=False):
        self.socket = sock
        self.is_client = is_client
        self.settings = None
        self.seen = []
        self.ended = None
        self._data = b""

    @classmethod
    def connect(cls, port, tls):
        sock = socket.create_connection(("127.0.0.1", port), timeout=settings.HANG)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = certificates.authority().client()
            context.set_alpn_protocols(["h2"])
            # Without it an end of the socket alone, within TLS a truncation, passes for an orderly one.
            sock = context.wrap_socket(sock, server_hostname="site.test", suppress_ragged_eofs=False)
            assert sock.selected_alpn_protocol() == "h2"
        return cls(sock, is_client=True)

    def send(self, content):
        """Frame by frame: what is whole in one packet is not all that comes in life."""
        while content:
            count = 9 + int.from_bytes(content[:3], "big") if len(content) >= 9 else len(content)
            self.write(content[:count])
            content = content[count:]

    def write(self, content):
        try:
            self.socket.sendall(content)
        except TimeoutError:
            raise
        except OSError:
            pass  # its last words tell more

    def shake_hands(self):
        """As a client: preface, both SETTINGS, both acknowledgements."""
        self.write(http2.PREFACE)
        self.send(setting((INITIAL_WINDOW, 65_535)))
        self.until(lambda kind, flags, *_: kind == SETTINGS and not flags & ACK)
        self.settings = dict(struct.iter_unpack(">HI", self.seen[-1][3]))
        self.send(frame(SETTINGS, ACK))
        self.until(lambda kind, flags, *_: kind == SETTINGS and flags & ACK)

    # Reading

    def next(self):
        """The next frame (kind, flags, stream, payload); None at the end, for which see `ended`."""
        while True:
            if len(self._data) >= 9:
                length = int.from_bytes(self._data[:3], "big")
                if len(self._data) >= 9 + length:
                    kind, flags, stream = struct.unpack(">BBI", self._data[3:9])
                    found = (kind, flags, stream, self._data[9 : 9 + length])
                    self._data = self._data[9 + length :]
                    self.seen.append(found)
                    return found
            try:
                more = self.socket.recv(1 << 17)
            except TimeoutError:
                raise
            except OSError as error:
                self.ended = f"broken ({error})"
                return None
            if not more:
                self.ended = "torn" if self._data else "in order"
                return None
            self._data += more

    def until(self, wanted):
        deadline = time.monotonic() + settings.HANG
        while time.monotonic() < deadline:
            found = self.next()
            assert found is not None, f"the end came first, {self.ended}: {self.story()}"
            if wanted(*found):
                return found
        raise AssertionError(f"what is expected did not come: {self.story()}")

    def story(self):
        names = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING",
                 "GOAWAY", "WINDOW_UPDATE", "CONTINUATION")
        told = []
        for kind, flags, stream, payload in self.seen:
            name = names[kind] if kind < len(names) else f"type {kind}"
            code = ""
            if kind in (RST_STREAM, GOAWAY):
                code = " " + CODES.get(struct.unpack(">I", payload[-4:] if kind == RST_STREAM else payload[4:8])[0], "?")
            told.append(f"{name}({stream}, {flags:#x}, {len(payload)}){code}")
        return ", ".join(told) or "nothing"

    def closes(self):
        """The end of the connection, and in order: no reset, no half a frame."""
        while self.next() is not None:
            pass
        assert self.ended == "in order", f"ended {self.ended}: {self.story()}"


# What is expected

def connection_error(*codes):
    def step(peer):
        found = peer.until(lambda kind, *_: kind == GOAWAY)
        code = struct.unpack(">I", found[3][4:8])[0]
        wanted = [CODES[code] for code in codes]
        assert code in codes, f"GOAWAY {CODES.get(code, code)} instead of {wanted}"
        if peer.is_client:
            peer.closes()
        else:
            # To servers the proxy owes no time in which it reads what they still send.
            while peer.next() is not None:
                pass

    return step


def stream_error(*codes, stream=1):
    """The error of the stream, or of the whole connection; both are allowed everywhere (RFC 9113 5.4)."""

    def step(peer):
        kind, _, number, payload = peer.until(lambda kind, *_: kind in (GOAWAY, RST_STREAM))
        code = struct.unpack(">I", payload[4:8] if kind == GOAWAY else payload)[0]
        wanted = [CODES[code] for code in codes]
        assert code in codes, f"{CODES.get(code, code)} instead of {wanted}: {peer.story()}"
        assert kind == GOAWAY or number == stream or stream is None, f"stream {number}"

    return step


def closes(peer):
    peer.closes()


def answered(stream=1):
    def step(peer):
        found = peer.until(lambda kind, *_: kind in (HEADERS, GOAWAY, RST_STREAM))
        assert found[0] == HEADERS and found[2] == stream, peer.story()

    return step


def stream_ends(peer):
    peer.until(lambda kind, flags, *_: kind in (DATA, HEADERS) and flags & END_STREAM)


def acknowledged(peer):
    peer.until(lambda kind, flags, *_: kind == SETTINGS and flags & ACK)


def content_of(length):
    """The next DATA frame's length."""

    def step(peer):
        found = peer.until(lambda kind, *_: kind == DATA)
        assert len(found[3]) == length, f"{len(found[3])} bytes instead of {length}"

    return step


def pong(peer, content=b"in order"):
    """Everything before it was accepted."""
    peer.send(ping(content))
    found = peer.until(lambda kind, *_: kind in (PING, GOAWAY))
    assert found[0] == PING and found[1] & ACK and found[3] == content, peer.story()


def ponged(content):
    def step(peer):
        found = peer.until(lambda kind, *_: kind in (PING, GOAWAY))
        assert found[0] == PING and found[1] & ACK and found[3] == content, peer.story()

    return step


def run(peer, steps):
    for step in steps:
        content = step(peer) if callable(step) else step
        if content:
            peer.send(content)
