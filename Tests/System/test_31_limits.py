"""Layer 3: limits on a head, one below, at and above; what is refused never reaches the origin."""

import unittest

from harness import wire
from harness.case import SystemCase, on_both_engines

HEAD, TARGET, FIELDS = 4096, 1024, 20


@on_both_engines
class Limits(SystemCase):
    def setUp(self):
        super().setUp()
        self.origin = self.start_origin()
        limits = {"request_head": "4KiB", "request_target": "1KiB", "request_fields": FIELDS}
        self.proxy = self.proxy_before(self.origin.port, limits=limits)

    def check(self, data, status, slowly=False):
        self.origin.forget()
        connection = self.connect(self.proxy)
        try:
            if slowly:
                connection.send_slowly(data, size=97, pause=0.0005)
            else:
                connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent
        response = connection.response()
        self.assertEqual(response.status, status)
        if status == 200:
            self.assertEqual(len(self.origin.requests), 1)
        else:
            self.assertIn("close", response.tokens("connection"))
            self.assertClosed(connection)
            self.assertEqual(self.origin.bytes_seen, 0)

    def head_of(self, size):
        empty = len(wire.get(X_Long=""))
        data = wire.get(X_Long="v" * (size - empty))
        assert len(data) == size
        return data

    def test_head_size(self):
        for size, status in ((HEAD - 1, 200), (HEAD, 200), (HEAD + 1, 431), (HEAD * 3, 431)):
            for slowly in (False, True):
                with self.subTest(size=size, slowly=slowly):
                    self.check(self.head_of(size), status, slowly)

    def test_head_that_never_ends(self):
        self.check(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * (HEAD + 1), 431)

    def test_target_size(self):
        for size, status in ((TARGET - 1, 200), (TARGET, 200), (TARGET + 1, 414)):
            for slowly in (False, True):
                with self.subTest(size=size, slowly=slowly):
                    self.check(wire.get("/" + "t" * (size - 1)), status, slowly)

    def test_target_that_never_ends(self):
        self.check(b"GET /" + b"t" * (TARGET + 1), 414)

    def test_field_count(self):
        for count, status in ((FIELDS - 1, 200), (FIELDS, 200), (FIELDS + 1, 431)):
            with self.subTest(count=count):
                others = {f"X_{number}": "v" for number in range(count - 1)}  # and Host
                self.check(wire.get(**others), status)

    def test_the_default_limits(self):
        proxy = self.proxy_before(self.origin.port)
        for data, status in (
            (self.head_of(60 * 1024), 200),
            (self.head_of(65 * 1024), 431),
            (wire.get("/" + "t" * 8191), 200),
            (wire.get("/" + "t" * 8192), 414),
        ):
            connection = self.connect(proxy)
            try:
                connection.send(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.assertEqual(connection.response().status, status)


@on_both_engines
class Connections(SystemCase):
    def test_the_connection_limit_holds_and_frees(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port, limits={"connections": 10})
        held = [self.connect(proxy) for _ in range(10)]
        for connection in held:
            self.assertEqual(connection.send(wire.get()).response().status, 200)
        # One more may wait, be refused or be closed; it must not be served beside the ten.
        extra = None
        try:
            extra = self.connect(proxy)
            extra.socket.settimeout(1)
            answer = extra.send(wire.get()).response().status
            self.assertEqual(answer, 503)
        except (TimeoutError, OSError, wire.Truncated):
            pass
        self.assertLessEqual(proxy.counters()["connections"], 10)
        if extra:
            extra.close()
        for connection in held:
            connection.close()
        proxy.settle({"connections": 0})
        self.assertEqual(self.fetch(proxy).status, 200)


if __name__ == "__main__":
    unittest.main()
