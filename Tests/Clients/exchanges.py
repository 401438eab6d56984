"""What is exchanged with each client: an origin that answers by path, and what a client must see.

A client tells each exchange in one line without times, ports and sizes of its own choice, so that the
lines of two engines can be compared and most clients share one expectation.
"""

import gzip
import hashlib
import threading
import time

TOGETHER = 100
"""Requests that `/together` holds until all of them are there."""

LARGE = bytes(range(256)) * 40_960
"""10 MiB."""

UPLOAD = b"0123456789" * 7_000
STREAM = [b"abcdefghij" * 1_000] * 30
"""Content of unknown length, as it is given to the client."""

TEXT = b"a text that is worth compressing, " * 50
COOKIES = ("a=1", "b=2", "c=3")
DRAINED = 60
"""Requests that are sent one after the other while the proxy is replaced."""


def digest(content):
    return hashlib.sha256(content).hexdigest()[:8]


def _upload(framing, content):
    return f"200 POST {framing} {len(content)} {digest(content)}"


EXPECTED = {
    "small": "200 hello",
    "large": f"200 {len(LARGE)} {digest(LARGE)}",
    "post": _upload("length", UPLOAD),
    "stream": _upload("chunked", b"".join(STREAM)),
    "head": "200 length 6, content 0",
    "missing": "404 nothing here",
    "redirect": "302 /small",
    "parallel": f"{TOGETHER} times 200, connections 1",
    "trailers": "200 body, x-sum 7",
    "early": "103 </style.css>, 200 page",
    "continue": "100, " + _upload("length", UPLOAD),
    "cancel": "cancelled, then 200 hello",
    "abort": "aborted, then 200 hello",
    "gzip": f"200 gzip {digest(TEXT)}",
    "cookies": "200 a=1; b=2; c=3",
    "idle": "200 hello, 200 hello, connections 1",
    "drain": f"{DRAINED} times 200",
}


class Together:
    """Holds requests until `TOGETHER` of them are there: they were on their way at the same time."""

    def __init__(self):
        self._barrier = threading.Barrier(TOGETHER)

    def __call__(self):
        try:
            self._barrier.wait(10)
            return "200 OK"
        except threading.BrokenBarrierError:
            return "503 Service Unavailable"

    def reset(self):
        self._barrier.reset()


together = Together()


def _echo(served, message):
    framing = "chunked" if message.chunked else "length"
    served.answer(f"{message.method} {framing} {len(message.body)} {digest(message.body)}".encode())


def _trailers(served, _message):
    served.send(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        "4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n"
    )


def _early(served, _message):
    served.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
    time.sleep(0.02)
    served.answer(b"page")


def _endless(served, _message):
    """Until the proxy leaves, because its client did; a tenth of a gibibyte is more than any client reads."""
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(7_000):
        served.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        time.sleep(0.001)
    raise OSError("nobody stopped it")


def _slow(served, _message):
    time.sleep(0.05)
    served.answer(b"ok")


def _grpc(served, message):
    """A unary method over HTTP/1.1: the message back, and the status in trailers."""
    size = len(message.body)
    served.send(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
        f"{size:x}\r\n".encode() + message.body + b"\r\n0\r\ngrpc-status: 0\r\n\r\n"
    )


PAGE = b"""<!doctype html><title>page</title><link rel=stylesheet href=/style.css><body>
<script>for (let i = 0; i < 30; i++) { const e = new Image(); e.src = `/image.svg?${i}`; document.body.append(e) }
</script>"""

_ANSWERS = {
    "/small": lambda s, m: s.answer(b"hello\n"),
    "/large": lambda s, m: s.answer(LARGE),
    "/echo": _echo,
    "/missing": lambda s, m: s.answer(b"nothing here\n", "404 Not Found"),
    "/moved": lambda s, m: s.answer(b"", "302 Found", ["Location: /small"]),
    "/together": lambda s, m: s.answer(b"", together()),
    "/trailers": _trailers,
    "/early": _early,
    "/gzip": lambda s, m: s.answer(gzip.compress(TEXT), fields=["Content-Encoding: gzip"]),
    "/cookies": lambda s, m: s.answer(" | ".join(m.all("cookie")).encode()),
    "/endless": _endless,
    "/slow": _slow,
    "/page": lambda s, m: s.answer(PAGE, fields=["Content-Type: text/html"]),
    "/style.css": lambda s, m: s.answer(b"body { color: rgb(1, 2, 3) }", fields=["Content-Type: text/css"]),
    "/image.svg": lambda s, m: s.answer(
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        fields=["Content-Type: image/svg+xml"],
    ),
    "/millrace.Test/Unary": _grpc,
}


def script(served):
    """Answers each request of a connection by its path."""
    while message := served.request():
        path = message.target.partition("?")[0]
        answer = _ANSWERS.get(path, _ANSWERS["/missing"])
        if message.method == "HEAD":
            served.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        else:
            answer(served, message)
