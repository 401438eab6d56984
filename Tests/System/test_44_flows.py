"""Layer 4: what a connection may hold, and for how long: pipelines, half-close, resets, idle pools.

Timeouts that must not be what ends a thing are set to an hour: a test that waits for one hangs.
"""

import socket
import ssl
import threading
import time
import unittest

from harness import certificates, configuration, disks, ports, settings, wire
from harness.auditlog import AuditLog
from harness.case import SystemCase, on_both_engines

LONG = {"head": "1h", "body": "1h", "idle": "1h"}
# Bytes of input that one connection may have held, docs/security.md. Before Linux 6.17 io_uring
# brings 99 buffers of 4 KiB before a receive can be stopped, and 64 KiB are allocated beyond them.
HELD = 256 * 1024 if settings.KERNEL >= (6, 17) else 99 * 4096 + 65_536


def quick(served):
    """Answers each request with its target."""
    while message := served.request():
        served.answer(message.target.encode())


@on_both_engines
class Pipelines(SystemCase):
    """A pipeline is held in bounded memory and used in place, however long it is."""

    REQUEST = b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n"

    def start(self, script=quick):
        self.origin = self.start_origin(script)
        self.proxy = self.proxy_before(self.origin.port, timeouts=LONG)
        self.warm(self.proxy)

    def cold_bytes(self):
        return self.proxy.counters()["cold_bytes"]

    def test_an_endless_pipeline_whose_answers_are_read(self):
        self.start()
        connection = self.connect(self.proxy)
        ends = threading.Event()

        def send():
            try:
                while not ends.is_set():
                    connection.socket.sendall(self.REQUEST * 1000)
            except OSError:
                pass

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        other = self.connect(self.proxy)
        highest = 0
        for n in range(12):
            for _ in range(20):
                self.assertEqual(connection.response().body, b"/p")
            self.assertEqual(other.send(wire.get(f"/{n}")).response().body, b"/%d" % n)
            highest = max(highest, self.cold_bytes())
        ends.set()
        connection.close()
        other.close()
        sender.join(settings.HANG)
        self.assertLessEqual(highest, HELD)
        self.proxy.settle({"connections": 0, "exchanges": 0, "cold_bytes": 0})

    def test_pipelines_that_nobody_reads(self):
        def script(served):
            while served.request():
                served.answer(b"x" * 16_384)

        self.start(script)
        count = 20
        connections = [self.connect(self.proxy, receive_buffer=4096) for _ in range(count)]
        for connection in connections:
            connection.socket.setblocking(False)
        data = self.REQUEST * 1000
        left = [b""] * count
        still = 0
        while still < 10:  # until nothing more is taken from anybody for a while
            taken = 0
            for n, connection in enumerate(connections):
                try:
                    while True:
                        left[n] = left[n] or data
                        sent = connection.socket.send(left[n])
                        left[n] = left[n][sent:]
                        taken += sent
                except BlockingIOError:
                    pass
            self.assertLessEqual(self.cold_bytes(), count * HELD)
            still = 0 if taken else still + 1
            time.sleep(0.02)
        for connection in connections:
            connection.reset()
        self.proxy.settle({"connections": 0, "exchanges": 0, "cold_bytes": 0})


@on_both_engines
class Addresses(SystemCase):
    """No request reaches a server or the record without the address that it came from."""

    TRIES = 3000

    def test_a_reset_right_behind_the_request_hides_nobody(self):
        seen = []

        def script(served):
            while message := served.request():
                seen.append(message.get("x-forwarded-for"))
                served.answer()

        log = AuditLog(self.folder / "audit")
        origin = self.start_origin(script)
        proxy = self.proxy_before(origin.port, audit={"directory": str(log.directory)})
        data = wire.request("POST", "/pay", body=b"x=1")
        for _ in range(self.TRIES):
            wire.Wire.connect(proxy.port).send(data).reset()
        self.assertEqual(self.fetch(proxy).status, 200)
        proxy.settle({"connections": 0, "exchanges": 0})
        counters = proxy.counters()
        self.assertEqual(counters["accepted"] + counters["refused"], self.TRIES + 1)
        proxy.stop()
        self.assertEqual(set(seen), {"127.0.0.1"})
        self.assertEqual({record["client"] for record in log.requests()}, {"127.0.0.1"})


class CloseNotify:
    """A TLS client that ends its sending side with close_notify and still reads."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(settings.HANG)
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = certificates.authority().client()
        self.session = context.wrap_bio(self.inward, self.outward, server_hostname="site.test")
        self._run(self.session.do_handshake)

    def _run(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.socket.recv(65536)
                if not data:
                    raise wire.Truncated("the end of a TLS connection") from None
                self.inward.write(data)
            finally:
                self._flush()

    def _flush(self):
        if data := self.outward.read():
            self.socket.sendall(data)

    def send_and_finish(self, data):
        """The request and close_notify in one segment."""
        self.session.write(data)
        try:
            self.session.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def read_all(self):
        data = b""
        try:
            while part := self._run(lambda: self.session.read(65536)):
                data += part
        except (wire.Truncated, ssl.SSLError):
            pass
        return data


@on_both_engines
class HalfClose(SystemCase):
    """What a client sent before it ended its sending side counts; what is missing will not come."""

    def test_a_request_that_waits_for_the_log_outlives_the_end_of_input(self):
        disks.require_loop_devices()
        disk = disks.Disk(self.folder, 96 << 20)
        self.addCleanup(disk.close)
        origin = self.start_origin(quick)
        config = self.settings_for(
            origin.port,
            timeouts=LONG,
            audit={
                "directory": str(disk.path / "audit"),
                "when_full": "block",
                "segment": {"size": "1MiB"},
            },
        )
        config["listeners"].append(
            configuration.listener(ports.free_port(), tls=self.site_tls, name="tls", timeouts=LONG)
        )
        proxy = self.start_proxy(config)
        tls_port = int(config["listeners"][1]["address"].rpartition(":")[2])
        ballast = disk.fill(leave=4 << 20)
        self.fill_log(proxy, "/" + '"' * 7000)  # each is escaped
        self.fill_log(proxy, "/plain")  # what the large ones have left
        waiting = proxy.counters()["audit_waits"]
        plain = [self.connect(proxy) for _ in range(20)]
        for connection in plain:
            connection.send(wire.get("/plain", X_Pad="p" * 4000))
            connection.finish_sending()
        secret = [CloseNotify(tls_port) for _ in range(5)]
        for connection in secret:
            connection.send_and_finish(wire.get("/secret", X_Pad="p" * 4000))
        deadline = time.monotonic() + settings.HANG
        while proxy.counters()["audit_waits"] < waiting + 25:
            self.assertLess(time.monotonic(), deadline, "the requests do not wait")
            time.sleep(0.05)
        ballast.unlink()
        for connection in plain:
            self.assertEqual(connection.response().body, b"/plain")
            self.assertClosed(connection)
        for connection in secret:
            self.assertIn(b"\r\n\r\n/secret", connection.read_all())
            connection.socket.close()

    def fill_log(self, proxy, path):
        """Asks until a request for `path` has to wait."""
        connection = self.connect(proxy)
        self.addCleanup(connection.close)
        connection.socket.settimeout(2)
        for _ in range(20_000):
            connection.send(wire.get(path))
            try:
                connection.response()
            except TimeoutError:
                return
        self.fail("the log does not fill")

    def test_a_pipelined_request_without_its_content_is_cut_at_once(self):
        origin = self.start_origin(quick)
        proxy = self.proxy_before(origin.port, timeouts=LONG)
        short = wire.request("POST", "/short", Content_Length="10") + b"abc"
        for n in range(12):
            connection = self.connect(proxy)
            connection.send(wire.get(f"/{n}") + short)
            if n % 2:
                time.sleep(0.05)  # the end comes while the connection is idle, or busy
            connection.finish_sending()
            try:
                self.assertEqual(connection.response().body, b"/%d" % n)
                self.assertClosed(connection)
            except ConnectionResetError:
                pass  # the cut may overtake the first answer
            connection.close()
        proxy.settle({"connections": 0, "exchanges": 0})
        self.assertEqual(proxy.counters()["timeouts"], 0)


@on_both_engines
class Departures(SystemCase):
    def test_uploads_whose_clients_have_gone_are_let_go(self):
        def script(served):
            served.origin.closing.wait(settings.TEST_HANG)

        origin = self.start_origin(script)
        upstream = {"timeouts": {"response": "1h"}}
        proxy = self.proxy_before(origin.port, timeouts=LONG | {"body": "4s"}, upstream=upstream)
        clients = [self.connect(proxy) for _ in range(20)]
        body = b"x" * (64 << 20)
        for client in clients:
            client.send(wire.request("POST", "/up", Content_Length=str(len(body))))
            client.socket.setblocking(False)
        still = 0
        while still < 5:  # until all buffers between here and there are full
            taken = 0
            for client in clients:
                try:
                    taken += client.socket.send(body[: 1 << 20])
                except BlockingIOError:
                    pass
            still = 0 if taken else still + 1
            time.sleep(0.05)
        self.assertEqual(proxy.counters()["exchanges"], 20)
        for client in clients:
            client.reset()
        proxy.settle({"exchanges": 0, "connections": 0, "upstream_connections": 0})
        counters = proxy.counters()
        self.assertEqual((counters["timeouts"], counters["downstream_aborts"]), (0, 20))


@on_both_engines
class StrayLines(SystemCase):
    """RFC 9112 2.2: an empty line where a request might begin is none."""

    def test_an_empty_line_on_an_idle_connection_starts_nothing(self):
        origin = self.start_origin(quick)
        proxy = self.proxy_before(origin.port, timeouts=LONG | {"head": "500ms"})
        parts = ([b"\r\n"], [b"\r\n\r\n"], [b"\r", b"\n"], [b"\r\n", b"\r\n", b"\r\n"])
        connections = [self.connect(proxy) for _ in parts]
        for connection, pieces in zip(connections, parts):
            self.assertEqual(connection.send(wire.get("/one")).response().body, b"/one")
            for piece in pieces:
                connection.send(piece)
                time.sleep(0.05)
        time.sleep(1.5)  # more than the head's time and a look at the timers
        for connection in connections:
            self.assertEqual(connection.send(wire.get("/two")).response().body, b"/two")
        self.assertEqual(proxy.counters()["timeouts"], 0)

    def test_a_head_that_begins_behind_an_empty_line_has_its_time(self):
        proxy = self.proxy_before(self.start_origin(quick).port, timeouts=LONG | {"head": "500ms"})
        for first, rest in ((b"\r\nGET", b""), (b"\r", b"\nGET")):
            connection = self.connect(proxy)
            connection.send(wire.get("/one")).response()
            connection.send(first)
            time.sleep(0.05)
            if rest:
                connection.send(rest)
            self.assertEqual(connection.response().status, 408)


@on_both_engines
class Tries(SystemCase):
    def test_no_second_try_behind_an_interim_response(self):
        def script(served):
            if served.request():
                served.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                time.sleep(0.1)
                served.reset()

        origin = self.start_origin(script)
        proxy = self.proxy_before(origin.port, upstream={"retries": {"attempts": 3}})
        for method in ("GET", "DELETE"):
            origin.forget()
            response = self.fetch(proxy, wire.request(method, "/x"), method)
            self.assertEqual(([m.status for m in response.interim], response.status), ([103], 502))
            self.assertEqual(len(origin.requests), 1)


@on_both_engines
class IdlePools(SystemCase):
    """A connection to a server is not used at the age at which the server closes it."""

    def start(self, script, **timeouts):
        self.origin = self.start_origin(script)
        self.proxy = self.proxy_before(
            self.origin.port, upstream={"timeouts": {"idle": "1h", **timeouts}}
        )

    def post(self):
        response = self.fetch(self.proxy, wire.request("POST", "/", body=b"x"))
        self.assertEqual(response.status, 200)

    def test_the_time_that_a_server_tells_is_kept(self):
        def script(served):
            while served.request():
                served.answer(fields=["Keep-Alive: max=100, timeout=2"])

        self.start(script)
        self.post()
        self.assertEqual(self.proxy.counters()["upstream_idle"], 1)
        self.proxy.settle({"upstream_connections": 0})

    def test_a_time_of_nothing_keeps_nothing(self):
        def script(served):
            while served.request():
                served.answer(fields=["Keep-Alive: timeout=0"])

        self.start(script)
        self.post()
        self.proxy.settle({"upstream_connections": 0})
        self.post()
        self.assertEqual(self.origin.connections, 2)

    def test_a_server_that_closes_first_is_remembered(self):
        ends = []

        def script(served):
            while True:
                served.socket.settimeout(1)
                try:
                    if served.request() is None:
                        ends.append("proxy")
                        return
                except TimeoutError:
                    ends.append("server")
                    return
                served.answer()

        self.start(script)
        for _ in range(10):  # two at the same age, within an eighth; once may be a restart
            self.post()
            self.proxy.settle({"upstream_connections": 0})
            if ends[-1] == "proxy":
                break
        self.assertEqual(ends[-1], "proxy")
        self.assertGreaterEqual(ends.count("server"), 2)

    def test_a_server_that_closes_after_some_requests(self):
        def script(served):
            for _ in range(3):
                if not served.request():
                    return
                served.answer()

        self.start(script)
        connection = self.connect(self.proxy)
        for n in range(30):
            self.assertEqual(connection.send(wire.get(f"/{n}")).response().status, 200)


if __name__ == "__main__":
    unittest.main()
