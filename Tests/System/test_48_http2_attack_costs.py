"""What attacks over HTTP/2 cost: each is bounded in memory and in CPU, stops nobody else, ends with its code,
and an operator sees it.

CPU is counted, not timed: what the process used for each frame of the attack, in requests of a client in
order on the same proxy. The bounds are far from what is seen; a frame that costs as much as a request does
would be over them.
"""

import struct
import time
import unittest

from harness import http2, settings
from harness.case import SystemCase, on_both_engines
from harness.conformance import continuation, data, headers, ping, priority, reset, setting, window
from harness.http2 import Client, encode, frame
from harness.origin import raw

GET = encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
SERVED = encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/served")])
MEBIBYTE = 1 << 20


class CostCase(SystemCase):
    """A proxy with two origins: `/served` answers, everything else goes to one that never does."""

    hang_limit = 120

    def serve(self, script=None, **options):
        self.stalls = self.start_origin(script or raw(b"", "stall"))
        self.answers = self.start_origin()
        config = self.settings_for(self.stalls.port, **options)
        config["upstreams"]["answers"] = self.settings_for(self.answers.port)["upstreams"]["origin"]
        config["routes"] = [
            {"match": {"path": "/served"}, "upstream": "answers"},
            {"match": {"path": "/"}, "upstream": "origin"},
        ]
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.proxy = self.start_proxy(config)
        self.other = self.connect()
        for _ in range(50):
            self.fetch_other()
        before = self.cpu()
        for _ in range(200):
            self.fetch_other()
        self.request_cost = (self.cpu() - before) / 200
        self.fetches = 0
        self.peak = self.base = self.proxy.resident_bytes()

    def cpu(self):
        """Seconds of CPU that the process has used (the clock of clock_getcpuclockid)."""
        return time.clock_gettime(~self.proxy.pid << 3 | 2)

    def connect(self, **options):
        client = Client(self.proxy.port, **options)
        self.addCleanup(client.close)
        client.until(lambda: client.settings is not None)
        return client

    def fetch_other(self):
        """Another client's request, in the middle of whatever happens."""
        stream = self.other.fetch("/served")
        self.assertEqual(stream.status, 200)
        del self.other.streams[self.other.next_stream - 2]
        self.fetches = getattr(self, "fetches", 0) + 1

    def read_what_is_there(self, client):
        client.socket.settimeout(0.002)
        try:
            while client.read():
                pass
        except TimeoutError:
            pass
        client.socket.settimeout(settings.HANG)

    def note_memory(self):
        self.peak = max(self.peak, self.proxy.resident_bytes())

    def check_memory(self, bound=16 * MEBIBYTE):
        self.assertLess(self.peak - self.base, bound)

    def check_flood(self, piece, frames, cost, rounds=5, most=400, memory=16 * MEBIBYTE, **options):
        """Connections that send pieces until they are ended for it.

        `piece` makes what is sent, of its number and the stream of an upload that is open; `frames` are in
        it, and one of them may cost `cost` requests.
        """
        self.serve()
        started, count = self.cpu(), 0
        for _ in range(rounds):
            client = self.connect(opens=False, **options)
            client.streams.update((number, http2.Stream()) for number in range(0, 100_000, 2))
            stream = client.open("/", "POST", ends=False)
            for turn in range(most):
                try:
                    client.send(b"".join(piece(20 * turn + n, stream) for n in range(20)))
                except OSError:
                    pass
                count += 20 * frames
                client.streams = Anything(client.streams)
                self.read_what_is_there(client)
                if client.goaway is not None or client.closed:
                    break
                if turn % 5 == 0:
                    self.note_memory()
                    self.fetch_other()
            self.assertEqual(client.goaway, http2.ENHANCE_YOUR_CALM)
            self.fetch_other()
            client.close()
        self.note_memory()
        self.proxy.settle({"exchanges": 0, "connections": 1})
        spent = self.cpu() - started - self.fetches * self.request_cost
        self.check_memory(memory)
        self.assertLess(spent / count / self.request_cost, cost, "CPU of a frame, in requests")
        self.assertEqual(self.proxy.counters()["http2_floods"], rounds)
        self.assertGreaterEqual(self.fetches, rounds)


class Anything(dict):
    """Streams of which nobody keeps a list."""

    def __missing__(self, number):
        self[number] = http2.Stream()
        return self[number]

    def get(self, number, otherwise=None):
        return self[number]


@on_both_engines
class Floods(CostCase):
    """Frames that cost work and carry nothing."""

    def test_rapid_reset(self):
        def piece(turn, _):
            number = 2 * turn + 3
            return headers(number, GET) + reset(number)

        self.check_flood(piece, 2, cost=2)

    def test_streams_that_are_made_to_be_reset(self):
        def piece(turn, _):
            number = 2 * turn + 3
            return headers(number, GET) + window(number, 0)

        self.check_flood(piece, 2, cost=2)

    def test_streams_that_are_made_to_be_reset_by_content(self):
        """DATA behind the end, an increment too large, a head that depends on itself."""
        def piece(turn, _):
            number = 6 * turn + 3
            return (
                headers(number, GET) + data(number) + headers(number + 2, GET)
                + window(number + 2, (1 << 31) - 1) + headers(number + 4, GET, priority=(number + 4,)))

        self.check_flood(piece, 5, cost=2)

    def test_continuation_without_end(self):
        def piece(turn, _):
            if turn == 0:
                return headers(3, GET, whole=False)
            return continuation(3, [("x-a", "b" * 50)], whole=False)

        self.check_flood(piece, 1, cost=2, rounds=15)

    def test_empty_continuation_without_end(self):
        def piece(turn, _):
            if turn == 0:
                return headers(3, GET, whole=False)
            return frame(http2.CONTINUATION, 0, 3)

        self.check_flood(piece, 1, cost=2, rounds=15)

    def test_settings(self):
        self.check_flood(lambda *_: setting((4, 65_535), (4, 0), (4, 1000), (3, 7)), 1, cost=0.5)

    def test_ping(self):
        self.check_flood(lambda *_: ping(), 1, cost=0.5)

    def test_window_updates(self):
        self.check_flood(lambda _, stream: window(stream, 1) + window(0, 1), 2, cost=0.5)

    def test_resets_of_a_stream_that_has_ended(self):
        def piece(turn, _):
            return (headers(3, GET) if turn == 0 else b"") + reset(3)

        self.check_flood(piece, 1, cost=0.5)

    def test_empty_data(self):
        self.check_flood(lambda _, stream: data(stream, b"", ends=False), 1, cost=0.5)

    def test_padding(self):
        self.check_flood(lambda _, stream: data(stream, b"", ends=False, padding=255), 1, cost=0.5)

    def test_priorities(self):
        def piece(turn, stream):
            update = struct.pack(">I", stream) + b"u=%d, i" % (turn % 8)
            return priority(stream, weight=turn % 256) + frame(16, 0, 0, update)

        self.check_flood(piece, 2, cost=0.5)

    def test_unknown_frames(self):
        self.check_flood(lambda *_: frame(0xEE, 0xFF, 0, bytes(8)), 1, cost=0.5)

    def test_windows_of_one_byte(self):
        self.check_upload_of_windows(rounds=3)

    def check_upload_of_windows(self, rounds):
        """A large response that is taken byte by byte."""
        size = 30_000

        def script(served):
            while served.request():
                served.answer(b"x" * size)

        self.serve(script)
        started, count = self.cpu(), 0
        for _ in range(rounds):
            client = self.connect(window=1, opens=False)
            stream = client.open()
            for turn in range(size // 100):
                try:
                    client.send(window(stream, 1) * 100)
                except OSError:
                    pass
                count += 100
                self.read_what_is_there(client)
                if client.goaway is not None or client.closed:
                    break
                if turn % 5 == 0:
                    self.note_memory()
                    self.fetch_other()
            self.assertEqual(client.goaway, http2.ENHANCE_YOUR_CALM)
            client.close()
        self.proxy.settle({"exchanges": 0, "connections": 1})
        spent = self.cpu() - started - self.fetches * self.request_cost
        self.check_memory()
        self.assertLess(spent / count / self.request_cost, 1, "CPU of a window, in requests")
        self.assertEqual(self.proxy.counters()["http2_floods"], rounds)


@on_both_engines
class Bombs(CostCase):
    """Heads that are small on the wire and large in memory."""

    def check_bomb(self, block, rounds=2, each=300):
        self.serve()
        started, count, refused = self.cpu(), 0, 0
        for _ in range(rounds):
            client = self.connect(opens=False)
            client.streams = Anything()
            for turn in range(each):
                number = 2 * turn + 1
                try:
                    client.send(headers(number, block(turn)))
                except OSError:
                    break
                count += 1
                client.until(lambda: client.streams[number].is_over or client.goaway is not None)
                refused += client.streams[number].status == 431
                if client.goaway is not None:
                    break
                if turn % 10 == 0:
                    self.note_memory()
                    self.fetch_other()
            self.assertEqual(client.goaway, http2.ENHANCE_YOUR_CALM)
            client.close()
        self.note_memory()
        self.proxy.settle({"exchanges": 0, "connections": 1})
        spent = self.cpu() - started - self.fetches * self.request_cost
        self.check_memory()
        # 16 KiB of field block are a hundred times those of a request in order.
        self.assertLess(spent / count / self.request_cost, 25, "CPU of a head, in requests")
        counters = self.proxy.counters()
        self.assertGreater(refused, 100)
        self.assertEqual(counters["http2_floods"], rounds)

    def test_an_entry_of_the_table_named_thousands_of_times(self):
        def block(turn):
            entry = b"\x40\x01a" + b"\x7f\x81\x1e" + b"x" * 3968 if turn == 0 else b""
            return GET + entry + b"\xbe" * 12_000

        self.check_bomb(block)

    def test_an_entry_of_the_static_table_named_thousands_of_times(self):
        self.check_bomb(lambda turn: GET + b"\x90" * 16_000)

    def test_sizes_of_the_table_that_change_all_the_time(self):
        """Each of many small heads empties and fills the table anew; they are requests as others are."""
        def block(turn):
            return b"\x20\x3f\xe1\x1f" + GET + b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968

        self.serve()
        started = self.cpu()
        client = self.connect()
        client.streams = Anything()
        served = block(0).replace(GET, SERVED)
        for turn in range(300):
            client.send(headers(2 * turn + 1, served))
            self.assertEqual(client.response(2 * turn + 1).status, 200)
        spent = self.cpu() - started
        self.note_memory()
        self.check_memory()
        self.assertLess(spent / 300 / self.request_cost, 10)


@on_both_engines
class Standstill(CostCase):
    """Clients that open what they never end, and windows that they never open."""

    TIMEOUTS = {"head": "1s", "body": "1s", "idle": "2s"}

    def check_all_is_over(self, counters, count):
        """What is left is the other client's connection."""
        self.proxy.settle({"exchanges": 0, "connections": 1, "cold_bytes": 0, "leases": 0, "frames": 0})
        self.assertEqual(self.proxy.counters()[counters], count)

    def keep_other(self):
        """Its connection may not be idle for longer than the timeouts allow."""
        self.note_memory()
        self.fetch_other()

    def wait(self, client, condition):
        deadline = time.monotonic() + settings.HANG
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            self.read_what_is_there(client)
            self.keep_other()

    def test_windows_that_stay_closed(self):
        def script(served):
            while served.request():
                try:
                    served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                    for _ in range(1000):
                        served.send(b"x" * 100_000)
                except OSError:
                    return

        self.serve(script, timeouts=self.TIMEOUTS)
        client = self.connect(window=0, opens=False)
        streams = [client.open() for _ in range(client.settings[3])]
        self.wait(client, lambda: all(client.streams[s].status == 200 for s in streams))
        self.wait(client, lambda: all(client.streams[s].is_over for s in streams))
        self.assertEqual({client.streams[s].reset for s in streams}, {http2.CANCEL})
        # 100 MB each are there to be had.
        self.check_memory(100 * MEBIBYTE)
        self.assertEqual(sum(len(client.streams[s].content) for s in streams), 0)
        client.close()
        self.check_all_is_over("timeouts", len(streams))

    def test_uploads_that_never_end(self):
        self.serve(timeouts=self.TIMEOUTS)
        client = self.connect()
        streams = [
            client.open("/", "POST", content=b"part", ends=False) for _ in range(client.settings[3])]
        self.wait(client, lambda: all(client.streams[s].is_over for s in streams))
        self.assertEqual({client.streams[s].status for s in streams}, {408})
        self.check_memory()
        client.close()
        self.check_all_is_over("timeouts", len(streams))

    def test_a_head_that_never_ends(self):
        self.serve(timeouts=self.TIMEOUTS)
        clients = [self.connect() for _ in range(50)]
        for client in clients:
            client.send(headers(1, GET, whole=False))
        for client in clients:
            self.wait(client, lambda client=client: client.closed)
        self.check_memory()
        self.check_all_is_over("http2_floods", 0)

    def test_a_client_that_reads_nothing(self):
        self.serve(timeouts=self.TIMEOUTS)
        started, sent = self.cpu(), 0
        client = self.connect(receive_buffer=4096)
        client.socket.settimeout(0.5)
        try:
            for _ in range(2000):
                client.send(ping() * 100)
                sent += 1
        except OSError:
            pass
        spent = self.cpu() - started
        self.note_memory()
        self.check_memory()
        self.assertLess(spent / (100 * sent + 1) / self.request_cost, 1)
        client.close()


del CostCase

if __name__ == "__main__":
    unittest.main()
