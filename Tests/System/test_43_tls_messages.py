"""Layer 4: TLS messages that carry no data and cost an answer, from clients that read it or do not.

Each goes in a segment of its own, so that the proxy reads it, and has to answer it, by itself. The
limits are those of `MessageLimits`: 32 messages, and one more for each MiB of data.
"""

import array
import fcntl
import socket
import termios
import time

from harness import settings, tlsclient, wire
from harness.case import SystemCase, on_both_engines

LIMIT = 32
MIB = 1 << 20
LARGE = 12 << 20  # more than all socket buffers between an origin and a client hold
PIECE = bytes(range(256)) * 4096
# Answers of 27 bytes each: more than the small window and the socket buffer before it held, when
# each was answered.
UNREAD = 60_000
BATCH = 500


def scripted(served):
    """/large, /mib and /size/N answer with so much, everything else with `ok`."""
    while message := served.request():
        size = {"/large": LARGE, "/mib": MIB}.get(message.target)
        if message.target.startswith("/size/"):
            served.answer(b"x" * int(message.target.rpartition("/")[2]))
            continue
        if size is None:
            served.answer(b"ok")
            continue
        served.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MIB):
            served.send(PIECE)


@on_both_engines
class TLSMessages(SystemCase):
    def setUp(self):
        super().setUp()
        self.origin = self.start_origin(scripted)
        self.proxy = self.proxy_before(self.origin.port, tls=self.site_tls)
        for _ in range(3):
            self.check_it_lives("at the start")
        self.baseline = self.proxy.settle()

    def client(self, **options):
        client = tlsclient.Client(self.proxy.port, timeout=settings.HANG, **options)
        self.addCleanup(client.close)
        return client

    def check_it_lives(self, why):
        self.assertTrue(self.proxy.is_running, f"the proxy died: {why}\n{self.proxy.tail()}")
        self.assertEqual(self.fetch(self.proxy, tls=True).status, 200, why)

    def check_all_is_back(self, client, why):
        client.close()
        self.origin.drop_all()
        self.check_it_lives(why)
        self.proxy.settle(self.baseline)

    def wait_until(self, happened, message):
        deadline = time.monotonic() + settings.HANG
        while not happened():
            self.assertTrue(self.proxy.is_running, f"the proxy died: {message}")
            self.assertLess(time.monotonic(), deadline, message)
            time.sleep(0.01)

    def counter(self, name):
        return self.proxy.counters()[name]

    def storm(self, client, count):
        """KeyUpdates in segments of their own, until all are sent or the proxy has had enough."""
        for number in range(count):
            try:
                client.socket.sendall(client.key_update())
            except OSError:
                return number
            if number % 8 == 7:
                time.sleep(0.001)  # a pause, so that the kernel does not join many to one read
        return count

    def stop_reading(self, client):
        """Asks for more than fits anywhere and waits until no more of it leaves."""
        client.send(wire.get("/large"))
        seen = []

        def stands_still():
            time.sleep(0.05)
            seen.append(self.origin.requests and self.queued(client))
            return len(seen) > 3 and seen[-1] and seen[-1] == seen[-4]

        self.wait_until(stands_still, "the response does not stop")

    @staticmethod
    def read_faster(client):
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    @staticmethod
    def queued(client):
        """Bytes that wait in the client's socket (FIONREAD)."""
        count = array.array("i", [0])
        fcntl.ioctl(client.socket, termios.FIONREAD, count)
        return count[0]

    def test_key_updates_behind_a_response_that_is_not_read(self):
        client = self.client(receive_buffer=4096)
        self.stop_reading(client)
        self.storm(client, 2000)
        self.wait_until(lambda: self.counter("tls_stalls") > 0, "the session does not stall")
        self.check_it_lives("with KeyUpdates behind a response")
        # Once it reads, what it sent is decrypted, and that is too much.
        self.read_faster(client)
        try:
            while client.receive():
                pass
        except (OSError, tlsclient.Closed):
            pass
        self.wait_until(lambda: self.counter("tls_floods") == 1, "no session was ended")
        self.check_all_is_back(client, "after KeyUpdates behind a response")

    def test_key_updates_without_a_request_that_are_never_read(self):
        client = self.client(receive_buffer=4096)
        try:
            for _ in range(UNREAD // BATCH):
                client.socket.sendall(b"".join(client.key_update() for _ in range(BATCH)))
        except OSError:
            pass
        self.storm(client, 2000)
        self.wait_until(lambda: self.counter("tls_floods") == 1, "no session was ended")
        self.check_all_is_back(client, "after KeyUpdates that are not read")

    def test_one_below_at_and_above_the_limit(self):
        for kind in (tlsclient.REQUESTED, tlsclient.NOT_REQUESTED):
            for count in (LIMIT - 1, LIMIT, LIMIT + 1):
                with self.subTest(kind=kind, count=count):
                    client = self.client()
                    for _ in range(count):
                        client.socket.sendall(client.key_update(kind))
                    self.check_session(client, count <= LIMIT)
        self.assertEqual(self.counter("tls_floods"), 2)

    def test_data_allows_more(self):
        for count in (LIMIT, LIMIT + 1, LIMIT + 2):
            with self.subTest(count=count):
                client = self.client()
                client.send(wire.get("/mib"))
                self.read_response(client, MIB)
                for _ in range(count):
                    client.socket.sendall(client.key_update())
                self.check_session(client, count <= LIMIT + 1)
        self.assertEqual(self.counter("tls_floods"), 1)

    def test_an_answer_leaves_before_a_response_of_any_size(self):
        # OpenSSL puts its KeyUpdate before the next record: sizes around the room of a frame
        # (2,976 bytes) and of a large buffer (131,072), where there is none left for it.
        sizes = [*range(2640, 2860), *range(130_700, 131_100, 9)]
        for start in range(0, len(sizes), LIMIT):
            client = self.client()
            for size in sizes[start : start + LIMIT]:
                client.socket.sendall(client.key_update())
                client.send(wire.get(f"/size/{size}"))
                self.assertSameBytes(self.read_response(client, size), b"x" * size)
            client.close()

    def check_session(self, client, is_alive):
        try:
            client.send(wire.get())
            self.read_response(client, 2)
            answered = True
        except (OSError, tlsclient.Closed):
            answered = False
        client.close()
        self.assertEqual(answered, is_alive)

    def read_response(self, client, size):
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.receive()
            if not part:
                raise tlsclient.Closed("no response")
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
        return body + client.receive_exactly(size - len(body))

    def test_what_comes_while_an_answer_waits_is_used_later(self):
        client = self.client(receive_buffer=4096)
        self.stop_reading(client)
        self.assertEqual(self.storm(client, LIMIT), LIMIT)
        client.send(wire.get("/behind"))
        self.wait_until(lambda: self.counter("tls_stalls") > 0, "the session does not stall")
        self.read_faster(client)
        self.assertSameBytes(self.read_response(client, LARGE), PIECE * (LARGE // MIB))
        self.assertEqual(self.read_response(client, 2), b"ok")
        self.assertEqual(self.counter("tls_floods"), 0)
        self.check_all_is_back(client, "after a stall")

    def test_what_is_held_while_an_answer_waits_is_bounded(self):
        client = self.client(receive_buffer=4096)
        self.stop_reading(client)
        self.assertEqual(self.storm(client, LIMIT), LIMIT)
        self.wait_until(lambda: self.counter("tls_stalls") > 0, "the session does not stall")
        before = self.counter("cold_bytes")
        client.socket.settimeout(1)
        records = client.data(wire.get("/behind") * 100)
        try:
            for _ in range(64 * MIB // len(records)):
                client.socket.sendall(records)
                records = client.data(wire.get("/behind") * 100)
        except OSError:
            pass  # the window is closed: this is what was wanted
        self.assertLess(self.counter("cold_bytes") - before, MIB)
        self.check_all_is_back(client, "after requests behind a stall")

    def test_the_end_of_input_behind_an_answer_that_waits(self):
        client = self.client(receive_buffer=4096)
        self.stop_reading(client)
        self.storm(client, LIMIT)
        client.send(wire.get("/behind"))
        self.wait_until(lambda: self.counter("tls_stalls") > 0, "the session does not stall")
        client.socket.shutdown(socket.SHUT_WR)
        self.read_faster(client)
        self.assertSameBytes(self.read_response(client, LARGE), PIECE * (LARGE // MIB))
        self.assertEqual(self.read_response(client, 2), b"ok")
        self.check_all_is_back(client, "after a half-close behind a stall")

    def test_renegotiation_behind_a_response_that_is_not_read(self):
        client = self.client(version=tlsclient.TLS12, receive_buffer=4096)
        self.stop_reading(client)
        hello = client.renegotiation()
        self.assertTrue(hello)
        try:
            for _ in range(200):
                client.socket.sendall(hello)  # the first one ends the session
                time.sleep(0.001)
        except OSError:
            pass
        self.check_all_is_back(client, "after a renegotiation")
