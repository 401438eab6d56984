"""Layer 4: every timeout fires, with its own status, and leaves nothing behind.

Timeouts are set to one second so that a test is short; what is asserted is the outcome, never how
long it took.
"""

import time
import unittest

from harness import configuration, ports, wire
from harness.case import SystemCase, on_both_engines
from harness.origin import Dropping, raw

SHORT = {"head": "1s", "body": "1s", "idle": "1s"}


@on_both_engines
class Downstream(SystemCase):
    def setUp(self):
        super().setUp()
        self.origin = self.start_origin()
        self.proxy = self.proxy_before(self.origin.port, timeouts=SHORT)
        self.baseline = self.warm(self.proxy)
        self.origin.forget()

    def tearDown(self):
        self.origin.drop_all()
        self.assertEqual(self.fetch(self.proxy).status, 200)
        self.proxy.settle(self.baseline)
        super().tearDown()

    def check_408(self, data):
        connection = self.connect(self.proxy).send(data)
        response = connection.response()
        self.assertEqual(response.status, 408)
        self.assertIn("close", response.tokens("connection"))
        self.assertClosed(connection)
        self.assertEqual(self.origin.requests, [])

    def test_head_that_stops(self):
        for data in (b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"):
            with self.subTest(data=data):
                self.check_408(data)
        self.assertEqual(self.origin.bytes_seen, 0)

    def test_a_head_of_head_that_stops_or_is_wrong_is_answered_without_content(self):
        for data, status in (
            (b"HEAD / HTTP/1.1\r\nHost: a\r\n", b"408"),
            (b"HEAD / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", b"400"),
            (b"HEAD / HTTP/1.1\r\nHost: a\r\nBad", b"408"),
        ):
            with self.subTest(data=data), self.connect(self.proxy) as connection:
                connection.send(data)
                head, end, content = connection.rest().partition(b"\r\n\r\n")
                self.assertEqual(head[9:12], status)
                self.assertIn(b"Content-Length:", head)
                self.assertEqual((end, content), (b"\r\n\r\n", b""))

    def test_head_that_trickles_is_not_kept_alive_by_its_bytes(self):
        connection = self.connect(self.proxy)
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        connection.socket.settimeout(0.05)
        ended = False
        for _ in range(400):  # 20 s of trickling, twenty times the timeout
            try:
                connection.send(b"v")
                ended = not connection.fill() or b"408" in connection.buffer
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                ended = True
            if ended:
                break
        self.assertTrue(ended, "one byte at a time holds a connection for ever")

    def test_body_that_stops(self):
        self.check_408(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")

    def test_chunked_body_that_stops(self):
        self.check_408(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc")

    def test_body_that_moves_is_given_time(self):
        connection = self.connect(self.proxy)
        connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        connection.send_slowly(b"0123456789", pause=0.3)  # 3 s in all, no gap of one
        self.assertEqual(connection.response().status, 200)

    def test_idle_connections_are_closed_without_a_word(self):
        fresh, used = self.connect(self.proxy), self.connect(self.proxy)
        self.assertEqual(used.send(wire.get()).response().status, 200)
        self.assertEqual(used.rest(), b"")
        self.assertIn(fresh.rest()[:12], (b"", b"HTTP/1.1 408"))

    def test_a_tls_handshake_that_stops(self):
        proxy = self.proxy_before(self.origin.port, timeouts=SHORT, tls=self.site_tls)
        baseline = proxy.settle()
        for data in (b"", b"\x16\x03\x01\x02\x00\x01"):
            self.connect(proxy).send(data).rest()
        proxy.settle(baseline)


@on_both_engines
class Upstream(SystemCase):
    def check_status(self, port, statuses, data=None, **timeouts):
        upstream = {"timeouts": {"connect": "1s", "response": "1s", **timeouts}}
        upstream["retries"] = {"attempts": 0}
        config = self.settings_for(port, upstream=upstream)
        good = self.start_origin()
        config["upstreams"]["good"] = configuration.upstream(good.port)
        config["routes"].insert(0, {"match": {"path": "/good"}, "upstream": "good"})
        proxy = self.start_proxy(config)
        baseline = self.warm(proxy, "/good")
        connection = self.connect(proxy)
        for _ in range(2):
            connection.send(data or wire.get("/slow"))
            response = connection.response()
            self.assertIn(response.status, statuses)
            if response.closes:
                connection = self.connect(proxy)
        line = proxy.wait_for("exchange failed", status=response.status)
        self.assertTrue(line["reason"])
        connection.close()
        proxy.settle(baseline)
        return line

    def test_connect_to_an_address_that_drops(self):
        dropping = Dropping()
        self.addCleanup(dropping.close)
        self.check_status(dropping.port, (503, 504))

    def test_connect_to_a_port_that_refuses(self):
        self.check_status(ports.free_port(), (502, 503))

    def test_an_origin_that_never_answers(self):
        self.check_status(self.start_origin(raw(b"", "stall")).port, (504,))

    def test_an_origin_that_never_answers_a_post(self):
        data = wire.request("POST", "/slow", body=b"x" * 1000)
        self.check_status(self.start_origin(raw(b"", "stall")).port, (504,), data)

    def test_an_origin_that_stops_within_its_head(self):
        script = raw(b"HTTP/1.1 200 OK\r\nContent-Le", "stall")
        self.check_status(self.start_origin(script).port, (504, 502))

    def test_an_origin_that_stops_within_its_content(self):
        origin = self.start_origin(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "stall")
        )
        upstream = {"timeouts": {"response": "1s"}}
        proxy = self.proxy_before(origin.port, upstream=upstream)
        with self.assertRaises((wire.Truncated, ConnectionResetError)):
            self.fetch(proxy)
        proxy.settle({"exchanges": 0, "connections": 0})

    def test_an_origin_that_never_reads(self):
        def script(served):
            served.origin.closing.wait(60)

        body = b"x" * (32 << 20)  # more than all socket buffers together
        origin = self.start_origin(script)
        proxy = self.proxy_before(origin.port, upstream={"timeouts": {"response": "1s"}})
        connection = self.connect(proxy)
        try:
            connection.send(wire.request("POST", "/", body=body))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        try:
            self.assertIn(connection.response().status, (502, 504))
        except (ConnectionResetError, BrokenPipeError, wire.Truncated):
            pass  # the answer may be lost behind what was not read; the end may not
        connection.close()
        proxy.settle({"exchanges": 0, "connections": 0})

    def test_idle_upstream_connections_are_closed(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port, upstream={"timeouts": {"idle": "1s"}})
        self.assertEqual(self.fetch(proxy).status, 200)
        proxy.settle({"upstream_connections": 0})
        self.assertEqual(self.fetch(proxy).status, 200)

    def test_a_slow_answer_within_the_limit_is_no_failure(self):
        def script(served):
            while served.request():
                for part in (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"a", b"b", b"c"):
                    time.sleep(0.4)
                    served.send(part)

        origin = self.start_origin(script)
        proxy = self.proxy_before(origin.port, upstream={"timeouts": {"response": "2s"}})
        self.assertEqual(self.fetch(proxy).body, b"abc")


if __name__ == "__main__":
    unittest.main()
