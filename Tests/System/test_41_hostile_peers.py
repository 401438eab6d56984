"""Layer 4: peers that stall, trickle, reset and lie. Afterwards every counter is where it started.

The baseline is taken after a warm-up against a second, well-behaved upstream, whose pooled
connection stays; the hostile origin's connections are dropped before counters are compared.
"""

import threading
import time
import unittest

from harness import configuration, streams, wire
from harness.case import SystemCase, on_both_engines
from harness.origin import raw

LARGE = 64 << 20


def large(served):
    """Answers with 64 MiB by length."""
    while served.request():
        served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")
        for block in streams.blocks(LARGE):
            served.send(block)


class HostileCase(SystemCase):
    """A proxy with /good (an echo) and everything else at the hostile origin."""

    tls = False

    def start_hostile(self, script, **others):
        self.hostile = self.start_origin(script)
        config = self.settings_for(
            self.hostile.port, tls=self.site_tls if self.tls else None, **others
        )
        config["upstreams"]["origin"]["retries"] = {"attempts": 0}
        config["upstreams"]["good"] = configuration.upstream(self.start_origin().port)
        config["routes"].insert(0, {"match": {"path": "/good"}, "upstream": "good"})
        self.proxy = self.start_proxy(config)
        for _ in range(3):
            self.assertEqual(self.good().status, 200)
        self.baseline = self.proxy.settle()

    def good(self):
        return self.fetch(self.proxy, wire.get("/good"), tls=self.tls)

    def ask(self, data=None, **options):
        return self.connect(self.proxy, tls=self.tls, **options).send(data or wire.get("/hostile"))

    def check_all_is_back(self):
        self.hostile.drop_all()
        self.assertEqual(self.good().status, 200)
        self.proxy.settle(self.baseline)


class Clients(HostileCase):
    def test_stops_reading_then_closes(self):
        self.start_hostile(large)
        for _ in range(3):
            connection = self.ask(receive_buffer=4096)
            connection.response_head()
            time.sleep(0.3)
            self.assertEqual(self.good().status, 200)
            connection.close()
        self.check_all_is_back()

    def test_stops_reading_then_resets(self):
        self.start_hostile(large)
        for _ in range(3):
            connection = self.ask(receive_buffer=4096)
            connection.response_head()
            time.sleep(0.3)
            connection.reset()
        self.check_all_is_back()

    def test_resets_at_many_points_of_a_response(self):
        self.start_hostile(large)
        for count in (0, 1, 100, 4096, 16384, 65536, 1 << 20, 5 << 20):
            connection = self.ask()
            if count:
                connection.take(count)
            connection.reset()
        self.check_all_is_back()

    def test_resets_before_the_origin_answers(self):
        def script(served):
            while served.request():
                time.sleep(0.3)
                served.answer(b"late")

        self.start_hostile(script)
        for _ in range(5):
            self.ask().reset()
        self.check_all_is_back()

    def test_sends_a_byte_at_a_time(self):
        self.start_hostile(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "keep"))
        connection = self.connect(self.proxy, tls=self.tls)
        connection.send_slowly(wire.request("POST", "/", body=b"0123456789"), pause=0.02)
        self.assertEqual(connection.response().body, b"ok")
        connection.close()
        self.check_all_is_back()

    def test_reads_a_little_at_a_time(self):
        self.start_hostile(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"z" * 300000, "keep")
        )
        connection = self.ask(receive_buffer=2048)
        total = 0
        while total < 300000:
            connection.take(min(1000, 300000 - total) if total else len(b"HTTP/1.1 200 OK"))
            total += 1000
            time.sleep(0.001)
        connection.close()
        self.check_all_is_back()

    def test_resets_in_the_middle_of_an_upload(self):
        self.start_hostile(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "keep"))
        head = wire.request("POST", "/", Content_Length=LARGE)
        for size in (0, 1, 1000, 100_000, 3 << 20):
            self.ask(head).send(b"x" * size).reset()
        self.check_all_is_back()
        self.assertEqual(self.hostile.requests, [])

    def test_asks_again_and_again_and_never_reads(self):
        self.start_hostile(large)
        connection = self.ask(receive_buffer=4096)
        connection.socket.settimeout(1)
        try:
            for _ in range(
                2000
            ):  # some 100 KiB of pipelined requests, then the proxy stops reading
                connection.send(wire.get("/more"))
        except TimeoutError:
            pass
        self.assertEqual(self.good().status, 200)
        self.assertLessEqual(len(self.hostile.requests), 2, "pipelined requests ran ahead")
        connection.reset()
        self.check_all_is_back()

    def test_connects_and_leaves_a_thousand_times(self):
        self.start_hostile(large)
        for number in range(1000):
            connection = wire.Wire.connect(self.proxy.port)
            if number % 2:
                connection.reset()
            else:
                connection.close()
        self.check_all_is_back()


@on_both_engines
class PlainClients(Clients):
    pass


@on_both_engines
class TLSClients(Clients):
    tls = True


del Clients


LONG = b"x" * 3_000_000
ORIGINS = {
    "stalls_before_its_answer": raw(b"", "stall"),
    "stalls_within_its_head": raw(b"HTTP/1.1 200 OK\r\nCont", "stall"),
    "stalls_within_its_content": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123", "stall"),
    "resets_before_its_answer": raw(b"", "reset"),
    "resets_within_its_head": raw(b"HTTP/1.1 200 OK\r\nCont", "reset"),
    "resets_within_its_content": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123", "reset"),
    "resets_within_much_content": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + LONG, "reset"
    ),
    "closes_before_its_answer": raw(b"", "close"),
    "closes_within_its_content": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123", "close"),
    "closes_within_a_chunk": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n12", "close"
    ),
    "sends_too_much": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + LONG, "close"),
    "sends_too_much_and_stays": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + LONG, "stall"
    ),
    "sends_garbage": raw(bytes(range(256)) * 100, "stall"),
    "sends_garbage_for_ever": raw(b"HTTP/1.1 200 OK\r\nX: " + LONG, "stall"),
}


class Origins(HostileCase):
    """Each hostile origin meets clients that stay and clients that leave."""

    SHORT = {"timeouts": {"connect": "2s", "response": "1s"}}

    def check_origin(self, script):
        self.start_hostile(script, upstream=dict(self.SHORT))
        for method in ("GET", "POST"):
            body = b"b" * 100_000 if method == "POST" else None
            connection = self.ask(wire.request(method, "/hostile", body=body))
            try:
                response = connection.response()
                self.assertIn(response.status, (200, 502, 504))
                if response.status == 200:
                    self.assertEqual(response.body, b"ok")
            except (wire.Truncated, ConnectionResetError):
                pass
            connection.close()
            self.ask(wire.request(method, "/hostile", body=body)).reset()
        self.check_all_is_back()

    def test_answers_before_the_upload_ends(self):
        def script(served):
            served.head()
            served.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

        self.start_hostile(script)
        for _ in range(3):
            connection = self.ask(wire.request("POST", "/", Content_Length=LARGE))
            try:
                for _ in range(64):
                    connection.send(b"x" * 65536)
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                response = connection.response()
                self.assertIn(response.status, (413, 502))
            except (ConnectionResetError, BrokenPipeError, wire.Truncated):
                pass
            connection.close()
        self.check_all_is_back()

    def test_answers_before_it_is_asked(self):
        def script(served):
            served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            while served.request():
                served.answer(b"ok")

        self.start_hostile(script)
        for _ in range(5):
            response = self.fetch(self.proxy, wire.get("/x"), tls=self.tls)
            # A response that came before its request may be taken for its answer only on a fresh
            # connection, where no party can tell; it must never be shifted to a later request.
            self.assertIn(
                (response.status, response.body),
                ((200, b"evil"), (200, b"ok"), (502, response.body)),
            )
        self.check_all_is_back()


for _name, _script in ORIGINS.items():

    def _test(self, script=_script):
        self.check_origin(script)

    setattr(Origins, f"test_{_name}", _test)


@on_both_engines
class PlainOrigins(Origins):
    pass


@on_both_engines
class TLSOrigins(Origins):
    tls = True


del Origins


@on_both_engines
class Everybody(HostileCase):
    def test_all_of_it_at_once_and_a_polite_client_notices_nothing(self):
        scripts = list(ORIGINS.values())

        def script(served):
            with served.origin.lock:
                number = served.origin.connections
            scripts[number % len(scripts)](served)

        self.start_hostile(script, upstream=dict(timeouts={"connect": "2s", "response": "1s"}))
        stop = threading.Event()

        def disturb():
            while not stop.is_set():
                try:
                    connection = wire.Wire.connect(self.proxy.port)
                    connection.send(wire.get("/hostile"))
                    connection.fill()
                    connection.reset()
                except OSError:
                    pass

        disturbers = [threading.Thread(target=disturb, daemon=True) for _ in range(8)]
        for thread in disturbers:
            thread.start()
        connection = self.connect(self.proxy)
        for _ in range(1500):
            self.assertEqual(connection.send(wire.get("/good")).response().status, 200)
        stop.set()
        for thread in disturbers:
            thread.join()
        connection.close()
        self.check_all_is_back()


if __name__ == "__main__":
    unittest.main()
