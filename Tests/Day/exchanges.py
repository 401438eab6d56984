"""What is asked of the origins and what they answer, so that each side can compute it from the request alone.

A path is `/UPSTREAM/CLIENT/NUMBER/KIND/SIZE`: its own, so that the audit log can be searched for it. `WebSocket` speaks
RFC 6455 as far as an echo needs it, from either side.
"""

import itertools
import os
import struct

PIECES = 5
"""Of a response that is sent slowly."""
PAUSE = 0.2
"""Between two of them, in seconds: such a response lasts over a reload or an upgrade."""

TEXT, CLOSE = 1, 8


def content(path):
    """The content of the response to a GET."""
    size = int(path.rpartition("/")[2])
    unit = path.encode() + b"\n"
    return (unit * (size // len(unit) + 1))[:size]


def upload(path):
    """The content of a POST, which the origin sends back reversed."""
    return content(path)


class Requests:
    """The requests of one client: (method, path, content, content of the response) without end."""

    SIZES = (0, 1, 128, 1500, 4096, 16_384, 20_000, 100_000)

    def __init__(self, client, has_uploads=True, is_slow=False):
        self.client = client
        self.has_uploads = has_uploads
        self.is_slow = is_slow
        self.numbers = itertools.count()

    def __iter__(self):
        return self

    def __next__(self):
        number = next(self.numbers)
        size = self.SIZES[number % len(self.SIZES)]
        if self.is_slow:
            path = f"/steady/{self.client}/{number}/slow/{size}"
            return "GET", path, b"", content(path)
        # What is not safe to repeat goes to servers that nobody kills.
        if self.has_uploads and number % 10 == 3:
            path = f"/steady/{self.client}/{number}/post/{size}"
            return "POST", path, upload(path), upload(path)[::-1]
        path = f"/{'fragile' if number % 3 == 0 else 'steady'}/{self.client}/{number}/get/{size}"
        return "GET", path, b"", content(path)


class WebSocket:
    """Frames over anything with `send(bytes)` and `take(count)`."""

    def __init__(self, wire, masks):
        self.wire = wire
        self.masks = masks

    def send(self, opcode, payload=b""):
        bit = 0x80 if self.masks else 0
        if len(payload) < 126:
            head = struct.pack(">BB", 0x80 | opcode, bit | len(payload))
        else:
            head = struct.pack(">BBH", 0x80 | opcode, bit | 126, len(payload))
        if self.masks:
            mask = os.urandom(4)
            head += mask
            payload = _masked(payload, mask)
        self.wire.send(head + payload)

    def receive(self):
        """(opcode, payload)."""
        first, second = self.wire.take(2)
        assert first & 0xF0 == 0x80, "a fragment, or bits that are reserved"
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self.wire.take(2))
        assert bool(second & 0x80) != self.masks, "the wrong side masks"
        mask = self.wire.take(4) if second & 0x80 else bytes(4)
        return first & 0x0F, _masked(self.wire.take(length), mask)

    def echo(self):
        """Sends back each message, up to the close."""
        while True:
            opcode, payload = self.receive()
            self.send(opcode, payload)
            if opcode == CLOSE:
                return


def _masked(payload, mask):
    length = len(payload)
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")
