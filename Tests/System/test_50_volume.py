"""Layer 5: many connections, many requests, large contents. Nothing fails, nothing is left behind.

Load comes from h2load; crowds come from several loopback addresses. Contents of a gibibyte are made
and summed on the way and stored nowhere.
"""

import hashlib
import threading
import time
import unittest

from harness import configuration, peers, settings, streams, wire
from harness.case import SystemCase, on_both_engines
from harness.crowd import Crowd
from harness.loading import RunningOrigin

GIBIBYTE = 1 << 30
LATER = {"head": "10m", "body": "10m", "idle": "10m"}


@on_both_engines
class Crowds(SystemCase):
    def idle_crowd(self, count, workers):
        if settings.raise_descriptor_limit() < count + 1000:
            self.skipTest(f"RLIMIT_NOFILE cannot be raised above {count}")
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port, timeouts=LATER, workers=workers)
        baseline = self.warm(proxy)
        resident = proxy.resident_bytes()
        crowd = Crowd(proxy.port, count)
        self.addCleanup(crowd.close)
        counters = proxy.settle({"connections": count}, limit=60)
        self.assertEqual(counters["connections"], count)
        counters = proxy.counters()
        self.assertEqual(counters["exchanges"], 0)
        self.assertEqual(
            counters["leases"], baseline["leases"], "an idle connection holds a buffer"
        )
        held = (proxy.resident_bytes() - resident) / count
        print(f"        {count} idle connections: {held:.0f} bytes of resident memory each")
        return proxy, baseline, crowd

    def test_10000_idle_connections_and_all_of_them_alive(self):
        proxy, baseline, crowd = self.idle_crowd(10_000, workers=2)
        self.assertEqual(self.fetch(proxy).status, 200)
        for start in range(0, len(crowd), 200):  # a few at a time: the origin is Python
            for member in crowd.members[start : start + 200]:
                member.send(wire.get())
            for member in crowd.members[start : start + 200]:
                self.assertEqual(member.response().status, 200)
        crowd.close()
        keys = ("connections", "exchanges", "leases", "frames", "cold_bytes")
        proxy.settle({key: baseline[key] for key in keys}, limit=60)

    def test_1000_idle_connections_over_tls(self):
        origin = self.start_origin()
        proxy = self.proxy_before(origin.port, tls=self.site_tls, timeouts=LATER)
        self.fetch(proxy, tls=True)
        baseline = proxy.settle()
        crowd = [self.connect(proxy, tls=True) for _ in range(1000)]
        self.assertEqual(proxy.counters()["connections"], 1000)
        for member in crowd:
            self.assertEqual(member.send(wire.get()).response().status, 200)
        for member in crowd:
            member.close()
        proxy.settle(baseline, limit=60)


@on_both_engines
class Load(SystemCase):
    def check_load(self, requests, connections, tls=False, path="/small"):
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 128)
        nginx.add("medium", b"y" * 65536)
        proxy = self.proxy_before(nginx.port, tls=self.site_tls if tls else None, workers=2)
        scheme = "https" if tls else "http"
        result = peers.h2load(f"{scheme}://127.0.0.1:{proxy.port}{path}", requests, connections)
        self.assertEqual((result.succeeded, result.failed), (requests, 0), result.text)
        self.assertEqual(result.statuses["2xx"], requests)
        self.assertEqual(proxy.find("exchange failed"), [])
        counters = proxy.settle({"connections": 0, "exchanges": 0})
        self.assertEqual(proxy.counters()["responses"], requests, counters)

    def test_200000_requests_over_500_connections(self):
        self.check_load(200_000, 500)

    def test_30000_requests_over_tls(self):
        self.check_load(30_000, 200, tls=True)

    def test_20000_responses_of_64_kib(self):
        self.check_load(20_000, 100, path="/medium")


@on_both_engines
class WaitsForMore(SystemCase):
    """With 512 requests in progress, from a server that takes 20 ms, there is always something to wait for."""

    def answered(self, milliseconds=None):
        """How many waits were for more than the first event, while every request was answered."""
        origin = RunningOrigin(
            ["--listen", "127.0.0.1:0", "--delay", "20ms"], self.folder / f"origin-{milliseconds}.log").ready(1)
        try:
            engine = {"kind": self.engine}
            if milliseconds is not None:
                engine["coalesce_microseconds"] = milliseconds * 1000
            proxy = self.proxy_before(origin.port, tls=self.site_tls, engine=engine)
            url = f"https://127.0.0.1:{proxy.port}/bytes/128"
            until = time.monotonic() + settings.HANG
            while True:
                result = peers.h2load(url, 5_000, 16, streams=32)
                self.assertEqual((result.succeeded, result.failed), (5_000, 0), result.text)
                self.assertEqual(result.statuses["2xx"], 5_000)
                waits = proxy.counters()["coalesced_waits"]
                # A machine that serves fewer than 2,000 a second now may serve more later.
                if waits or milliseconds == 0 or time.monotonic() > until:
                    break
            # Few requests in progress, over either version, are served as well.
            result = peers.h2load(url, 200, 2, streams=2)
            self.assertEqual((result.succeeded, result.failed), (200, 0), result.text)
            result = peers.h2load(url, 200, 2)
            self.assertEqual((result.succeeded, result.failed), (200, 0), result.text)
            proxy.settle({"connections": 0, "exchanges": 0, "frames": 0, "leases": 0})
            return waits
        finally:
            origin.process.terminate()
            origin.process.wait()
            origin.process.stdout.close()

    def test_many_requests_at_a_time_are_answered_while_it_waits_for_more(self):
        self.assertGreater(self.answered(), 0)

    def test_none_is_kept_waiting_where_that_is_turned_off(self):
        self.assertEqual(self.answered(0), 0)


def streaming(size):
    def script(served):
        while served.request():
            served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
            for block in streams.blocks(size):
                served.send(block)

    return script


@on_both_engines
class Gibibyte(SystemCase):
    def download(self, proxy, **options):
        connection = self.connect(proxy, **options).send(wire.get("/large"))
        response = connection.response_head()
        rest = int(response.get("content-length")) - len(connection.buffer)
        total = hashlib.sha256(connection.take(len(connection.buffer)))
        memory = bytearray(1 << 20)
        while rest > 0:
            count = connection.socket.recv_into(memory, min(rest, len(memory)))
            self.assertGreater(count, 0, "ended early")
            total.update(memoryview(memory)[:count])
            rest -= count
        connection.close()
        return total.hexdigest()

    def check_download(self, tls):
        proxy = self.proxy_before(
            self.start_origin(streaming(GIBIBYTE)).port, tls=self.site_tls if tls else None
        )
        self.assertEqual(self.download(proxy, tls=tls), streams.digest(GIBIBYTE))
        self.assertLess(proxy.resident_bytes(), 256 << 20)

    def check_upload(self, tls, chunked):
        sums = []

        def script(served):
            message = served.head()
            total = hashlib.sha256()
            if message.all("transfer-encoding"):
                for chunk in served.chunks():
                    total.update(chunk)
            else:
                rest = int(message.get("content-length")) - len(served.buffer)
                total.update(served.take(len(served.buffer)))
                memory = bytearray(1 << 20)
                while rest > 0 and (count := served.socket.recv_into(memory, min(rest, 1 << 20))):
                    total.update(memoryview(memory)[:count])
                    rest -= count
            sums.append(total.hexdigest())
            served.answer()

        proxy = self.proxy_before(
            self.start_origin(script).port, tls=self.site_tls if tls else None
        )
        connection = self.connect(proxy, tls=tls)
        framing = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": GIBIBYTE}
        connection.send(wire.request("POST", "/large", **framing))
        for block in streams.blocks(GIBIBYTE):
            if chunked:
                connection.send(b"%x\r\n" % len(block))
            connection.send(block)
            if chunked:
                connection.send(b"\r\n")
        if chunked:
            connection.send(b"0\r\n\r\n")
        self.assertEqual(connection.response().status, 200)
        self.assertEqual(sums, [streams.digest(GIBIBYTE)])
        self.assertLess(proxy.resident_bytes(), 256 << 20)

    def test_download(self):
        self.check_download(tls=False)

    def test_download_over_tls(self):
        self.check_download(tls=True)

    def test_upload(self):
        self.check_upload(tls=False, chunked=False)

    def test_upload_chunked_over_tls(self):
        self.check_upload(tls=True, chunked=True)


@on_both_engines
class Backpressure(SystemCase):
    """A slow reader slows its sender; it fills no memory and delays nobody else."""

    SLOW_SECONDS = 15
    SETTLE_SECONDS = 3
    RATE = 1 << 20
    # What may be under way between origin and client: four socket buffers at the kernel's largest
    # automatic sizes (tcp_rmem 6 MiB, tcp_wmem 4 MiB, on each side) and the proxy's own watermark.
    UNDER_WAY = 32 << 20

    def check_slow_reader(self, tls):
        sent = []

        def script(served):
            while served.request():
                served.send(f"HTTP/1.1 200 OK\r\nContent-Length: {GIBIBYTE}\r\n\r\n")
                for block in streams.blocks(GIBIBYTE):
                    for start in range(0, len(block), 65536):
                        served.send(block[start : start + 65536])
                        sent.append(65536)

        origin = self.start_origin(script)
        config = self.settings_for(origin.port, tls=self.site_tls if tls else None)
        config["upstreams"]["good"] = configuration.upstream(self.start_origin().port)
        config["routes"].insert(0, {"match": {"path": "/good"}, "upstream": "good"})
        proxy = self.start_proxy(config)
        for _ in range(3):
            self.fetch(proxy, wire.get("/good"), tls=tls)
        baseline = proxy.settle()
        connection = self.connect(proxy, tls=tls, receive_buffer=65536).send(wire.get("/slow"))
        memory = bytearray(65536)
        early, samples, received = None, [], 0
        started = time.monotonic()
        while (passed := time.monotonic() - started) < self.SLOW_SECONDS:
            if received < passed * self.RATE:
                received += connection.socket.recv_into(memory)
            else:
                time.sleep(0.005)
            if early is None and passed > self.SETTLE_SECONDS:
                early = proxy.resident_bytes()
            elif early is not None and len(samples) < (passed - self.SETTLE_SECONDS) * 4:
                samples.append(proxy.resident_bytes())
                self.assertLess(samples[-1] - early, 8 << 20, "memory grows with a slow reader")
        self.assertGreater(received, 1 << 20)
        self.assertLess(sum(sent) - received, self.UNDER_WAY, "the origin is not slowed down")
        self.assertEqual(self.fetch(proxy, wire.get("/good"), tls=tls).status, 200)
        connection.reset()
        origin.drop_all()
        self.fetch(proxy, wire.get("/good"), tls=tls)
        proxy.settle(baseline)

    def test_a_gibibyte_to_a_slow_reader(self):
        self.check_slow_reader(tls=False)

    def test_a_gibibyte_to_a_slow_reader_over_tls(self):
        self.check_slow_reader(tls=True)

    def test_a_slow_origin_slows_the_upload(self):
        progress = []

        def script(served):
            served.head()
            while not served.origin.closing.wait(0.05):
                progress.append(len(served.socket.recv(16384)))

        origin = self.start_origin(script)
        proxy = self.proxy_before(origin.port)
        early = self.warm_resident(proxy)
        connection = self.connect(proxy)
        connection.send(wire.request("POST", "/", Content_Length=GIBIBYTE))
        connection.socket.settimeout(3)
        sent = 0
        try:
            for block in streams.blocks(GIBIBYTE):
                for start in range(0, len(block), 65536):
                    connection.send(block[start : start + 65536])
                    sent += 65536
        except TimeoutError:
            pass
        self.assertLess(sent - sum(progress), self.UNDER_WAY)
        self.assertLess(proxy.resident_bytes() - early, 16 << 20)
        connection.reset()
        proxy.settle({"connections": 0, "exchanges": 0})

    def warm_resident(self, proxy):
        proxy.settle()
        return proxy.resident_bytes()

    def test_1000_stalled_readers_and_1000_slow_heads_on_one_worker(self):
        nginx = self.start_nginx()
        nginx.add("small", b"x" * 128)
        nginx.add_sparse("huge", GIBIBYTE)
        proxy = self.proxy_before(nginx.port, timeouts=LATER, workers=1)
        for _ in range(3):
            self.fetch(proxy, wire.get("/small"))
        baseline = proxy.settle()
        stalled = Crowd(
            proxy.port, 1000, lambda member, _: member.send(wire.get("/huge")), receive_buffer=4096
        )
        self.addCleanup(stalled.close)
        slow = Crowd(
            proxy.port, 1000, lambda member, _: member.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        )
        self.addCleanup(slow.close)
        for member in stalled.members[::100]:
            self.assertEqual(member.response_head().status, 200)
        stop = threading.Event()

        def trickle():
            while not stop.is_set():
                for member in slow.members:
                    member.send(b"v")
                stop.wait(0.2)

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        try:
            result = peers.h2load(f"http://127.0.0.1:{proxy.port}/small", 20_000, 50)
            self.assertEqual((result.succeeded, result.failed), (20_000, 0), result.text)
            connection = self.connect(proxy)
            for _ in range(200):
                self.assertEqual(connection.send(wire.get("/small")).response().status, 200)
            connection.close()
            print(f"        2,000 hostile connections: {proxy.resident_bytes() >> 20} MiB resident")
            self.assertGreaterEqual(proxy.counters()["connections"], 2000)
        finally:
            stop.set()
            thread.join()
        stalled.reset()
        slow.close()
        keys = ("connections", "exchanges", "leases", "frames", "cold_bytes")
        proxy.settle({key: baseline[key] for key in keys}, limit=60)
        self.assertEqual(self.fetch(proxy, wire.get("/small")).status, 200)


if __name__ == "__main__":
    unittest.main()
