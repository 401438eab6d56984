"""HTTP/2 clients that attack, and clients in order that must not be taken for them.

Frames that crossed a reset or a GOAWAY of ours are no offence (RFC 9113 5.1, 6.8); frames that cost work
and carry nothing are, however they are dressed up.
"""

import signal
import struct
import threading
import unittest

from harness import http2, settings
from harness.case import SystemCase, on_both_engines
from harness.http2 import Client, frame
from harness.origin import raw
from harness.wire import Truncated

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]
CANCEL = struct.pack(">I", http2.CANCEL)


def head(stream, fields, ends=True):
    flags = http2.END_HEADERS | (http2.END_STREAM if ends else 0)
    return frame(http2.HEADERS, flags, stream, http2.encode(fields))


class AttackCase(SystemCase):
    def serve(self, script=None, **options):
        self.origin = self.start_origin(script)
        config = self.settings_for(self.origin.port, **options)
        config["listeners"][0]["http_versions"] = ["h2", "http/1.1"]
        self.proxy = self.start_proxy(config)

    def connect(self, **options):
        client = Client(self.proxy.port, **options)
        self.addCleanup(client.close)
        client.until(lambda: client.settings is not None)
        return client

    def expect(self, client, *streams):
        for stream in streams:
            client.streams.setdefault(stream, http2.Stream())

    def read_what_is_there(self, client):
        client.socket.settimeout(0.005)
        try:
            while client.read():
                pass
        except TimeoutError:
            pass
        client.socket.settimeout(settings.HANG)

    def make_gate(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        return gate

    def pong(self, client, data):
        """Waits until the proxy has used all that was sent so far."""
        client.send(frame(http2.PING, payload=data))
        client.until(lambda: data in client.pongs or client.goaway is not None)
        self.assertIsNone(client.goaway, "the connection was ended")


@on_both_engines
class Crossing(AttackCase):
    """What a client in order had sent before it could know better."""

    def check_beyond_goaway(self, frames, ends=True):
        gate = self.make_gate()

        def script(served):
            if served.request():
                gate.wait(settings.HANG)
                served.answer(b"late")

        self.serve(script)
        client = self.connect()
        first = client.open()
        self.proxy.settle({"exchanges": 1})
        self.proxy.ended_by_test = True
        self.proxy.signal(signal.SIGTERM)
        # The first GOAWAY names no stream yet, the second one does (RFC 9113 6.8).
        client.until(lambda: getattr(client, "last_stream", None) == first)
        beyond = first + 2
        self.expect(client, beyond)
        client.send(head(beyond, GET if ends else POST, ends) + frames(beyond))
        client.send(frame(http2.PING, payload=b"in order"))
        client.until(lambda: client.pongs or client.goaway)
        gate.set()
        self.assertEqual(client.response(first).content, b"late", f"GOAWAY {client.goaway}")
        self.assertEqual(client.goaway, http2.NO_ERROR)
        self.assertIsNone(client.streams[beyond].status)
        client.rest()
        client.close()
        self.assertEqual(self.proxy.wait(), 0)

    def test_a_window_of_a_stream_beyond_goaway_ends_no_other_stream(self):
        self.check_beyond_goaway(
            lambda stream: frame(http2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 65_535)))

    def test_a_reset_of_a_stream_beyond_goaway_ends_no_other_stream(self):
        self.check_beyond_goaway(lambda stream: frame(http2.RST_STREAM, 0, stream, CANCEL))

    def test_content_of_a_stream_beyond_goaway_ends_no_other_stream(self):
        self.check_beyond_goaway(
            lambda stream: frame(http2.DATA, http2.END_STREAM, stream, b"x"), ends=False)

    def test_trailers_of_a_refused_stream_end_no_other_stream(self):
        self.serve(raw(b"", "stall"))
        client = self.connect()
        others = [client.open() for _ in range(client.settings[3])]
        over = client.next_stream
        self.expect(client, over)
        client.send(head(over, POST, False) + head(over, [("x-sum", "1")]))
        self.pong(client, b"behind 1")
        self.assertEqual(client.streams[over].reset, http2.REFUSED_STREAM)
        self.assertFalse([s for s in others if client.streams[s].is_over])

    def test_a_refused_stream_is_reset_once(self):
        self.serve(raw(b"", "stall"))
        client = self.connect()
        for _ in range(client.settings[3]):
            client.open()
        over = client.next_stream
        self.expect(client, over)
        client.send(head(over, POST, False) + frame(http2.DATA, 0, over, b"x") * 3)
        self.pong(client, b"behind 1")
        # A second RST_STREAM would say that the request must not be sent again.
        self.assertEqual(client.streams[over].reset, http2.REFUSED_STREAM)

    def test_more_uploads_at_once_than_streams_are_refused_and_no_flood(self):
        def script(served):
            while served.request():
                served.answer(b"ok")

        self.serve(script)
        client = Client(self.proxy.port)
        self.addCleanup(client.close)
        streams = range(1, 2 * 200, 2)
        self.expect(client, *streams)
        # Sent before the proxy's SETTINGS can have been read (RFC 9113 5.1.2 leaves them 100 or more).
        data = b"".join(head(stream, POST, False) for stream in streams)
        for turn in range(4):
            flags = http2.END_STREAM if turn == 3 else 0
            data += b"".join(frame(http2.DATA, flags, s, b"x" * 500) for s in streams)
        client.send(data)
        client.until(
            lambda: client.goaway is not None or all(s.is_over for s in client.streams.values()))
        self.assertIsNone(client.goaway)
        served = [s for s in client.streams.values() if s.status == 200]
        self.assertGreaterEqual(len(served), client.settings[3])

    def test_trailers_behind_many_resets_end_no_connection(self):
        """A server that dies fails all uploads of a connection; their ends are on the way."""
        gate = self.make_gate()

        def script(served):
            try:
                while served.fill() and not gate.is_set():
                    pass
            except (OSError, Truncated):
                return
            served.reset()

        self.serve(script)
        client = self.connect()
        streams = [client.open("/", "POST", content=b"a", ends=False) for _ in range(100)]
        self.proxy.settle({"exchanges": 100})
        gate.set()
        for stream in streams:
            client.send(frame(http2.DATA, 0, stream, b"b"))
        self.proxy.settle({"exchanges": 0})
        client.send(b"".join(head(stream, [("x-sum", "1")]) for stream in streams))
        self.pong(client, b"behind 1")


@on_both_engines
class Kept(AttackCase):
    """What a finished exchange leaves behind."""

    def test_an_end_behind_content_of_announced_length_leaves_no_frame_with_the_pooled_connection(self):
        gate = self.make_gate()

        def script(served):
            while served.request():
                gate.wait(settings.HANG)
                served.answer(b"ok")

        self.serve(script)
        client = self.connect()
        for _ in range(3):
            gate.clear()
            stream = client.open("/", "POST", [("content-length", "3")], b"abc", ends=False)
            self.pong(client, b"content.")
            self.proxy.settle({"exchanges": 1})
            client.send(frame(http2.DATA, http2.END_STREAM, stream))
            client.pongs.clear()
            self.pong(client, b"the end.")
            client.pongs.clear()
            gate.set()
            self.assertEqual(client.response(stream).content, b"ok")
            self.proxy.settle({"exchanges": 0})
        client.close()
        self.proxy.settle({"connections": 0, "frames": 0, "leases": 0, "cold_bytes": 0})


@on_both_engines
class Dressed(AttackCase):
    """Floods that look like work."""

    def check_flood(self, piece, count, **options):
        client = self.connect(opens=False, **options)
        stream = client.open("/", "POST", ends=False)
        self.expect(client, *range(1, 2 * 50 * count, 2))
        try:
            for turn in range(count):
                client.send(b"".join(piece(50 * turn + n, stream) for n in range(50)))
                self.read_what_is_there(client)
                if client.goaway is not None:
                    break
        except OSError:
            pass
        self.read_what_is_there(client)
        self.assertEqual(client.goaway, http2.ENHANCE_YOUR_CALM)
        self.assertEqual(self.proxy.counters()["http2_floods"], 1)
        client.close()
        self.proxy.settle({"exchanges": 0, "connections": 0})

    def test_data_that_is_padding_alone(self):
        self.serve(raw(b"", "stall"))
        self.check_flood(lambda _, stream: frame(http2.DATA, http2.PADDED, stream, b"\0"), 200)

    def test_resets_behind_a_few_bytes_of_content(self):
        self.serve()

        def piece(turn, _):
            stream = 2 * turn + 3
            return (
                head(stream, POST, False) + frame(http2.DATA, 0, stream, b"x") * 5
                + frame(http2.RST_STREAM, 0, stream, CANCEL))

        self.check_flood(piece, 40)
        # Each of them may have cost a connection to a server: two hundred at once, and then some.
        self.assertLess(self.proxy.counters()["requests"], 1000)

    def test_resets_paid_for_by_an_upload_beside_them(self):
        self.serve(raw(b"", "stall"))

        def piece(turn, upload):
            stream = 2 * turn + 3
            return (
                frame(http2.DATA, 0, upload, b"x") * 5 + head(stream, GET)
                + frame(http2.RST_STREAM, 0, stream, CANCEL))

        self.check_flood(piece, 40)

    def test_windows_of_one_byte(self):
        size = 30_000

        def script(served):
            while served.request():
                served.answer(b"x" * size)

        self.serve(script)
        client = self.connect(window=1, opens=False)
        stream = client.open()
        try:
            for _ in range(size // 100):
                client.send(frame(http2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 1)) * 100)
                self.read_what_is_there(client)
                if client.goaway is not None:
                    break
        except OSError:
            pass
        self.read_what_is_there(client)
        self.assertEqual(
            client.goaway, http2.ENHANCE_YOUR_CALM, f"{len(client.streams[stream].content)} bytes")


if __name__ == "__main__":
    unittest.main()
