"""Layer 4: as many requests in progress as `limits.streams`, and what happens to one more."""

import threading

from harness import wire
from harness.case import SystemCase, on_both_engines

LIMIT = 3


@on_both_engines
class Streams(SystemCase):
    def start(self, **more):
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)

        def script(served):
            while served.request():
                self.gate.wait()
                served.answer(b"late")

        self.origin = self.start_origin(script)
        return self.proxy_before(self.origin.port, limits={"streams": LIMIT}, **more)

    def begin(self, proxy, count):
        """Connections each with a request in progress."""
        connections = [self.connect(proxy) for _ in range(count)]
        for n, connection in enumerate(connections):
            connection.send(wire.get(f"/{n}"))
        proxy.settle({"exchanges": count})
        return connections

    def check_refusal(self, response, content=b"503 Service Unavailable (streams_exhausted)\n"):
        self.assertEqual(response.status, 503)
        self.assertEqual(response.get("retry-after"), "1")
        self.assertEqual(response.get("connection"), "close")
        self.assertIsNotNone(response.get("date"))
        self.assertEqual(response.body, content)

    def test_the_limit_is_served_and_one_more_is_refused(self):
        proxy = self.start()
        held = self.begin(proxy, LIMIT - 1)
        last = self.connect(proxy)
        last.send(wire.get("/last"))
        proxy.settle({"exchanges": LIMIT})
        over = self.connect(proxy)
        self.check_refusal(over.send(wire.get("/over")).response())
        self.assertTrue(over.is_closed_by_peer())
        self.assertEqual(proxy.counters()["streams_refused"], 1)
        self.gate.set()
        for connection in [*held, last]:
            self.assertEqual(connection.response().body, b"late")
        # The slots are free again.
        again = self.connect(proxy)
        self.assertEqual(again.send(wire.get("/again")).response().body, b"late")
        proxy.settle({"exchanges": 0})

    def test_a_refused_request_that_cannot_be_understood(self):
        proxy = self.start()
        self.begin(proxy, LIMIT)
        over = self.connect(proxy)
        over.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        self.check_refusal(over.response())
        self.assertTrue(over.is_closed_by_peer())
        self.gate.set()

    def test_a_refused_head_has_no_content(self):
        proxy = self.start()
        self.begin(proxy, LIMIT)
        over = self.connect(proxy)
        over.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.check_refusal(over.response(method="HEAD"), b"")
        self.assertTrue(over.is_closed_by_peer())
        self.gate.set()

    def test_a_refusal_over_tls(self):
        proxy = self.start(tls=self.site_tls)
        held = [self.connect(proxy, tls=True) for _ in range(LIMIT)]
        for connection in held:
            connection.send(wire.get())
        proxy.settle({"exchanges": LIMIT})
        over = self.connect(proxy, tls=True)
        over.send(wire.get("/over"))
        self.check_refusal(over.response())
        self.assertTrue(over.is_closed_by_peer())
        self.gate.set()

    def test_a_refused_request_is_not_in_the_record(self):
        directory = self.folder / "audit"
        proxy = self.start(audit={"directory": str(directory)})
        held = self.begin(proxy, LIMIT)
        over = self.connect(proxy)
        self.check_refusal(over.send(wire.get("/over")).response())
        self.gate.set()
        for connection in held:
            self.assertEqual(connection.response().body, b"late")
        over.close()
        proxy.stop()
        text = b"".join(file.read_bytes() for file in directory.glob("*.jsonl"))
        self.assertNotIn(b'"/over"', text)
        self.assertEqual(text.count(b'"kind":"exchange"'), LIMIT)
