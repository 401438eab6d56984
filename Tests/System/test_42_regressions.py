"""Layer 4: what a review once broke, one test per finding, so that it stays mended.

Each sequence once ended the process, held it up, or passed off half a message for a whole one.
Sizes are those that did it: they sat at the edges of frames, buffers and records.
"""

import fcntl
import json
import os
import socket
import threading
import time
import unittest

from harness import configuration, disks, settings, streams, wire
from harness.case import SystemCase, on_both_engines
from harness.origin import raw

SHORT = {"head": "1s", "body": "1s", "idle": "1s"}
LONG = "1h"
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878  # _IOWR('X', 119 and 120, int), linux/fs.h
LAST = b"0\r\n\r\n"


def chunk(size):
    return b"%x\r\n" % size + b"x" * size + b"\r\n"


class RegressionCase(SystemCase):
    """A proxy with /good (an echo) and everything else at the origin that a test scripts."""

    def start_before(self, script, tls=False, **others):
        self.tls = tls
        self.origin = self.start_origin(script)
        config = self.settings_for(self.origin.port, tls=self.site_tls if tls else None, **others)
        config["upstreams"]["good"] = configuration.upstream(self.start_origin().port)
        config["routes"].insert(0, {"match": {"path": "/good"}, "upstream": "good"})
        self.proxy = self.start_proxy(config)
        for _ in range(3):
            self.assertEqual(self.good().status, 200)
        self.baseline = self.proxy.settle()

    def good(self):
        return self.fetch(self.proxy, wire.get("/good"), tls=self.tls)

    def ask(self, data=None, **options):
        return self.connect(self.proxy, tls=self.tls, **options).send(data or wire.get("/bad"))

    def part(self, **what):
        """A subtest, unless an earlier one ended the process."""
        self.assertTrue(self.proxy.is_running, f"the proxy died before {what}")
        return self.subTest(**what)

    def wait_until(self, happened, message):
        deadline = time.monotonic() + settings.HANG
        while not happened():
            self.assertTrue(self.proxy.is_running, f"the proxy died: {message}")
            self.assertLess(time.monotonic(), deadline, message)
            time.sleep(0.005)

    def check_it_lives(self, why):
        try:
            self.assertEqual(self.good().status, 200, why)
        except (OSError, wire.Truncated) as error:
            self.fail(f"{why}: {error!r}\n{self.proxy.tail()}")

    def check_all_is_back(self, why):
        self.origin.drop_all()
        self.check_it_lives(why)
        self.proxy.settle(self.baseline)


@on_both_engines
class ManySmallPieces(RegressionCase):
    """A frame's list of pieces is finite: neither chunks nor interim heads may run over it."""

    # The first chunks leave a frame's own memory nearly full; each small one needs a piece more.
    SIZES = (1018, 1024, 1025, 1026, 1027, 1031)

    def test_small_chunks_behind_large_ones_in_a_request(self):
        def script(served):
            while message := served.request():
                served.answer(b"%d" % len(message.body))

        self.start_before(script)
        for size in self.SIZES:
            for small in (7, 60):
                with self.part(size=size, small=small):
                    seen = self.origin.bytes_seen
                    connection = self.ask(wire.request("POST", Transfer_Encoding="chunked"))
                    self.wait_until(lambda: self.origin.bytes_seen > seen, "the head did not leave")
                    connection.send(chunk(2000) + chunk(size) + chunk(1) * small + LAST)
                    response = connection.response()
                    self.assertEqual(response.status, 200)
                    self.assertEqual(int(response.body), 2000 + size + small)
                    connection.close()
        self.check_all_is_back("after chunked requests")

    def test_small_chunks_behind_large_ones_in_a_response(self):
        seen = threading.Event()

        def script(served):
            while message := served.request():
                size, small = map(int, message.target[1:].split("-"))
                served.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                seen.wait(settings.HANG)
                served.send(chunk(2000) + chunk(size) + chunk(1) * small + LAST)

        self.start_before(script)
        for size in self.SIZES:
            for small in (7, 60):
                with self.part(size=size, small=small):
                    seen.clear()
                    connection = self.ask(wire.get(f"/{size}-{small}"))
                    response = connection.response_head()
                    seen.set()
                    connection.read_body(response, is_response=True)
                    self.assertSameBytes(response.body, b"x" * (2000 + size + small))
                    connection.close()
        self.check_all_is_back("after chunked responses")

    def test_interim_responses_without_end(self):
        def script(served):
            while message := served.request():
                count = int(message.target[1:])
                served.send(b"HTTP/1.1 100 Continue\r\n\r\n" * count)
                served.answer(b"ok")

        self.start_before(script)
        for count, status in ((1, 200), (32, 200), (33, 502), (163, 502), (5000, 502)):
            with self.part(count=count):
                response = self.fetch(self.proxy, wire.get(f"/{count}"))
                self.assertEqual(response.status, status)
                self.assertLessEqual(len(response.interim), 32)
        self.check_all_is_back("after interim responses")


@on_both_engines
class FieldsWithoutSpaces(RegressionCase):
    """A field line that the proxy writes has a space behind its colon: a head may grow."""

    def test_a_response_head_that_grows_arrives_whole_or_not_at_all(self):
        def script(served):
            while message := served.request():
                count, size = map(int, message.target[1:].split("-"))
                line = b"x-abcdefgh:" + b"b" * size + b"\r\n"
                served.send(
                    b"HTTP/1.1 200 OK\r\n" + line * count + b"Content-Length: 2\r\n\r\nok"
                )

        self.start_before(script)
        for count in (1, 100, 240, 254, 255, 256):
            for size in (1, 2, 3, 18, 50, 116, 242):
                with self.part(count=count, size=size):
                    response = self.fetch(self.proxy, wire.get(f"/{count}-{size}"))
                    self.assertIn(response.status, (200, 502))
                    if response.status == 200:
                        self.assertEqual(response.all("x-abcdefgh"), ["b" * size] * count)
                        self.assertEqual(response.body, b"ok")
        self.check_all_is_back("after long response heads")

    def test_a_request_head_of_the_greatest_size_that_grows_arrives_whole(self):
        def script(served):
            while message := served.request():
                served.answer(json.dumps(message.all("x")).encode())

        self.start_before(script)
        for limit in (1024, 2048, 3040, 4096, 16384, 32768, 65536):
            with self.part(head=limit):
                start = b"GET / HTTP/1.1\r\nHost:a\r\n"
                room = limit - len(start) - 2
                sizes = [room // 99 - 4] * 99
                sizes[-1] += room % 99
                lines = b"".join(b"x:" + b"v" * size + b"\r\n" for size in sizes)
                data = start + lines + b"\r\n"
                self.assertEqual(len(data), limit)
                response = self.fetch(self.proxy, data)
                self.assertEqual(response.status, 200)
                self.assertEqual(list(map(len, json.loads(response.body))), sizes)
        self.check_all_is_back("after long request heads")


@on_both_engines
class FrozenAuditDisk(RegressionCase):
    """Exchanges that end while they wait for the disk make room for more than there are slots."""

    def setUp(self):
        super().setUp()
        disks.require_loop_devices()
        self.disk = disks.Disk(self.folder, 96 << 20)
        self.addCleanup(self.disk.close)

    def freeze(self):
        self.frozen = os.open(self.disk.path, os.O_RDONLY)
        self.addCleanup(self.thaw)  # before the proxy must end
        fcntl.ioctl(self.frozen, _FIFREEZE, 0)

    def thaw(self):
        frozen, self.frozen = self.frozen, None
        if frozen is not None:
            fcntl.ioctl(frozen, _FITHAW, 0)
            os.close(frozen)

    def test_clients_that_leave_while_the_disk_is_frozen(self):
        audit = {"directory": str(self.disk.path / "audit"), "durability": "before_response"}
        audit["segment"] = {"size": "4MiB"}
        self.start_before(
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "keep"),
            audit=audit,
            limits={"connections": 32},
        )
        self.freeze()
        for number in range(250):
            try:
                connection = self.ask()
                time.sleep(0.005)
                connection.reset()
            except OSError as error:
                self.assertTrue(self.proxy.is_running, f"died at client {number}: {error!r}")
            time.sleep(0.003)
        self.assertTrue(self.proxy.is_running, "died while the disk was frozen")
        self.thaw()
        self.check_all_is_back("after the disk thawed")


@on_both_engines
class PinnedBuffers(RegressionCase):
    """Peers that stall hold no more of a worker's buffers than leaves others served."""

    def test_uploads_that_nobody_reads_leave_others_served(self):
        def script(served):
            served.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            if served.head().method == "GET":
                served.answer(b"ok", fields=["Connection: close"])
                return
            served.origin.closing.wait(settings.TEST_HANG)

        self.start_before(script)
        uploads = []
        for _ in range(240):
            connection = self.connect(self.proxy)
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            connection.send(wire.request("POST", Transfer_Encoding="chunked") + b"ffffffff\r\n")
            connection.socket.setblocking(False)
            uploads.append(connection)
        self.send_until_they_stall(uploads)
        for path in ("/small", "/good"):
            response = self.fetch(self.proxy, wire.get(path))
            self.assertEqual(response.status, 200, "stalled uploads hold up the worker")
        for connection in uploads:
            connection.close()
        self.check_all_is_back("after the stalled uploads")

    def send_until_they_stall(self, uploads):
        piece = b"x" * 65536
        quiet = 0
        deadline = time.monotonic() + settings.HANG
        while quiet < 8 and time.monotonic() < deadline:
            sent = 0
            for connection in uploads:
                try:
                    for _ in range(8):
                        sent += connection.socket.send(piece)
                except BlockingIOError:
                    pass
            quiet = 0 if sent else quiet + 1
            if not sent:
                time.sleep(0.05)

    def check_stalled_readers(self, chunked):
        size = 2_000_000
        counted = [0]
        lock = threading.Lock()

        def script(served):
            served.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            if served.head().target == "/big":
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
                served.send(head)
                for block in streams.blocks(size):
                    served.send(block)
                return
            served.send(b"HTTP/1.1 200 OK\r\n")
            framing = b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"
            served.send(framing if chunked else b"Content-Length: 268435455\r\n\r\n")
            while True:  # until the proxy no longer reads; dropped when the test ends
                served.send(b"x" * 30000)
                with lock:
                    counted[0] += 30000

        self.start_before(script)
        readers = [self.ask(wire.get("/stalled"), receive_buffer=4096) for _ in range(200)]
        quiet, before = 0, -1
        deadline = time.monotonic() + settings.HANG
        while quiet < 6 and time.monotonic() < deadline:
            quiet = quiet + 1 if counted[0] == before else 0
            before = counted[0]
            time.sleep(0.05)
        for _ in range(3):
            response = self.fetch(self.proxy, wire.get("/big"))
            self.assertEqual(response.status, 200, "stalled readers hold up the worker")
            self.assertSameBytes(response.body, b"".join(streams.blocks(size)))
        for connection in readers:
            connection.close()
        self.check_all_is_back("after the stalled readers")

    def test_readers_that_stall_leave_large_responses_going(self):
        self.check_stalled_readers(chunked=False)

    def test_readers_that_stall_in_chunked_responses_leave_large_ones_going(self):
        self.check_stalled_readers(chunked=True)


@on_both_engines
class PartsOfMessages(RegressionCase):
    """Half a message is never passed off for a whole one, in either direction."""

    def check_no_fragment(self, head, content):
        """The first connection takes the head, then the content, and is reset."""
        connections = []

        def script(served):
            number = len(connections)
            seen = bytearray()
            connections.append(seen)
            while data := served.socket.recv(65536):
                seen += data
                with served.origin.lock:
                    served.origin.bytes_seen += len(data)
                if seen.endswith(content):
                    if number == 0:
                        return served.reset()
                    return served.answer(b"again", fields=["Connection: close"])

        self.start_before(script)
        connection = self.ask(head)
        self.wait_until(lambda: self.origin.bytes_seen > 0, "the head did not leave")
        connection.send(content)
        try:
            response = connection.response()
            self.assertIn(response.status, (200, 502))
            self.assertEqual(response.status == 200, response.body == b"again")
        except (wire.Truncated, ConnectionResetError):
            pass
        connection.close()
        self.check_all_is_back("after a request that was reset")
        self.assertTrue(connections[0].startswith(b"PUT / HTTP/1.1\r\n"))
        for seen in connections[1:]:
            self.assertTrue(seen.startswith(b"PUT / HTTP/1.1\r\n"), f"a fragment: {bytes(seen)!r}")
            self.assertTrue(seen.endswith(b"\r\n\r\n" + content), f"a fragment: {bytes(seen)!r}")

    def test_the_end_of_a_chunked_put_is_not_sent_again_alone(self):
        self.check_no_fragment(wire.request("PUT", Transfer_Encoding="chunked"), LAST)

    def test_the_content_of_a_chunked_put_is_not_sent_again_alone(self):
        self.check_no_fragment(
            wire.request("PUT", Transfer_Encoding="chunked"), b"3\r\nabc\r\n" + LAST
        )

    def test_the_content_of_a_put_with_a_length_is_not_sent_again_alone(self):
        self.check_no_fragment(wire.request("PUT", Content_Length=5), b"hello")

    def check_resets_are_seen(self, sizes, pause, **others):
        """Responses that only the end of the connection ends, ended by a reset."""

        def script(served):
            size = int(served.request().target[1:])
            served.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size)
            time.sleep(0.0005 * (size % 2))
            served.reset()

        options = {"receive_buffer": 4096} if pause else {}
        self.start_before(script, upstream={"retries": {"attempts": 0}}, **others)
        for size in sizes:
            connection = self.ask(wire.get(f"/{size}"), **options)
            time.sleep(pause)
            try:
                response = connection.response()
                self.assertEqual(response.status, 502, f"{len(response.body)} bytes of {size}")
            except (wire.Truncated, ConnectionResetError):
                pass
            connection.close()
        self.check_all_is_back("after responses cut by a reset")

    def test_a_response_cut_by_a_reset_is_never_complete(self):
        audit = {"directory": str(self.folder / "audit")}
        self.check_resets_are_seen([80_000 + 701 * n for n in range(150)], 0, audit=audit)

    def test_a_response_cut_by_a_reset_is_never_complete_for_a_slow_reader(self):
        self.check_resets_are_seen([80_000 + 7_001 * n for n in range(100)], 0.01)

    def test_chunked_responses_around_the_end_of_a_buffer_of_records_arrive_whole(self):
        def script(served):
            while message := served.request():
                size = int(message.target[1:])
                served.send(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(size) + LAST
                )

        self.start_before(script, tls=True)
        connection = self.connect(self.proxy, tls=True)
        for size in (*range(130_700, 130_801), *range(130_000, 131_300, 50)):
            connection.send(wire.get(f"/{size}"))
            try:
                response = connection.response()
            except TimeoutError:
                self.fail(f"a response of {size} bytes does not end")
            self.assertSameBytes(response.body, b"x" * size)
        connection.close()
        self.check_all_is_back("after TLS responses")


@on_both_engines
class Blocked(RegressionCase):
    def test_malformed_content_behind_a_blocked_upload_is_answered(self):
        go = threading.Event()

        def script(served):
            served.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
            go.wait(settings.HANG)
            while served.socket.recv(1 << 20):
                pass

        self.start_before(script)
        for size in (0x4000, 0x3FF0, 0x10000):
            with self.part(chunk=size):
                go.clear()
                self.check_malformed_content(go, chunk(size))
        self.check_all_is_back("after malformed content")

    def check_malformed_content(self, go, piece):
        connection = self.connect(self.proxy)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        connection.send(wire.request("POST", Transfer_Encoding="chunked"))
        connection.socket.settimeout(0.3)
        unsent = memoryview(piece)
        deadline = time.monotonic() + settings.HANG
        while time.monotonic() < deadline:
            try:
                unsent = unsent[connection.socket.send(unsent) :] or memoryview(piece)
            except TimeoutError:
                break
        connection.socket.settimeout(settings.HANG)

        def finish():
            try:
                connection.send(bytes(unsent) + b"zz\r\n")
            except OSError:
                pass  # the proxy has answered and left

        rest = threading.Thread(target=finish, daemon=True)
        rest.start()
        time.sleep(0.05)
        go.set()
        try:
            self.assertEqual(connection.response().status, 400)
        except TimeoutError:
            self.fail("neither an answer nor an end")
        except (wire.Truncated, ConnectionResetError):
            pass
        rest.join(settings.HANG)
        connection.close()


EARLY = {
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "by_length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "until_close": b"HTTP/1.1 200 OK\r\n\r\nabc",
    "head_only": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "whole": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
}


class EarlyAnswers(RegressionCase):
    """An origin that answers before it has the request, and a client that then stalls."""

    def check_early_answer(self, answer):
        def script(served):
            served.head()
            served.send(answer)
            served.stall()

        upstream = {"timeouts": {"connect": "1s", "response": "1s"}}
        self.start_before(script, timeouts=SHORT, upstream=upstream)
        connection = self.ask(wire.request("POST", Content_Length=100))
        self.wait_until(lambda: self.origin.bytes_seen > 0, "the head did not leave")
        connection.send(b"x")
        try:
            connection.rest()
        except ConnectionResetError:
            pass
        except TimeoutError:
            self.fail("neither side moves, and the exchange never ends")
        connection.close()
        self.proxy.settle({"exchanges": self.baseline["exchanges"]})
        self.check_all_is_back("after an early answer")


for _name, _answer in EARLY.items():

    def _test(self, answer=_answer):
        self.check_early_answer(answer)

    setattr(EarlyAnswers, f"test_an_upload_that_stalls_behind_an_early_answer_{_name}", _test)

on_both_engines(EarlyAnswers)
del EarlyAnswers


@on_both_engines
class LostTimeouts(RegressionCase):
    def test_head_timeout_after_a_tls_handshake(self):
        # Only the head's timeout is shorter than the hang limit.
        timeouts = {"head": "1s", "body": LONG, "idle": LONG}
        self.start_before(raw(b"", "stall"), tls=True, timeouts=timeouts)
        for data in (b"", b"GET / HTTP/1.1\r\nHo"):
            with self.part(sent=data):
                connection = self.connect(self.proxy, tls=True).send(data)
                try:
                    self.assertIn(connection.rest()[:12], (b"", b"HTTP/1.1 408"))
                except ConnectionResetError:
                    pass
                except TimeoutError:
                    self.fail("the head timeout does not apply")
                connection.close()
        self.check_all_is_back("after head timeouts")

    def test_a_steady_slow_reader_is_not_cut(self):
        def script(served):
            served.request()
            served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {64 << 20}\r\n\r\n")
            for block in streams.blocks(64 << 20):
                served.send(block)

        # 100 KB in a second, for longer than the timeout; the response never ends by itself. The
        # client's small receive buffer makes its kernel acknowledge as it reads: one that has grown
        # to megabytes opens its window again only after some 400 KB, which is longer than the timeout.
        timeouts = {"head": "3s", "body": "3s", "idle": "3s"}
        self.start_before(script, timeouts=timeouts)
        connection = self.ask(receive_buffer=65_536)
        connection.response_head()
        for _ in range(17):
            try:
                self.assertTrue(connection.socket.recv(50_000), "cut")
            except ConnectionResetError:
                self.fail("cut")
            time.sleep(0.5)
        self.assertEqual(self.proxy.counters()["timeouts"], 0)
        connection.close()
        self.check_all_is_back("after a slow reader")


if __name__ == "__main__":
    unittest.main()
