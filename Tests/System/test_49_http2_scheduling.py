"""In which order and in which pieces responses of one connection leave (RFC 9218), by the frames that come."""

import bisect
import itertools
import socket
import ssl
import struct
import threading
import time
import unittest

from harness import certificates, http2, settings
from harness.case import SystemCase, on_both_engines
from harness.http2 import Client, frame
from harness.http2server import Server, answer_all

LARGE = 6 << 20
PIECE = 50_000


class Log(Client):
    """Notes in which order content comes."""

    def __init__(self, *arguments, **options):
        self.order = []
        self.pause = 0
        super().__init__(*arguments, **options)

    def _take(self, kind, flags, number, payload):
        if kind == http2.DATA:
            self.order.append((number, len(payload)))
            time.sleep(self.pause)
            # Its windows are large: nothing is kept, and nothing is given back.
            self.streams[number].ended = bool(flags & http2.END_STREAM)
            return
        super()._take(kind, flags, number, payload)

    @property
    def content(self):
        return sum(count for _, count in self.order)


class SchedulingCase(SystemCase):
    def serve(self, tls=False):
        """Large content from a filler, and pieces of a size that wait as a whole for their turn."""
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)

        def script(served):
            while message := served.request():
                path = message.start.split()[1]
                if path == "/late":
                    self.gate.wait(settings.HANG)
                served.answer(b"x" * (LARGE if path == "/large" else PIECE))

        self.origin = self.start_origin(script)
        config = self.settings_for(self.origin.port, tls=self.site_tls if tls else None)
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.proxy = self.start_proxy(config)
        self.tls = tls

    def connect(self, total=(1 << 31) - 65_536):
        client = Log(self.proxy.port, tls=self.tls, window=(1 << 31) - 1, receive_buffer=65_536)
        self.addCleanup(client.close)
        client.until(lambda: client.settings is not None)
        client.window(0, total)
        return client

    def stop_up(self, client):
        """Has responses of no urgency fill the socket, and what is in front of it."""
        filler = client.open("/large", fields=[("priority", "u=7")])
        self.proxy.settle()
        for _ in range(3):
            client.open("/piece", fields=[("priority", "u=7")])
        self.proxy.settle()
        return filler

    def open(self, client, *priorities, path="/piece"):
        return [
            client.open(path, fields=[("priority", priority)] if priority else [])
            for priority in priorities]

    def order_of(self, client, streams):
        """Reads to the ends of streams. - Returns: them, by their last frames."""
        for stream in streams:
            client.response(stream)
        last = {stream: place for place, (stream, _) in enumerate(client.order)}
        return sorted(streams, key=last.get)


@on_both_engines
class Order(SchedulingCase):
    def test_the_most_urgent_goes_first(self):
        for tls in (False, True):
            self.serve(tls)
            with self.subTest(tls=tls):
                client = self.connect()
                filler = self.stop_up(client)
                streams = self.open(
                    client, "u=5", "u=1", "u=6", None, "u=0", "u=3, i", "u=2, i=?1", "u=4;x=1", "u=9")
                self.proxy.settle()
                u5, u1, u6, default, u0, u3, u2, u4, bad = streams
                found = self.order_of(client, [*streams, filler])
                self.assertEqual(found[:3], [u0, u1, u2])
                self.assertEqual(set(found[3:6]), {default, u3, bad})
                self.assertEqual(found[6:], [u4, u5, u6, filler])
                client.close()

    def test_a_frame_changes_what_a_field_has_said(self):
        self.serve()
        client = self.connect()
        filler = self.stop_up(client)
        one, two, three = self.open(client, "u=1", "u=2", "u=3")
        self.proxy.settle()
        for stream, priority in ((three, b"u=0"), (one, b"u=5, i")):
            client.send(frame(16, 0, 0, struct.pack(">I", stream) + priority))
        self.proxy.settle()
        self.assertEqual(
            self.order_of(client, [one, two, three, filler]), [three, two, one, filler])

    def test_of_one_urgency_the_first_that_was_asked_for(self):
        """Its parts are of no use by themselves, however late it came to be ready."""
        self.serve()
        client = self.connect()
        filler = self.stop_up(client)
        late = client.open("/late", fields=[("priority", "u=2")])
        others = self.open(client, "u=2", "u=2", "u=2")
        self.proxy.settle()
        self.gate.set()
        self.proxy.settle()
        self.assertEqual(self.order_of(client, [late, *others, filler]), [late, *others, filler])

    def test_one_that_is_incremental_keeps_its_turn(self):
        self.serve()
        client = self.connect()
        filler = self.stop_up(client)
        late = client.open("/late", fields=[("priority", "u=2")])
        shared, = self.open(client, "u=2, i")
        self.proxy.settle()
        other, = self.open(client, "u=2")
        self.proxy.settle()
        self.gate.set()
        self.proxy.settle()
        self.assertEqual(
            self.order_of(client, [late, shared, other, filler]), [shared, late, other, filler])

    def test_much_that_is_urgent_goes_before_much_that_is_not(self):
        """It is read on while its bytes are on their way: no more of the others comes between than was there."""
        for tls in (False, True):
            self.serve(tls)
            with self.subTest(tls=tls):
                client = self.connect()
                filler = self.stop_up(client)
                other, urgent = self.open(client, "u=6", "u=1", path="/large")
                self.proxy.settle()
                # Slower than the server, or its response is never there when its turn comes.
                client.pause = 0.002
                self.order_of(client, [urgent])
                start = next(at for at, (stream, _) in enumerate(client.order) if stream == urgent)
                between = sum(count for stream, count in client.order[start:] if stream != urgent)
                client.pause = 0
                self.order_of(client, [other, filler])
                self.assertLess(between, LARGE // 3)
                client.close()

    def test_large_incremental_responses_share(self):
        self.serve()
        client = self.connect()
        self.stop_up(client)
        streams = self.open(client, "u=2, i", "u=2, i", path="/large")
        self.proxy.settle()
        first, second = self.order_of(client, streams)
        end = max(place for place, (stream, _) in enumerate(client.order) if stream == first)
        share = sum(count for stream, count in client.order[:end] if stream == second)
        self.assertGreater(share, LARGE // 2)


class Records:
    """A client that knows which bytes came in which TLS record."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=settings.HANG)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = certificates.authority().client()
        context.set_alpn_protocols(["h2"])
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname="site.test")
        self._data = b""
        self.plaintexts = []
        while True:
            try:
                self._session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._record()
        self._flush()

    def _flush(self):
        if data := self._outgoing.read():
            self.socket.sendall(data)

    def _record(self):
        """Gives the session one more record."""
        while len(self._data) < 5 or len(self._data) < 5 + int.from_bytes(self._data[3:5], "big"):
            more = self.socket.recv(1 << 18)
            assert more, "the end came first"
            self._data += more
        count = 5 + int.from_bytes(self._data[3:5], "big")
        self._incoming.write(self._data[:count])
        self._data = self._data[count:]

    def send(self, data):
        self._session.write(data)
        self._flush()

    def next(self):
        """The plaintext of the next record that has some."""
        while True:
            self._record()
            try:
                self.plaintexts.append(self._session.read(1 << 15))
                return
            except ssl.SSLWantReadError:
                continue

    def frames(self):
        """What came so far: (kind, flags, stream, first byte, end)."""
        data, at, found = b"".join(self.plaintexts), 0, []
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            found.append((*struct.unpack(">BBI", data[at + 3 : at + 9]), at, end))
            at = end
        return found

    def until_ended(self, count):
        """Reads to the ends of so many streams. - Returns: all frames."""
        while True:
            frames = self.frames()
            ends = [f for f in frames if f[0] in (http2.DATA, http2.HEADERS) and f[1] & http2.END_STREAM]
            if len(ends) == count:
                return frames
            self.next()

    def edges(self):
        """Where records end in what came."""
        return list(itertools.accumulate(len(plaintext) for plaintext in self.plaintexts))


@on_both_engines
class Sends(SystemCase):
    """What leaves together, by the TLS records that come."""

    COUNT = 20

    def serve(self, script, **options):
        server = Server(script)
        self.addCleanup(server.close)
        config = self.settings_for(
            server.port, tls=self.site_tls, upstream={"protocol": "h2c"}, **options)
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.proxy = self.start_proxy(config)
        client = Records(self.proxy.port)
        self.addCleanup(client.socket.close)
        client.send(
            http2.PREFACE + frame(http2.SETTINGS, payload=struct.pack(">HI", 4, (1 << 31) - 1))
            + frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
        return client

    def ask(self, client, count, path="/"):
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "site.test"), (":path", path)]
        client.send(b"".join(
            frame(http2.HEADERS, 5, 2 * number + 1, http2.encode(fields)) for number in range(count)))

    def records_of_responses(self, client, frames):
        """How many records have a part of a response."""
        edges = client.edges()
        parts = set()
        for kind, _, _, first, end in frames:
            if kind in (http2.DATA, http2.HEADERS):
                parts.update(range(bisect.bisect_right(edges, first), bisect.bisect_left(edges, end) + 1))
        return len(parts)

    def test_small_responses_of_a_server_leave_together(self):
        def script(connection):
            requests = [connection.request(number) for number in range(self.COUNT)]
            block = http2.encode([(":status", "200"), ("content-length", "100")])
            connection.send(b"".join(
                frame(http2.HEADERS, 4, request.stream, block)
                + frame(http2.DATA, 1, request.stream, b"x" * 100) for request in requests))
            connection.rest()

        client = self.serve(script)
        self.ask(client, self.COUNT)
        frames = client.until_ended(self.COUNT)
        # They may come from the server in two pieces, and the first leaves at once.
        self.assertLessEqual(self.records_of_responses(client, frames), 4)

    def test_replies_of_the_proxys_own_leave_together(self):
        client = self.serve(answer_all, routes=[{"match": {"path": "/here"}, "upstream": "origin"}])
        self.ask(client, self.COUNT, "/elsewhere")
        frames = client.until_ended(self.COUNT)
        self.assertLessEqual(self.records_of_responses(client, frames), 4)

    def test_a_frame_is_not_bound_to_a_record(self):
        size = 60_000

        def script(connection):
            request = connection.request()
            connection.answer(request, b"x" * size)
            connection.rest()

        client = self.serve(script)
        self.ask(client, 1)
        frames = client.until_ended(1)
        edges = client.edges()
        content = [f for f in frames if f[0] == http2.DATA]
        across = [f for f in content if any(f[3] < edge < f[4] for edge in edges)]
        self.assertTrue(across, "every frame is in a record of its own")


del SchedulingCase

if __name__ == "__main__":
    unittest.main()
