"""Layer 2: tunnels and relays through which much goes: their bytes are left to the kernel, splice(2). What comes
out is what went in, records have the bytes, and every end is the same as without.
"""

import hashlib
import random
import socket
import ssl
import threading
import time

from harness import certificates, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines
from harness.tlsorigin import TLSOrigin

MEBIBYTE = 1 << 20
# Of a second's standard threshold of 4 MiB a direction is taken over soon behind it.
MUCH = 48 * MEBIBYTE
BLOCK = random.Random(3).randbytes(MEBIBYTE)


def block(number):
    return BLOCK[number:] + BLOCK[:number]


def accepting(script):
    """A server that switches, then does what the script says."""

    def serve(served):
        served.request()
        served.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
        script(served)

    return serve


def echo(served):
    if served.buffer:
        served.send(bytes(served.buffer))
    while data := served.socket.recv(1 << 18):
        served.socket.sendall(data)
    served.socket.shutdown(socket.SHUT_WR)


class PassageCase(SystemCase):
    def serve(self, script, **others):
        self.origin = self.start_origin(accepting(script))
        config = self.settings_for(
            self.origin.port, timeouts={"head": "5s", "body": "1h", "idle": "1h"},
            upstream={"upgrades": ["test"]}, **others)
        self.proxy = self.start_proxy(config)

    def open(self):
        connection = self.connect(self.proxy)
        connection.send(wire.get("/t", Connection="Upgrade", Upgrade="test"))
        self.assertEqual(connection.response_head().status, 101)
        connection.socket.settimeout(settings.HANG)
        return connection

    def feed(self, own, size):
        """Sends in a thread of its own. - Returns: the thread, and the digest of all."""
        digest = hashlib.sha256()

        def run():
            for number in range(size // MEBIBYTE):
                digest.update(block(number))
                own.sendall(block(number))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread, digest

    def drain(self, own, size):
        digest = hashlib.sha256()
        left = size
        while left:
            data = own.recv(min(left, 1 << 18))
            self.assertTrue(data, f"an end {left} bytes early")
            digest.update(data)
            left -= len(data)
        return digest

    def exchange(self, own, size):
        thread, sent = self.feed(own, size)
        received = self.drain(own, size)
        thread.join(settings.HANG)
        self.assertEqual(received.hexdigest(), sent.hexdigest())

    def check_all_is_back(self):
        self.proxy.settle({"exchanges": 0, "connections": 0, "tunnels_open": 0})
        counters = self.proxy.counters()
        for key in ("leases", "frames", "cold_bytes", "upstream_connections"):
            self.assertEqual(counters[key], 0, key)
        return counters


@on_both_engines
class Bytes(PassageCase):
    def test_what_comes_back_is_what_was_sent_and_the_record_has_its_bytes(self):
        log = AuditLog(self.folder / "audit")
        self.serve(echo, audit={"directory": str(log.directory)})
        connection = self.open()
        self.exchange(connection.socket, MUCH)
        # Behind much, little: the last bytes of a burst wait for nothing.
        connection.send(b"x" * 1000)
        self.assertEqual(connection.take(1000), b"x" * 1000)
        connection.finish_sending()
        self.assertEqual(connection.rest(), b"")
        counters = self.check_all_is_back()
        self.assertGreaterEqual(counters["tunnel_passages"], 2)
        self.assertEqual(counters["tunnels_cut"], 0)
        self.proxy.stop()
        end = log.of_kind("end")[0]
        self.assertEqual(
            (end["request_bytes"], end["response_bytes"], end["ending"]),
            (MUCH + 1000, MUCH + 1000, "complete"))
        code, text = log.verify()
        self.assertEqual(code, 0, text)

    def test_little_is_not_left_to_the_kernel(self):
        self.serve(echo)
        connection = self.open()
        for _ in range(200):
            connection.send(b"y" * 2000)
            self.assertEqual(connection.take(2000), b"y" * 2000)
        connection.close()
        self.assertEqual(self.check_all_is_back()["tunnel_passages"], 0)

    def test_a_direction_that_rests_goes_on_with_little_and_with_much(self):
        self.serve(echo, limits={"connections": 100})
        connection = self.open()
        for _ in range(2):
            self.exchange(connection.socket, MUCH)
            passages = self.proxy.counters()["tunnel_passages"]
            time.sleep(1.5)
            for _ in range(3):
                connection.send(b"z" * 100)
                self.assertEqual(connection.take(100), b"z" * 100)
        self.assertGreaterEqual(passages, 2)
        connection.close()
        self.check_all_is_back()


@on_both_engines
class Ends(PassageCase):
    def test_the_end_of_one_direction_leaves_the_other(self):
        heard = []

        def server(served):
            served.socket.sendall(b"".join(block(n) for n in range(MUCH // MEBIBYTE)))
            served.socket.shutdown(socket.SHUT_WR)
            digest = hashlib.sha256()
            total = 0
            while data := served.socket.recv(1 << 18):
                digest.update(data)
                total += len(data)
            heard.append((total, digest.hexdigest()))

        self.serve(server)
        connection = self.open()
        expected = hashlib.sha256(b"".join(block(n) for n in range(MUCH // MEBIBYTE)))
        self.assertEqual(self.drain(connection.socket, MUCH).hexdigest(), expected.hexdigest())
        self.assertFalse(connection.fill())
        self.assertEqual(self.proxy.counters()["tunnels_open"], 1)
        thread, sent = self.feed(connection.socket, MUCH)
        thread.join(settings.HANG)
        connection.finish_sending()
        counters = self.check_all_is_back()
        self.assertEqual(counters["tunnels_cut"], 0)
        self.assertGreaterEqual(counters["tunnel_passages"], 2)
        deadline = time.monotonic() + settings.HANG
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(heard, [(MUCH, sent.hexdigest())])

    def cut(self, by_server):
        """A reset in the middle of much."""
        ended = []

        def server(served):
            taken = 0
            try:
                while data := served.socket.recv(1 << 18):
                    taken += len(data)
                    if by_server and taken > 24 * MEBIBYTE:
                        return served.reset()
                ended.append("end")
            except ConnectionResetError:
                ended.append("reset")

        self.serve(server)
        connection = self.open()
        failed = []

        def send():
            try:
                for number in range(256):
                    connection.socket.sendall(block(number % MEBIBYTE))
                    if not by_server and number == 24:
                        return connection.reset()
            except (ConnectionResetError, BrokenPipeError):
                failed.append(True)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        thread.join(settings.TEST_HANG)
        counters = self.check_all_is_back()
        self.assertEqual(counters["tunnels_cut"], 1)
        self.assertGreaterEqual(counters["tunnel_passages"], 1)
        if by_server:
            self.assertEqual(failed, [True])
        else:
            deadline = time.monotonic() + settings.HANG
            while not ended and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual(ended, ["reset"])

    def test_a_reset_of_the_client_is_one_to_the_server(self):
        self.cut(by_server=False)

    def test_a_reset_of_the_server_is_one_to_the_client(self):
        self.cut(by_server=True)

    def test_a_reader_that_stops_costs_a_pipe_and_the_drain_cuts_it(self):
        stopped = threading.Event()

        def server(served):
            taken = 0
            while taken < 24 * MEBIBYTE:
                taken += len(served.socket.recv(1 << 18))
            stopped.wait(settings.TEST_HANG)

        self.serve(server, drain={"deadline": "1s"})
        self.addCleanup(stopped.set)
        connection = self.open()
        connection.socket.settimeout(2)
        sent = 0
        with self.assertRaises(TimeoutError):
            for number in range(256):
                connection.socket.sendall(block(number))
                sent += MEBIBYTE
        counters = self.proxy.counters()
        self.assertGreaterEqual(counters["tunnel_passages"], 1)
        # What it has not taken lies in the kernel: sockets' buffers and one pipe.
        self.assertLess(counters["cold_bytes"], MEBIBYTE)
        self.assertLess(sent, 128 * MEBIBYTE)
        self.proxy.stop()


@on_both_engines
class Relays(PassageCase):
    def test_tls_that_ends_at_the_server(self):
        pair = certificates.authority().issue("a.test")
        origin = TLSOrigin(echo_tls, pair=pair)
        self.addCleanup(self._close_origin, origin)
        config = self.settings_for(1, timeouts={"head": "5s", "body": "1h", "idle": "1h"})
        config["upstreams"] = {"a": {"servers": [f"127.0.0.1:{origin.port}"]}}
        config["listeners"][0].update({"protocol": "relay", "sni": [{"name": "a.test", "upstream": "a"}]})
        del config["routes"]
        self.proxy = self.start_proxy(config)
        raw = socket.create_connection(("127.0.0.1", self.proxy.port), settings.HANG)
        context = certificates.authority().client()
        with context.wrap_socket(raw, server_hostname="a.test") as connection:
            expected, received = hashlib.sha256(), hashlib.sha256()
            for number in range(MUCH // MEBIBYTE):
                expected.update(block(number))
                connection.sendall(block(number))
                left = MEBIBYTE
                while left:
                    data = connection.recv(min(left, 1 << 18))
                    self.assertTrue(data)
                    received.update(data)
                    left -= len(data)
        self.assertEqual(received.hexdigest(), expected.hexdigest())
        self.assertGreaterEqual(self.check_all_is_back()["tunnel_passages"], 1)


def echo_tls(served):
    """By the mebibyte: Python's ssl allows no second thread."""
    data = bytearray(served.buffer)
    while True:
        while len(data) >= MEBIBYTE:
            served.socket.sendall(bytes(data[:MEBIBYTE]))
            del data[:MEBIBYTE]
        more = served.socket.recv(1 << 18)
        if not more:
            return
        data += more
