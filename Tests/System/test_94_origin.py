"""Layer 9: the origin of the lab before real clients: curl, h2load and raw sockets.

Delays are only bounded from below, which a slow machine cannot break. Every test ends its origin by
SIGTERM, which must end with status 0.
"""

import concurrent.futures
import itertools
import os
import re
import socket
import subprocess
import time
import unittest

from harness import certificates, peers, proxy, settings, wire
from harness.case import SystemCase, on_both_engines
from harness.loading import RunningOrigin

PERIOD = b"".join(b"%015x\n" % start for start in range(0, 131072, 16))
SIZES = (0, 1, 127, 2048, 2049, 4096, 16384, 131071, 131072, 131073, 1_000_000, 5_000_001)

# A way of asking: curl's words, whether over TLS, and the version that it must come to.
WAYS = {
    "http/1.1": (["--http1.1"], False, "1.1"),
    "h2 by its preface": (["--http2-prior-knowledge"], False, "2"),
    "http/1.1 over TLS": (["--http1.1"], True, "1.1"),
    "h2 by ALPN": (["--http2"], True, "2"),
}


def content(count):
    """What the origin says, byte for byte."""
    return (PERIOD * (count // len(PERIOD) + 1))[:count]


@on_both_engines
class Origin(SystemCase):
    def start(self, *words):
        """An origin on a plaintext port and a TLS port."""
        certificate, key = certificates.site()
        number = len(list(self.folder.glob("origin-*.log")))
        origin = RunningOrigin(
            ["--engine", self.engine, "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0",
             "--tls-certificate", certificate, "--tls-key", key, *words],
            self.folder / f"origin-{number}.log")
        self.addCleanup(self.finish, origin)
        origin.ready(2 + words.count("--listen"))
        return origin

    def finish(self, origin):
        if origin.process.poll() is None:
            self.assertEqual(origin.end(), 0, origin.log.read_text())
        self.assertNotIn("Fatal", origin.log.read_text())

    def ask(self, origin, path, way, *words, **options):
        arguments, tls, version = WAYS[way]
        url = f"https://site.test:{origin.tls_port}{path}" if tls else f"http://127.0.0.1:{origin.port}{path}"
        result = peers.curl(url, *arguments, *words, folder=self.folder, **options)
        if result.exit == 0:
            self.assertEqual(result.facts["http_version"], version)
        return result

    def raw(self, origin):
        connection = wire.Wire.connect(origin.port)
        self.addCleanup(connection.close)
        return connection

    # Sizes, statuses, delays

    def test_every_size_arrives_byte_for_byte(self):
        origin = self.start()
        for way, size in itertools.product(WAYS, SIZES):
            with self.subTest(way=way, size=size):
                result = self.ask(origin, f"/bytes/{size}", way)
                self.assertEqual((result.exit, result.status), (0, 200), result.errors)
                self.assertEqual(result.field("content-length"), str(size))
                self.assertSameBytes(result.body, content(size))
        self.assertEqual(origin.settle()["requests"], len(WAYS) * len(SIZES))

    def test_a_gibibyte_needs_no_memory(self):
        origin = self.start()
        for way in ("http/1.1", "h2 by its preface"):
            arguments, _, _ = WAYS[way]
            done = subprocess.run(
                ["curl", "-sS", *arguments, "-o", "/dev/null", "-w", "%{size_download}",
                 f"http://127.0.0.1:{origin.port}/bytes/1GiB"],
                capture_output=True, timeout=settings.TEST_HANG, check=True)
            self.assertEqual(int(done.stdout), 1 << 30)
        with open(f"/proc/{origin.process.pid}/status", encoding="ascii") as status:
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1))
        self.assertLess(peak, 131072)

    def test_statuses_and_methods(self):
        origin = self.start("--status", 201, "--size", 10)
        for way in WAYS:
            with self.subTest(way=way):
                self.assertEqual(self.ask(origin, "/", way).status, 201)
                self.assertEqual(self.ask(origin, "/status/404", way).status, 404)
                empty = self.ask(origin, "/status/204", way)
                self.assertEqual((empty.exit, empty.status, empty.body), (0, 204, b""))
                self.assertIsNone(empty.field("content-length"))
                head = self.ask(origin, "/bytes/70000", way, "--head")
                self.assertEqual((head.exit, head.field("content-length")), (0, "70000"))
                self.assertEqual(self.ask(origin, "/bytes/many", way).status, 400)
                self.assertEqual(self.ask(origin, "/no/such/word?a=/status/500", way).status, 201)

    def test_delays_pass_before_the_answer(self):
        origin = self.start("--delay", "60ms")
        for way in WAYS:
            with self.subTest(way=way):
                self.assertGreaterEqual(self.ask(origin, "/", way).facts["time_starttransfer"], 0.06)
                own = self.ask(origin, "/delay/120ms/bytes/9", way)
                self.assertGreaterEqual(own.facts["time_starttransfer"], 0.12)
                self.assertEqual(own.body, content(9))

    def test_a_rate_sets_the_pace_of_the_content(self):
        origin = self.start("--content-rate", "100KiB")
        for way in WAYS:
            with self.subTest(way=way):
                result = self.ask(origin, "/bytes/30KiB", way)
                self.assertSameBytes(result.body, content(30 * 1024))
                # The first twentieth of a second's worth leaves at once.
                self.assertGreaterEqual(result.facts["time_total"], 0.2)

    def test_answers_that_are_due_in_a_stall_leave_at_its_end(self):
        origin = self.start("--stall", "150ms every 300ms")
        connection = self.raw(origin)
        times = []
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            before = time.monotonic()
            connection.send(wire.get())
            connection.response()
            times.append(time.monotonic() - before)
        # Five periods: in each, one request waits for what is left of the pause.
        self.assertGreaterEqual(sum(1 for one in times if one > 0.1), 3, times[-10:])
        self.assertGreater(len(times), 20)

    def test_chunks(self):
        origin = self.start("--chunked")
        connection = self.raw(origin)
        for size in SIZES:
            message = connection.send(wire.get(f"/bytes/{size}")).response()
            self.assertTrue(message.chunked)
            self.assertSameBytes(message.body, content(size))
        old = self.raw(origin).send("GET /bytes/5000 HTTP/1.0\r\n\r\n").response()
        self.assertFalse(old.chunked)
        self.assertSameBytes(old.body, content(5000))

    # Connections

    def test_a_pipeline_is_answered_in_order(self):
        origin = self.start()
        connection = self.raw(origin)
        sizes = [(n * 37) % 3000 for n in range(500)] + [200_000, 3, 70_000]
        connection.send(b"".join(wire.get(f"/bytes/{size}") for size in sizes))
        for size in sizes:
            self.assertSameBytes(connection.response().body, content(size))
        # Byte by byte, and across heads.
        connection.send_slowly(wire.get("/bytes/5") + wire.get("/delay/10ms/bytes/6"), size=7, pause=0.001)
        self.assertEqual([len(connection.response().body) for _ in range(2)], [5, 6])
        self.assertEqual(origin.counters()["accepted"], 1)

    def test_connections_live_as_long_as_they_are_wanted(self):
        origin = self.start()
        connection = self.raw(origin)
        for _ in range(3):
            self.assertFalse(connection.send(wire.get()).response().closes)
        self.assertTrue(connection.send(wire.get(Connection="close")).response().closes)
        self.assertTrue(connection.is_closed_by_peer())
        old = self.raw(origin)
        old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertEqual(old.response().tokens("connection"), ["keep-alive"])
        old.send("GET / HTTP/1.0\r\n\r\n").response()
        self.assertTrue(old.is_closed_by_peer())
        half = self.raw(origin)
        half.send(wire.get("/delay/50ms/bytes/9")).finish_sending()
        self.assertEqual(half.response().body, content(9))
        self.assertTrue(half.is_closed_by_peer())
        origin.settle()

    def test_uploads_are_read_to_their_end_or_come_back(self):
        origin = self.start()
        upload = os.urandom(3_000_001)
        for way in WAYS:
            with self.subTest(way=way):
                words = ("--data-binary", "@-")
                self.assertEqual(self.ask(origin, "/bytes/7", way, *words, input_bytes=upload).body, content(7))
                self.assertSameBytes(self.ask(origin, "/echo", way, *words, input_bytes=upload).body, upload)
                self.assertEqual(self.ask(origin, "/echo", way, *words, input_bytes=b"").body, b"")
        self.assertEqual(origin.settle()["content_received"], 2 * len(WAYS) * len(upload))
        connection = self.raw(origin)
        chunked = b"PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e\r\nde\r\n0\r\nT: 1\r\n\r\n"
        connection.send(chunked + wire.get("/bytes/2"))
        self.assertEqual([connection.response().body for _ in range(2)], [b"abcde", content(2)])

    def test_a_client_that_asks_whether_to_continue_is_told(self):
        origin = self.start()
        connection = self.raw(origin)
        connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(connection.response_head().status, 100)
        self.assertEqual(connection.send(b"abcd").response().body, b"abcd")
        result = self.ask(origin, "/echo", "h2 by ALPN", "-H", "Expect: 100-continue", "--data-binary", "@-", input_bytes=b"x" * 9)
        self.assertEqual(result.body, b"x" * 9)
        self.assertIn("HTTP/2 100", result.head)

    def test_what_is_no_request_gets_an_error(self):
        origin = self.start()
        for sent, status in (
            ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\nHost: x\r\nX: " + "y" * 70000 + "\r\n\r\n", 431),
            ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ):
            with self.subTest(sent=sent[:40]):
                connection = self.raw(origin).send(sent)
                self.assertEqual(connection.response().status, status)
                self.assertTrue(connection.is_closed_by_peer())
        plain = wire.Wire.connect(origin.tls_port)
        self.addCleanup(plain.close)
        plain.send(wire.get())
        plain.rest()
        origin.settle()

    def test_many_requests_and_streams_at_once(self):
        origin = self.start()
        for words, url in (
            (["--h1", "-m", "8"], f"http://127.0.0.1:{origin.port}/"),
            (["-m", "50"], f"http://127.0.0.1:{origin.port}/bytes/3000"),
            (["-m", "50"], f"https://127.0.0.1:{origin.tls_port}/bytes/3000"),
        ):
            with self.subTest(words=words):
                done = subprocess.run(
                    ["h2load", "-n", "20000", "-c", "20", "-t", "1", *words, url],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=settings.TEST_HANG, check=False)
                result = peers.parse_h2load(done.stdout.decode())
                self.assertEqual((result.succeeded, result.failed), (20000, 0), result.text)
        found = origin.settle()
        self.assertEqual((found["requests"], found["streams"]), (60000, 0))

    def test_the_memory_of_http2_stands_still(self):
        origin = self.start()
        url = f"http://127.0.0.1:{origin.port}/"
        def load():
            subprocess.run(["h2load", "-n", "5000", "-c", "4", "-m", "20", url], capture_output=True, check=True)
            return origin.settle()["http2_allocations"]
        # More at once than ever before takes more; what a request or a connection leaves behind, each load would.
        counts = [load()]
        for _ in range(10):
            counts.append(load())
            if counts[-1] == counts[-2]:
                return
        self.fail(f"each load allocates: {counts}")

    def test_a_connection_beyond_the_limit_is_reset(self):
        origin = self.start("--connections", 16)
        held = [self.raw(origin) for _ in range(16)]
        for one in held:
            self.assertEqual(one.send(wire.get()).response().status, 200)
        with self.assertRaises((ConnectionResetError, wire.Truncated)):
            self.raw(origin).send(wire.get()).response()
        held.pop().close()
        deadline = time.monotonic() + settings.HANG
        while origin.counters()["connections"] == 16:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(self.raw(origin).send(wire.get()).response().status, 200)
        self.assertGreaterEqual(origin.counters()["refused"], 1)

    def test_a_unix_socket_and_several_threads(self):
        path = self.folder / "o.sock"
        origin = self.start("--listen", f"unix:{path}", "--threads", 2)
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(str(path))
            self.assertEqual(wire.Wire(plain).send(wire.get()).response().status, 200)
        for _ in range(20):
            self.assertEqual(self.raw(origin).send(wire.get()).response().status, 200)

    # Failures

    def test_each_fault_is_what_its_name_says_in_http1(self):
        origin = self.start()
        def exchange(fault, more=""):
            connection = self.raw(origin)
            return connection, connection.send(wire.get(f"/bytes/1000/fault/{fault}{more}"))
        for fault in ("reset", "rst-stream"):
            connection, _ = exchange(fault)
            with self.assertRaises(ConnectionResetError):
                connection.fill()
        connection, _ = exchange("reset-content")
        self.assertEqual(connection.head().get("content-length"), "1000")
        self.assertSameBytes(connection.take(500), content(500))
        with self.assertRaises(ConnectionResetError):
            connection.fill()
        connection, _ = exchange("truncate")
        self.assertEqual(connection.head().get("content-length"), "1000")
        self.assertSameBytes(connection.rest(), content(500))
        connection, _ = exchange("short")
        self.assertEqual(connection.head().get("content-length"), "1016")
        self.assertSameBytes(connection.take(1000), content(1000))
        self.assertStaysSilent(connection)
        connection, _ = exchange("long")
        self.assertEqual(connection.head().get("content-length"), "1000")
        self.assertSameBytes(connection.take(1016), content(1016))
        connection, _ = exchange("garbage")
        with self.assertRaises(wire.BadMessage):
            connection.response()
        connection, _ = exchange("unfinished")
        with self.assertRaises(wire.Truncated):
            connection.response()
        for fault in ("silent", "deaf"):
            connection, _ = exchange(fault)
            self.assertStaysSilent(connection)
        connection, _ = exchange("goaway")
        self.assertTrue(connection.response().closes)
        self.assertTrue(connection.is_closed_by_peer())
        connection, _ = exchange("503")
        self.assertEqual(connection.response().status, 503)
        before = time.monotonic()
        _, sent = exchange("slow", "/bytes/200")
        self.assertSameBytes(sent.response().body, content(200))
        self.assertGreater(time.monotonic() - before, 0.1)

    def assertStaysSilent(self, connection):
        connection.socket.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            connection.fill()

    def test_a_deaf_origin_takes_no_more_than_the_kernel_holds(self):
        origin = self.start()
        connection = self.raw(origin)
        connection.socket.settimeout(0.5)
        connection.send("POST /fault/deaf HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        with self.assertRaises(TimeoutError):
            connection.send(b"x" * 100_000_000)
        self.assertLess(origin.counters()["content_received"], 1_000_000)

    def test_each_fault_is_what_its_name_says_in_http2(self):
        origin = self.start()
        # curl's exit codes: 16 and 92 are HTTP/2's layers, 52 nothing came, 55 and 56 the transport.
        for way in ("h2 by its preface", "h2 by ALPN"):
            for fault, codes, words in (
                ("reset", (16, 35, 52, 55, 56), ""), ("rst-stream", (92,), "INTERNAL_ERROR"),
                ("reset-content", (92,), "INTERNAL_ERROR"), ("truncate", (92, 18), ""),
                ("long", (92,), "PROTOCOL_ERROR"), ("garbage", (16, 52, 55, 56, 92), ""),
                ("goaway", (0,), ""), ("504", (0,), ""),
            ):
                with self.subTest(way=way, fault=fault):
                    result = self.ask(origin, f"/bytes/50000/fault/{fault}", way)
                    self.assertIn(result.exit, codes, result.errors)
                    self.assertIn(words, result.errors)
                    if fault == "504":
                        self.assertEqual(result.status, 504)
            for fault in ("silent", "deaf", "short"):
                with self.subTest(way=way, fault=fault):
                    self.assertEqual(self.ask(origin, f"/fault/{fault}", way, limit=1).exit, 28)

    def frames(self, origin, path):
        """One GET of HTTP/2, and what came back: (type, flags, payload) until the end or a pause."""
        connection = self.raw(origin)
        block = b"\x82\x86\x04" + bytes([len(path)]) + path.encode() + b"\x01\x01x"
        head = len(block).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + block
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0" + head)
        connection.socket.settimeout(0.5)
        found = []
        try:
            while True:
                start = connection.take(9)
                found.append((start[3], start[4], connection.take(int.from_bytes(start[:3], "big"))))
        except wire.Truncated:
            return found, "end"
        except TimeoutError:
            return found, "pause"

    def test_content_of_http2_that_has_no_end(self):
        origin = self.start()
        for fault, ending in (("unfinished", "end"), ("short", "pause"), ("none", "pause")):
            with self.subTest(fault=fault):
                found, how = self.frames(origin, f"/bytes/9/fault/{fault}")
                data = [(flags & 1, payload) for kind, flags, payload in found if kind == 0]
                self.assertEqual(b"".join(payload for _, payload in data), content(9))
                self.assertEqual(any(flag for flag, _ in data), fault == "none")
                self.assertEqual(how, ending)
        found, _ = self.frames(origin, "/fault/goaway")
        goaway = [payload for kind, _, payload in found if kind == 7]
        self.assertEqual(goaway[0][:8], b"\0\0\0\x01" + bytes(4))

    def outcomes(self, origin, count):
        """What happened to each request of a connection after the other."""
        found = []
        connection = self.raw(origin)
        for _ in range(count):
            try:
                message = connection.send(wire.get()).response()
                found.append((message.status, len(message.body)))
            except (ConnectionResetError, BrokenPipeError, wire.Truncated) as error:
                found.append(type(error).__name__)
                connection = self.raw(origin)
        return found

    def test_the_same_seed_gives_the_same_answers(self):
        words = ("--size", "lognormal(2KiB,1)", "--fault", "503=10%", "--fault", "reset=5%", "--fault", "truncate=5%")
        first, second, third = (
            self.outcomes(self.start(*words, "--seed", seed), 300) for seed in (7, 7, 8))
        self.assertEqual(first, second)
        self.assertNotEqual(first, third)
        # Of 300: six deviations around 30, and around 15 each.
        self.assertAlmostEqual(sum(1 for one in first if one[0] == 503), 30, delta=31)
        self.assertTrue(1 <= first.count("ConnectionResetError") <= 37, first)
        self.assertTrue(1 <= first.count("Truncated") <= 37, first)

    def test_http2_fails_as_often_as_it_is_told_to(self):
        origin = self.start("--fault", "503=20%")
        done = subprocess.run(
            ["h2load", "-n", "5000", "-c", "5", "-m", "10", f"http://127.0.0.1:{origin.port}/"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=settings.TEST_HANG, check=False)
        result = peers.parse_h2load(done.stdout.decode())
        # Binomial: 28 is one deviation.
        self.assertAlmostEqual(result.statuses["5xx"], 1000, delta=170)
        self.assertEqual(origin.counters()["faults"], result.statuses["5xx"])

    # The process

    def test_a_signal_ends_it_after_the_answers_under_way(self):
        for way in ("http/1.1", "h2 by ALPN"):
            with self.subTest(way=way):
                origin = self.start()
                idle = self.raw(origin)
                idle.send(wire.get()).response()
                with concurrent.futures.ThreadPoolExecutor() as pool:
                    asked = pool.submit(self.ask, origin, "/delay/500ms/bytes/99", way)
                    deadline = time.monotonic() + settings.HANG
                    while origin.counters()["requests"] < 2:
                        self.assertLess(time.monotonic(), deadline)
                    self.assertEqual(origin.end(), 0)
                    result = asked.result()
                self.assertEqual((result.exit, result.body), (0, content(99)), result.errors)
                self.assertTrue(idle.is_closed_by_peer())

    def test_a_taken_port_is_named(self):
        origin = self.start()
        # SO_REUSEPORT lets the same user share a port; a socket without it does not.
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            ended, out, errors = proxy.run_to_end(["origin", "--engine", self.engine, "--listen", f"127.0.0.1:{port}"])
        self.assertEqual(ended, 1, out + errors)
        self.assertIn(str(port), out + errors)
        self.assertIn("in use", out + errors)
        self.assertEqual(self.raw(origin).send(wire.get()).response().status, 200)


class OriginArguments(unittest.TestCase):
    def test_invalid_arguments_are_reported_with_a_hint(self):
        for words, said in (
            (["--size", "big"], "uniform(1KiB,64KiB)"), (["--size", "uniform(9,1)"], "--size"),
            (["--delay", "5"], "with its unit"), (["--stall", "1s every 1s"], "200ms every 1s"),
            (["--fault", "explode=1%"], "rst-stream"), (["--fault", "reset"], "reset=0.1%"),
            (["--fault", "reset=60%", "--fault", "503=60%"], "100%"),
            (["--status", "99"], "200 to 599"), (["--engine", "kqueue"], "io_uring or epoll"),
            (["--threads", "0"], "--threads"), (["--cpus", "999"], "may not use"),
            (["--listen", "here"], "--listen"), (["--listen", "https://a"], "address"),
            (["--tls-listen", ":0"], "--tls-certificate"), (["--tls-key", "k"], "--tls-listen"),
            (["--content-rate", "0"], "16KiB"), (["--nonsense"], "Unknown option"),
        ):
            with self.subTest(words=words):
                ended, out, errors = proxy.run_to_end(["origin", *words])
                # What the parser itself refuses has the status of sysexits.h.
                self.assertEqual(ended, 64 if said == "Unknown option" else 2, out + errors)
                self.assertIn(said, out + errors)
                self.assertNotIn("listening", out)

    def test_a_certificate_that_cannot_be_read_is_named(self):
        ended, out, errors = proxy.run_to_end(
            ["origin", "--tls-listen", "127.0.0.1:0", "--tls-certificate", "/none.pem", "--tls-key", "/none.key"])
        self.assertEqual(ended, 2, out + errors)
        self.assertIn("/none.pem", out + errors)


if __name__ == "__main__":
    unittest.main()
