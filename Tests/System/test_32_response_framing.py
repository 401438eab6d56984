"""Layer 3: origins that break the rules: 502 where nothing was sent yet, else a visible cut.

A response that breaks framing must never be repaired into something that looks whole, nor may its
left-over bytes become the answer to somebody else's request.
"""

import unittest

from harness import wire
from harness.case import SharedProxyCase, SystemCase, add_table, on_both_engines
from harness.origin import raw


def response(*lines, start="HTTP/1.1 200 OK", body=""):
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1") + body.encode("latin-1")


HEADS = [
    ("garbage", bytes(range(128, 256)) * 4),
    ("garbage with line ends", b"\r\n\r\nwhat\r\n\r\n"),
    ("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x46"),
    ("nothing, closed", b""),
    ("half a status line", b"HTTP/1.1 20"),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le"),
    ("bare LF everywhere", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("status of two digits", response("Content-Length: 0", start="HTTP/1.1 20 OK")),
    ("status of four digits", response("Content-Length: 0", start="HTTP/1.1 2000 OK")),
    ("status 099", response("Content-Length: 0", start="HTTP/1.1 099 OK")),
    ("status that is no number", response("Content-Length: 0", start="HTTP/1.1 2x0 OK")),
    ("version 2.0", response("Content-Length: 0", start="HTTP/2.0 200 OK")),
    ("no version", response("Content-Length: 0", start="200 OK")),
    ("space before the colon", response("Content-Length : 2", body="ok")),
    ("folded line", response("X: a", " b", "Content-Length: 2", body="ok")),
    ("NUL in a value", response("X: a\x00b", "Content-Length: 2", body="ok")),
    ("two Content-Lengths", response("Content-Length: 2", "Content-Length: 3", body="ok!")),
    (
        "Content-Length and chunked",
        response("Content-Length: 2", "Transfer-Encoding: chunked", body="0\r\n\r\n"),
    ),
    ("Content-Length that is no number", response("Content-Length: two", body="ok")),
    ("unknown transfer coding", response("Transfer-Encoding: gzip", body="ok")),
    ("chunked twice", response("Transfer-Encoding: chunked, chunked", body="0\r\n\r\n")),
    ("a head of a megabyte", response("X: " + "v" * (1 << 20), "Content-Length: 0")),
    ("a thousand fields", response(*[f"X-{n}: v" for n in range(2000)], "Content-Length: 0")),
    ("101 that nobody asked for", response("Upgrade: x", start="HTTP/1.1 101 Switching Protocols")),
    ("interim responses only", response(start="HTTP/1.1 103 Early Hints")),
]


class ByRow(SharedProxyCase):
    """The origin's script is changed for each row; retries are off so that one row is one try."""

    def make_settings(self, origin):
        return self.settings_for(origin.port, upstream={"retries": {"attempts": 0}})

    def setUp(self):
        super().setUp()
        self.addCleanup(self.origin.drop_all)


@on_both_engines
class RefusedHeads(ByRow):
    def check_row(self, data):
        for end in ("close", "reset"):
            with self.subTest(end=end):
                self.origin.script = raw(data, end)
                connection = self.connect(self.proxy).send(wire.get("/bad"))
                final = connection.response()
                self.assertEqual(final.status, 502)
                # The client did nothing wrong: its connection goes on, or is closed and says so.
                if not final.closes:
                    self.assertEqual(connection.send(wire.get("/bad")).response().status, 502)


CUTS = [
    ("length, closed early", response("Content-Length: 10", body="12345")),
    ("length, no content", response("Content-Length: 10")),
    ("chunk that is short", response("Transfer-Encoding: chunked", body="a\r\n12345")),
    ("no last chunk", response("Transfer-Encoding: chunked", body="5\r\n12345\r\n")),
    (
        "chunk size that is no number",
        response("Transfer-Encoding: chunked", body="5\r\n12345\r\nx\r\n"),
    ),
    (
        "chunk without its line end",
        response("Transfer-Encoding: chunked", body="5\r\n12345x0\r\n\r\n"),
    ),
    (
        "chunk size that overflows",
        response("Transfer-Encoding: chunked", body="5\r\n12345\r\n" + "F" * 17 + "\r\n"),
    ),
    ("bad trailer", response("Transfer-Encoding: chunked", body="5\r\n12345\r\n0\r\nX y\r\n\r\n")),
]


@on_both_engines
class CutBodies(ByRow):
    """The client can tell that it did not get everything; or it got 502 before anything."""

    def check_row(self, data):
        for end in ("close", "reset"):
            with self.subTest(end=end):
                self.origin.script = raw(data, end)
                connection = self.connect(self.proxy).send(wire.get("/cut"))
                try:
                    final = connection.response()
                except (wire.Truncated, ConnectionResetError):
                    continue
                self.assertEqual(final.status, 502, "a cut response looked whole")


EXTRAS = [
    (
        "bytes after the length",
        response("Content-Length: 2", body="okHTTP/1.1 200 OK\r\nX: evil\r\n\r\n"),
    ),
    (
        "bytes after the last chunk",
        response(
            "Transfer-Encoding: chunked",
            body="2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nevil",
        ),
    ),
    (
        "a second response at once",
        response("Content-Length: 2", body="ok") + response("Content-Length: 4", body="evil"),
    ),
]


@on_both_engines
class ExtraBytes(ByRow):
    """What comes after a response belongs to nobody, least of all to the next request."""

    def check_row(self, data):
        def script(served):
            if served.request():
                served.send(data)
                while message := served.request():
                    served.answer(f"late {message.target}".encode())

        self.origin.script = script
        for number in range(10):
            final = self.fetch(self.proxy, wire.get(f"/{number}"))
            self.assertEqual((final.status, final.body), (200, b"ok"))


@on_both_engines
class NoContent(SystemCase):
    def test_content_after_204_304_and_head_is_not_the_next_answer(self):
        table = [
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n", 304),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n", 200),
        ]
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        for method, first, status in table:
            with self.subTest(method=method, status=status):
                proxy = self.proxy_before(self.start_origin(raw(first + evil, "keep")).port)
                connection = self.connect(proxy)
                for _ in range(3):
                    final = connection.send(wire.request(method)).response(method)
                    self.assertEqual(final.status, status)
                    self.assertNotIn(b"evil", bytes(connection.buffer))


for _name, _cases in list(globals().items()):
    for _class, _table, _prefix in (
        ("RefusedHeads_", HEADS, "refuses"),
        ("CutBodies_", CUTS, "shows"),
        ("ExtraBytes_", EXTRAS, "drops"),
    ):
        if _name.startswith(_class):
            add_table(_cases, _table, _prefix)

if __name__ == "__main__":
    unittest.main()
