"""Event streams: the server writes an event only when the client has said, beside the connection, that it has the one
before. A byte that is held back anywhere stops both for ever, which is what `settings.HANG` finds; no clock decides.
"""

import itertools
import queue

from harness import certificates, http2, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.http2 import Client
from harness.http2server import Gone, Server
from harness.tlsorigin import TLSOrigin

EVENTS = 8
TYPES = {"events": "text/event-stream", "marked": "application/json"}


def event(number):
    # One of a few bytes and one that is larger than what is copied beside others.
    return f"id: {number}\ndata: {'x' * (4000 if number % 2 else 3)}\n\n".encode()


@on_both_engines
class EventStreams(SystemCase):
    def setUp(self):
        super().setUp()
        self.confirmed = queue.Queue()

    def wait_for(self, number):
        """What the server does before it writes what comes behind event `number`; -1: the head."""
        found = self.confirmed.get(timeout=settings.HANG)
        if found is None:
            raise Gone
        assert found == number, f"{found} was confirmed, not {number}"

    # Servers

    @staticmethod
    def fields(path):
        kind = path.strip("/")
        return [("Content-Type", TYPES[kind]), *([("X-Accel-Buffering", "no")] if kind == "marked" else [])]

    def http1(self, chunked):
        def script(served):
            while request := served.request():
                lines = "".join(f"{name}: {value}\r\n" for name, value in self.fields(request.target))
                lines += "Transfer-Encoding: chunked\r\n" if chunked else "Connection: close\r\n"
                served.send(f"HTTP/1.1 200 OK\r\n{lines}\r\n")
                for number in range(EVENTS):
                    self.wait_for(number - 1)
                    data = event(number)
                    served.send(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
                self.wait_for(EVENTS - 1)
                if not chunked:
                    return
                served.send("0\r\n\r\n")

        return script

    def http2(self, connection):
        while True:
            request = connection.request()
            connection.head(
                request.stream, 200,
                [(name.lower(), value) for name, value in self.fields(request.head[":path"])])
            for number in range(EVENTS):
                self.wait_for(number - 1)
                connection.data(request.stream, event(number), ends=False)
            self.wait_for(EVENTS - 1)
            connection.data(request.stream, b"")

    # Clients

    def read_by_http1(self, proxy, tls, path):
        connection = self.connect(proxy, tls=tls)
        connection.send(wire.get(path))
        head = connection.response_head()
        self.assertEqual(head.status, 200)
        content = bytearray()
        chunks = connection.chunks()
        self.confirmed.put(-1)
        for number in range(EVENTS):
            wanted = event(number)
            while len(content) < len(wanted):
                content += next(chunks)
            self.assertSameBytes(bytes(content), wanted)
            content.clear()
            self.confirmed.put(number)
        self.assertEqual(list(chunks), [])
        connection.close()

    def read_by_http2(self, proxy, tls, path):
        with Client(proxy.port, tls=tls) as client:
            stream = client.open(path, scheme="https" if tls else "http")
            seen = client.streams[stream]
            client.until(lambda: seen.heads)
            self.assertEqual(seen.status, 200)
            self.confirmed.put(-1)
            for number in range(EVENTS):
                wanted = event(number)
                client.until(lambda: len(seen.content) >= len(wanted))
                self.assertSameBytes(seen.content, wanted)
                seen.content = b""
                self.assertFalse(seen.is_over)
                self.confirmed.put(number)
            client.response(stream)
            self.assertEqual((seen.content, seen.reset), (b"", None))

    # All pairs

    def check(self, port, upstream=None):
        for tls, audited in itertools.product((False, True), repeat=2):
            config = self.settings_for(port, tls=self.site_tls if tls else None, upstream=upstream)
            config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
            if audited:
                # What is held for its end would be held for this long.
                log = AuditLog(self.folder / f"audit-{tls}")
                config["audit"] = {
                    "directory": str(log.directory), "durability": "before_response", "hold": "1s"}
            proxy = self.start_proxy(config)
            for kind, read in itertools.product(TYPES, (self.read_by_http1, self.read_by_http2)):
                with self.subTest(tls=tls, audited=audited, kind=kind, read=read.__name__):
                    read(proxy, tls, f"/{kind}")
                    self.assertTrue(self.confirmed.empty())
            proxy.settle({"exchanges": 0, "connections": 0})
            # Nothing waited for the end of a hold either.
            self.assertEqual(proxy.counters()["holds_expired"], 0)
            if audited:
                records = log.of_kind("begin", "end", "exchange", "abort")
                self.assertEqual([r["kind"] for r in records], ["begin", "end"] * 4)
                self.assertEqual({r["ending"] for r in records if r["kind"] == "end"}, {"complete"})
            proxy.stop()

    def tearDown(self):
        self.confirmed.put(None)
        super().tearDown()

    def test_a_server_of_http_1_in_chunks(self):
        self.check(self.start_origin(self.http1(True)).port)

    def test_a_server_of_http_1_until_its_end(self):
        self.check(self.start_origin(self.http1(False)).port)

    def test_a_server_of_http_1_over_tls(self):
        origin = TLSOrigin(self.http1(True))
        self.addCleanup(self._close_origin, origin)
        self.check(
            origin.port,
            {"tls": {"ca": str(certificates.authority().certificate), "server_name": "site.test"}})

    def test_a_server_of_http_2(self):
        server = Server(self.http2)
        self.addCleanup(server.close)
        self.check(server.port, {"protocol": "h2c"})
        self.assertEqual(server.failures, [])

    def test_a_server_of_http_2_over_tls(self):
        server = Server(self.http2, tls=True)
        self.addCleanup(server.close)
        self.check(
            server.port,
            {
                "protocol": "h2",
                "tls": {"ca": str(certificates.authority().certificate), "server_name": "site.test"},
            })
        self.assertEqual(server.failures, [])

    def test_events_pass_beside_a_stream_whose_client_has_stopped_reading(self):
        """One client's download that waits for its window holds back nobody's events."""

        def script(connection):
            large = connection.request()
            connection.head(large.stream, 200, [("content-length", str(1 << 20))])
            connection.data(large.stream, bytes(60_000), ends=False)
            request = connection.request()
            connection.head(request.stream, 200, [("content-type", TYPES["events"])])
            for number in range(EVENTS):
                self.wait_for(number - 1)
                connection.data(request.stream, b"event", ends=False)
            self.wait_for(EVENTS - 1)
            connection.data(request.stream, b"")
            connection.rest()

        server = Server(script)
        self.addCleanup(server.close)
        config = self.settings_for(server.port, upstream={"protocol": "h2c"})
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        proxy = self.start_proxy(config)
        with Client(proxy.port, opens=False, window=20_000) as client:
            large = client.open("/large")
            client.until(lambda: len(client.streams[large].content) == 20_000)
            stream = client.open("/events")
            seen = client.streams[stream]
            client.until(lambda: seen.heads)
            self.confirmed.put(-1)
            for number in range(EVENTS):
                client.until(lambda: len(seen.content) == 5 * (number + 1))
                self.confirmed.put(number)
            client.response(stream)
            self.assertIsNone(seen.reset)
            client.send(http2.frame(http2.RST_STREAM, 0, large, b"\0\0\0\x08"))
        self.assertEqual(server.failures, [])
