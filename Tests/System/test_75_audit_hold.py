"""Layer 7: a response whose head and content arrive apart is one record, unless it is a stream.

The hold is set to its longest, one second, so that what decides is the kind of response, and not how
fast this machine is.
"""

import subprocess
import sys
import time

from harness import ports, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines

LIMIT = 65536


def apart(head, *parts, pause=0.02):
    """A script that answers with a head and then with each part, in packets of their own."""

    def script(served):
        while served.request():
            for piece in (head.encode(), *parts):
                served.send(piece)
                time.sleep(pause)
            if "Content-Length" not in head and "chunked" not in head:
                return

    return script


def with_length(size, *fields):
    lines = ["HTTP/1.1 200 OK", *fields, f"Content-Length: {size}", "", ""]
    return "\r\n".join(lines)


CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(size):
    return b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"


@on_both_engines
class Hold(SystemCase):
    def start(self, script, tls=None, **audit):
        self.log = AuditLog(self.folder / "audit")
        audit = {"directory": str(self.log.directory), "hold": "1s", **audit}
        return self.proxy_before(self.start_origin(script).port, tls=tls, audit=audit)

    def kinds(self, script, method="GET", tls=None, **audit):
        """The records of one request, in order."""
        proxy = self.start(script, tls=tls, **audit)
        connection = self.connect(proxy, tls=bool(tls))
        connection.send(wire.request(method, "/it"))
        response = connection.response(method)
        connection.close()
        proxy.settle({"exchanges": 0, "held_responses": 0})
        proxy.stop()
        self.assertEqual(self.log.verify()[0], 0)
        return self.log.ending_of("/it"), response

    def test_a_head_and_its_content_apart_are_one_record(self):
        kinds, response = self.kinds(apart(with_length(5), b"hello"))
        self.assertEqual((kinds, response.body), (["exchange"], b"hello"))

    def test_over_tls_too(self):
        kinds, response = self.kinds(apart(with_length(5), b"hello"), tls=self.site_tls)
        self.assertEqual((kinds, response.body), (["exchange"], b"hello"))

    def test_without_a_hold_they_are_two_records(self):
        kinds, _ = self.kinds(apart(with_length(5), b"hello", pause=0.3), hold="0s")
        self.assertEqual(kinds, ["begin", "end"])

    def test_a_hold_that_runs_out_begins(self):
        kinds, response = self.kinds(apart(with_length(5), b"hello", pause=0.3), hold="1ms")
        self.assertEqual((kinds, response.body), (["begin", "end"], b"hello"))

    def test_content_of_the_limit_is_held_and_one_byte_more_is_not(self):
        for size, expected in (
            (LIMIT - 1, ["exchange"]), (LIMIT, ["exchange"]), (LIMIT + 1, ["begin", "end"])
        ):
            for name, head, body in (
                ("length", with_length(size), b"x" * size), ("chunked", CHUNKED, chunks(size))
            ):
                with self.subTest(size=size, framing=name):
                    self.folder = self.folder / f"{name}-{size}"
                    self.folder.mkdir()
                    kinds, response = self.kinds(apart(head, body[:1000], body[1000:-5], body[-5:]))
                    self.assertEqual((kinds, len(response.body)), (expected, size))

    def test_streams_are_never_held(self):
        for field in (
            "Content-Type: text/event-stream", "Content-Type: Text/Event-Stream; charset=utf-8",
            "Content-Type: application/grpc", "Content-Type: application/grpc-web+proto",
            "X-Accel-Buffering: no", "x-accel-buffering: No",
        ):
            with self.subTest(field=field):
                self.folder = self.folder / str(abs(hash(field)))
                self.folder.mkdir()
                kinds, _ = self.kinds(apart(with_length(5, field), b"hello", pause=0.1))
                self.assertEqual(kinds, ["begin", "end"])

    def test_what_only_looks_like_a_stream_is_held(self):
        for field in ("Content-Type: text/plain", "X-Accel-Buffering: yes", "X-Accel-Buffering: "):
            with self.subTest(field=field):
                self.folder = self.folder / str(abs(hash(field)))
                self.folder.mkdir()
                kinds, _ = self.kinds(apart(with_length(5, field), b"hello"))
                self.assertEqual(kinds, ["exchange"])

    def test_a_response_cut_off_while_it_is_held_is_a_502(self):
        def script(served):
            served.request()
            served.send(with_length(5).encode())
            time.sleep(0.02)
            served.reset()

        kinds, response = self.kinds(script)
        self.assertEqual((kinds, response.status), (["exchange"], 502))

    def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(self):
        proxy = self.start(apart(with_length(5), b"hell", pause=0.5), hold="1s")
        connection = self.connect(proxy)
        connection.send(wire.get("/it"))
        proxy.settle({"held_responses": 1})
        connection.reset()
        proxy.settle({"exchanges": 0, "held_responses": 0})
        proxy.stop()
        self.assertEqual(len(self.log.requests()), 1)

    def test_content_that_goes_on_begins_and_ends(self):
        def script(served):
            served.request()
            served.send(CHUNKED)
            for _ in range(30):
                served.send(b"1\r\nx\r\n")
                time.sleep(0.05)
            served.send(b"0\r\n\r\n")

        kinds, response = self.kinds(script)
        self.assertEqual((kinds, response.body), (["begin", "end"], b"x" * 30))

    def test_many_small_pieces_are_held_together(self):
        """More pieces than a send has vectors."""
        pieces = [b"1\r\nx\r\n"] * 200 + [b"0\r\n\r\n"]
        kinds, response = self.kinds(apart(CHUNKED, *pieces, pause=0.001))
        self.assertEqual((kinds, response.body), (["exchange"], b"x" * 200))

    def test_a_hold_does_not_delay_what_is_whole(self):
        """Two hundred whole responses on one connection: held for a second each, they would hang."""
        proxy = self.start(lambda served: [served.answer() for _ in iter(served.request, None)])
        connection = self.connect(proxy)
        for _ in range(200):
            connection.send(wire.get("/it"))
            self.assertEqual(connection.response().status, 200)
        self.assertEqual(proxy.counters()["holds_expired"], 0)

    def test_pythons_own_server_makes_one_record_a_request(self):
        (self.folder / "www").mkdir()
        (self.folder / "www" / "page").write_bytes(b"p" * 30000)
        port = ports.free_port()
        server = subprocess.Popen(
            [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
            cwd=self.folder / "www", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.wait_for_listener(port)
        self.log = AuditLog(self.folder / "audit")
        proxy = self.proxy_before(
            port, audit={"directory": str(self.log.directory), "hold": "1s"})
        for _ in range(40):
            self.assertEqual(len(self.fetch(proxy, wire.get("/page")).body), 30000)
        proxy.stop()
        self.assertEqual({entry["kind"] for entry in self.log.requests()}, {"exchange"})

    def wait_for_listener(self, port):
        deadline = time.monotonic() + settings.HANG
        while time.monotonic() < deadline:
            try:
                wire.Wire.connect(port).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        self.fail("the server did not start")
